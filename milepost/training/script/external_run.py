"""The run of a process of one's own, from `init` to `finish`."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milepost import client as client_module
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine, Sender
from milepost.api.training.v1.training_pb2 import AttemptLaunch, Finished, InstanceReport
from milepost.security.terminal import visible
from milepost.training.loop.host import Rank
from milepost.training.loop.said.declared import Declared
from milepost.training.loop.stop import Stopped
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from milepost.training.process.environment import EnvironmentRecord, code_folder, command_of_this_process
from milepost.training.process.process_end import Ending, end_by_signal, ending_of, process_end
from milepost.training.process.process_identity import own_identity
from milepost.training.script.attempt import last_word
from milepost.training.script.attempt.channel import ExternalChannel
from milepost.training.script.attempt.outcome import outcome_of
from milepost.training.script.attempt.place import Place
from milepost.training.script.group import LEADER_VARIABLE, GroupLink, find_link
from milepost.training.script.group import Place as GroupPlace
from milepost.training.script.host import ScriptHost
from milepost.training.script.signals import ending_signals
from milepost.training.script.silent_rank import SilentRun, leave_quietly
from milepost.training.script.tee import ConsoleCapture
from milepost.training.spooling.late import Late
from milepost.training.telemetry.addresses import Addresses
from milepost.training.telemetry.background import Background
from milepost.training.telemetry.batches import Position
from milepost.training.telemetry.marker import StepMarker, marker_path
from milepost.training.user_code.forks import rest_in_children

# How long the end of a script waits for the broker and for the log.
DRAIN_SECONDS = 10.0
# How long an end that cannot wait waits for a snapshot that is being committed.
AT_ONCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that were started together, and how they talk. Without torchrun a process is alone."""

    place: GroupPlace
    link: GroupLink | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """A run that is that of the whole process: it ends with it, and with the errors that end it."""

    # Whether what is printed and logged is copied.
    capture: bool
    group: Group


