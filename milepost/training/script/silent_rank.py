"""A process of a group that records nothing: it counts its steps and stops where the others do."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.training.loop.host import NullHost, Rank
from milepost.training.loop.stop import Stopped
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from milepost.training.process.process_end import Ending, process_end
from milepost.training.script.configured import Configured
from milepost.training.script.group import GroupLink, Place, find_link, launch_of_leader
from milepost.training.user_code.forks import rest_in_children


class SilentHost(NullHost):
    """What runs the trial of a process that records nothing.

    Args:
        on_finish: ends the run; see `Trial.finish`.
        on_join: looks for the other processes of a group; see `Host.join`.
        knows_snapshot: whether it is known what to go on from.
        ignored: what to say, once, where something is logged; empty: it need not be said.
    """

    def __init__(
        self,
        launch: AttemptLaunch,
        rank: Rank,
        on_finish: Callable[[int | None], None],
        on_join: Callable[[bool], bool],
        knows_snapshot: bool,
        ignored: str,
    ) -> None:
        super().__init__(launch, rank)
        self.knows_snapshot = knows_snapshot
        self._on_finish = on_finish
        self._on_join = on_join
        self._ignored = ignored

    def ignore(self) -> None:
        """Say once that what is logged is not recorded."""
        text, self._ignored = self._ignored, ""
        if text:
            logging.getLogger("milepost").warning("%s", text)

    def join(self, at_step: bool) -> bool:
        """Look for the other processes of a group."""
        return self._on_join(at_step)

    def finish(self, exit_code: int | None) -> None:
        """End the run."""
        self._on_finish(exit_code)


class SilentRun:
    """The trial of a process that records nothing: another than the recording one, or one that cannot record."""

    finished = False

    def __init__(
        self,
        place: Place,
        link: GroupLink | None,
        given: Configured | None = None,
        *,
        resumes: bool = False,
        left: tuple[NullHost, TrainingLoop, Trial] | None = None,
        ignored: str = "",
    ) -> None:
        """Begin.

        Args:
            link: to the others. None: they are looked for again at the first step.
            given: what the script has given; it holds until it is known what the recording process was given.
            resumes: the script goes on with a run. What from has to be known before it is asked for.
            left: the trial that the script has already, with its host, which records it no longer, and its loop. None: a new one.
            ignored: what to say, once, where something is logged.
        """
        launch = (launch_of_leader() if place.rank else None) or AttemptLaunch(runtime_id="unknown", trial=1, attempt=1)
        if given is not None:
            launch.configuration.CopyFrom(given.configuration)
            launch.parameters.update(given.said.parameters)
        # A run that a child begins in the function that it is given takes the place of this one.
        self.gives_way = ignored != ""
        self._launch = launch
        self._link: GroupLink | None = None
        rank = Rank(place.rank, place.world_size, led=False)
        if left is None:
            knows_snapshot = not resumes or launch.runtime_id != "unknown"
            self._host: NullHost = SilentHost(launch, rank, self.finish, self._join, knows_snapshot, ignored)
            self._loop = TrainingLoop(self._host)
            self.trial = Trial(self._loop)
        else:
            self._host, self._loop, self.trial = left
            self._host.belong_to(launch, rank)
        process_end.attach(self._on_process_end)
        rest_in_children(self)
        if link is not None:
            self._follow(link)

    def _join(self, at_step: bool) -> bool:
        """Find the others, if there is a group by now. What is ignored belongs to none."""
        link = find_link() if self._link is None and not self.gives_way else None
        if link is not None:
            self._follow(link)
        return self._link is not None or self.gives_way

    def _follow(self, link: GroupLink) -> None:
        self._link = link
        if link.place.rank == 0:
            # It cannot record; the others need not wait to hear of a run.
            link.announce(self._launch)
            self._host.stop_by(link.agree_to_stop)
            return
        told = link.launch()
        if told is not None:
            self._host.belong_to(told, Rank(link.place.rank, link.place.world_size, led=False))
            link.follow(self._loop.request_stop, self._loop.request_steer)

    def rest_in_child(self) -> None:
        """Be over, in a child that was forked off."""
        self.finished = True

    def _on_process_end(self, ending: Ending) -> None:
        if isinstance(ending.error, Stopped):
            leave_quietly()
        if self._link is not None and ending.failed:
            self._link.report_error(ending.words())
        self.finish()

    def finish(self, exit_code: int | None = None) -> None:
        """End the trial of this process. Repeats do nothing."""
        if not self.finished:
            self.finished = True
            process_end.detach()
            self._loop.end()


def leave_quietly() -> None:
    """End this process after a stop: torchrun takes any other status than 0 for a failure of the whole group."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