class ExternalRun:
    """A trial of a process of one's own, from `init` to `finish`."""

    def __init__(self, place: Place, launch: AttemptLaunch, script: Script | None) -> None:
        sender = Sender(runtime_id=launch.runtime_id, trial=1, attempt=launch.attempt, source="rank-0")
        self._place = place
        self._launch = launch
        group = self._group = script.group if script is not None else Group(GroupPlace(), None)
        # Whether it is that of the whole process, which may turn out to be one of several.
        self._is_of_process = script is not None
        # What has taken its place, because another process of the group records it.
        self._silent: SilentRun | None = None
        self.finished = False
        # `finish` was called while a generator was being closed; how the run ends shows later.
        self.deferred = False
        self._ending = threading.RLock()
        self._failure: Finished | None = None
        # An error that is being handled now has nothing to do with the end.
        self._handled_before = sys.exc_info()[1]
        channel = self._channel = ExternalChannel(place, launch, self.warn, self._on_given_up)
        addresses = Addresses(place.endpoints.nats, place.credentials, place.known, place.endpoints.runtime)
        marker = StepMarker(marker_path(place.directory, 0))
        self._background = Background(
            sender,
            0,
            place.directory,
            addresses,
            channel,
            Position(),
            marker=marker,
            stall_seconds=launch.configuration.limits.stall_seconds,
        )
        rank = Rank(0, group.place.world_size, led=False)
        self._host = ScriptHost(launch, rank, self._background, marker, place.endpoints, self.finish, self._join)
        if group.link is not None:
            self._host.lead(group.link)
        self._loop = TrainingLoop(self._host)
        self.trial = Trial(self._loop)
        client_module.load()
        self._background.start(self._loop.on_instruction)
        self._capture: ConsoleCapture | None = None
        if script is not None:
            self._belong_to_process(script)
        self._background.report(
            facts.InstanceStarted(
                attempt=launch.attempt,
                host=socket.gethostname(),
                process_id=os.getpid(),
                devices=["cpu"],
                software=f"Python {platform.python_version()}",
                process=own_identity(),
            )
        )
        # Of a command the folder that it runs in is the one that tells.
        folder = code_folder() if script is not None else Path.cwd()
        self._environment = EnvironmentRecord(
            launch.attempt, folder, self._background.report, command=command_of_this_process()
        )

    def _belong_to_process(self, script: Script) -> None:
        """Copy its output, and end with it."""
        if script.capture:
            self._capture = ConsoleCapture(0, lambda: self.trial.step, self._background.log_line)
        process_end.attach(self._on_process_end, self._is_loop_busy)
        ending_signals.attach(lambda number: self._end(end_by_signal(number)))
        rest_in_children(self)

    def rest_in_child(self) -> None:
        """Be over, in a child that was forked off."""
        self.finished = True

    def _join(self, at_step: bool) -> bool:
        """Find the processes that train with this one, whose group may have been made after the run."""
        if not self._is_of_process:
            return True
        link = find_link() if self._group.link is None else None
        if link is not None and link.place.rank > 0:
            self._leave_to_first(link)
        elif link is not None:
            self._group = Group(link.place, link)
            link.announce(self._launch)
            self._host.lead(link)
        if at_step:
            self._place.decided.set()
        return self._group.link is not None

    def _leave_to_first(self, link: GroupLink) -> None:
        """Leave the record to the process of rank 0: as if there had been no run here, or, if it is known, side by side."""
        self._group = Group(link.place, link)
        if self._place.decided.is_set():
            self.warn(
                "group",
                f"this process is rank {link.place.rank} of a group and has a run of its own, because milepost.init was "
                "called before init_process_group: call it after, then the group has one run",
            )
            self._host.stop_by(self._refuse_to_stop)
            self._host.steer_by(lambda order: False)
            return
        self.finished = True
        process_end.detach()
        ending_signals.detach()
        self._close_capture()
        self._background.leave()
        shutil.rmtree(self._place.directory.parent.parent, ignore_errors=True)
        self._host.leave_record()
        self._silent = SilentRun(link.place, link, left=(self._host, self._loop, self.trial))
        text = f"milepost: rank {link.place.rank} of a group: recorded with rank 0, as {self.trial.runtime_id}"
        print(visible(text), file=sys.stderr)  # noqa: T201

    def _refuse_to_stop(self, step: int) -> bool:
        self.warn("group_stop", "the processes of this group stop together: stop the run of rank 0 instead of this one")
        return False

    @property
    def recorded_by(self) -> ExternalRun | SilentRun:
        """What records the trial of this process: this, or what has taken its place in a group."""
        return self._silent or self

    def begin(self, besides: Declared, step: int | None) -> None:
        """Say what the script was given besides its configuration, and go on after a step if this is a later attempt."""
        self._loop.declare_read(besides)
        if self._launch.attempt > 1:
            self._loop.go_on_after(step)

    @property
    def left_for_stop(self) -> bool:
        """Whether the loop was told of a stop, and has left."""
        return self._loop.left_for_stop

    def log_line(self, line: LogLine) -> None:
        """Record a line of output that somebody else has printed."""
        self._background.log_line(line)

    def log_at(self, step: int, seconds: float, values: Mapping[str, Any]) -> None:
        """Record values that were logged elsewhere, at a time in seconds since 1970."""
        self._background.buffer.append(step, seconds, values)

    def measure(self, process_id: int) -> None:
        """Measure another process with its children, in place of this one."""
        self._background.measure(process_id)

    def ended_by(self, said: Finished) -> None:
        """Say how what is recorded has ended; `finish` ends the run so."""
        self._failure = said

    def stopped_by_user(self) -> None:
        """Say that somebody has stopped what is recorded; `finish` ends the run so."""
        self.ended_by(Finished(outcome=facts.ATTEMPT_OUTCOME_STOPPED, cause=common.EXIT_CAUSE_STOPPED))

    def _on_given_up(self) -> None:
        self._loop.take_no_more_snapshots()

    def warn(self, problem: str, text: str) -> None:
        """Say a problem, once."""
        self._background.warnings.say(problem, text)

    def finish(self, exit_code: int | None = None) -> None:
        """Send what is left, within a bounded time, and say how it ended. Repeats do nothing.

        Args:
            exit_code: 0 is Completed, any other Failed. None: Completed, unless an error is being handled.
        """
        if self._silent is not None:
            self._silent.finish(exit_code)
            return
        error = sys.exc_info()[1]
        if exit_code is not None:
            self._end(Ending(exit_code))
        elif isinstance(error, GeneratorExit):
            self.deferred = True
        else:
            self._end(ending_of(error if error is not self._handled_before else None))

    def _on_process_end(self, ending: Ending) -> None:
        if self._background.is_this_thread:
            # It leaves the process because nothing it does counts any more.
            return
        ending_signals.yield_to_signal()
        # Whoever interrupts the end of the interpreter wants it to be over, not to read a traceback.
        with suppress(KeyboardInterrupt):
            self._end(ending)
        if self._group.place.world_size > 1 and isinstance(ending.error, Stopped):
            leave_quietly()

    def _is_loop_busy(self) -> bool:
        """Return whether the loop runs in a thread of its own that the interpreter waits for before it ends."""
        thread = self._loop.thread
        return thread is not None and thread.is_alive() and not thread.daemon and thread is not threading.main_thread()

    def _end(self, ending: Ending) -> None:
        # A signal may come while the process ends by itself: the second waits for the first.
        if not self._ending.acquire(timeout=AT_ONCE_SECONDS if ending.at_once else -1):
            return
        try:
            if not self.finished and self._background.alive:
                self.finished = True
                self._end_once(ending)
        finally:
            self._ending.release()

    def _end_once(self, ending: Ending) -> None:
        self._place.decided.set()
        if os.environ.get(LEADER_VARIABLE) == str(self._place.directory):
            del os.environ[LEADER_VARIABLE]
        word = self._word(ending) if ending.status is not None or not last_word.is_possible() else None
        try:
            self._background.begin_end()
            self._end_loop(ending, word)
        except Exception as error:
            word = self._word(ending_of(error))
            raise
        finally:
            # Also when somebody does not want to wait: how it ended is to be known.
            self._end_record(ending, word)
            process_end.detach()
            ending_signals.detach()

    def _end_record(self, ending: Ending, word: Finished | None) -> None:
        """Send what is left, and the word on how it ended; None: leave that to another process."""
        seconds = (AT_ONCE_SECONDS, AT_ONCE_SECONDS) if ending.at_once else (DRAIN_SECONDS,)
        left = 0
        try:
            left = self._background.finish(InstanceReport(finished=word) if word else None, *seconds)
        finally:
            place = self._place
            late = Late(place.key, place.directory, place.endpoints.nats, place.credentials)
            self._host.end(late)
            self._say_left(left)
            if word is None:
                last_word.leave(last_word.Left(self._place.directory, self.trial.step, left, self._loop.early_end()))

    def _end_loop(self, ending: Ending, word: Finished | None) -> None:
        """Take the last snapshot, and wait for it."""
        if ending.at_once:
            self._loop.end()
            with suppress(TimeoutError):
                self.trial.wait_for_snapshot(AT_ONCE_SECONDS)
            self._close_capture(at_once=True)
            return
        if word is None or word.outcome == facts.ATTEMPT_OUTCOME_COMPLETED:
            self._loop.complete()
        elif isinstance(ending.error, Stopped):
            self._loop.save_for_stop()
        self._loop.end()
        self._environment.wait()
        # Also where the loop left by itself, or failed: what it has saved is not to be lost.
        self.trial.wait_for_snapshot()
        self._close_capture()

    def _close_capture(self, at_once: bool = False) -> None:
        if self._capture is not None:
            self._capture.close(at_once)

    def _say_left(self, batches: int) -> None:
        counts = [
            f"{count} {word}{'' if count == 1 else ending}"
            for count, word, ending in ((batches, "batch", "es"), (self._channel.left, "event", "s"))
            if count
        ]
        if counts:
            where = self._place.directory.parent.parent
            text = f"milepost: {' and '.join(counts)} not sent yet, kept in {where}: `milepost sync` sends them"
            print(visible(text), file=sys.stderr)  # noqa: T201

    def _word(self, ending: Ending) -> Finished:
        said = self._failure or outcome_of(ending)
        if self._failure is None and self._loop.is_stopped and (not ending.failed or ending.cause is None):
            said = Finished(outcome=facts.ATTEMPT_OUTCOME_STOPPED, cause=common.EXIT_CAUSE_STOPPED)
        if said.outcome == facts.ATTEMPT_OUTCOME_FAILED and self._group.link is not None:
            # What ended another process is why this one ended.
            for rank, text in self._group.link.errors().items():
                said.detail = f"rank {rank}: {text}"
        if said.outcome == facts.ATTEMPT_OUTCOME_COMPLETED:
            said.detail = self._loop.early_end()
        said.last_step = self.trial.step
        return said
