"""What runs the trial of a script that records it: alone, or as the first of a group."""

from __future__ import annotations

from collections.abc import Callable

from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.installation.endpoints import Endpoints
from milepost.training.loop.host import Rank, RecordingHost
from milepost.training.samples.buffer import IgnoredSamples
from milepost.training.saving.keeper import NoSnapshots
from milepost.training.script.group import GroupLink
from milepost.training.spooling.late import Late
from milepost.training.telemetry.background import Background
from milepost.training.telemetry.marker import StepMarker
from milepost.training.telemetry.rows import IgnoredRows


class ScriptHost(RecordingHost):
    """A script, from `init` to `finish` and on: what its loop does afterwards is refused.

    Args:
        on_finish: ends the run; see `Trial.finish`.
        on_join: looks for the other processes of a group; see `Host.join`.
    """

    def __init__(
        self,
        launch: AttemptLaunch,
        rank: Rank,
        background: Background,
        marker: StepMarker,
        endpoints: Endpoints,
        on_finish: Callable[[int | None], None],
        on_join: Callable[[bool], bool],
    ) -> None:
        super().__init__(launch, rank, background, marker)
        self.page = f"{endpoints.gateway}/runtimes/{launch.runtime_id}"
        self.endpoints = endpoints
        self._on_finish = on_finish
        self._on_join = on_join
        # What hears of values and snapshots once the run has ended.
        self._late: Late | None = None
        # Another process of the group records the run.
        self._silent = False

    def warn(self, problem: str, text: str) -> None:
        """Say a problem, once."""
        if not self._silent:
            super().warn(problem, text)

    def ignore(self) -> None:
        """Say once, for all children, that what a child logs is not recorded."""
        if not self._silent:
            super().ignore()

    def join(self, at_step: bool) -> bool:
        """Look for the other processes of a group."""
        return self._on_join(at_step)

    def finish(self, exit_code: int | None) -> None:
        """End the run."""
        self._on_finish(exit_code)

    def refuses_snapshot(self, step: int) -> bool:
        """Return whether the run has ended, and say once that no snapshot is taken any more."""
        if self._late is None:
            return False
        self._late.refuse_snapshot(step)
        return True

    def lead(self, link: GroupLink) -> None:
        """Record for a group of processes, and stop together with them."""
        self.rank = Rank(0, link.place.world_size, led=False)
        self.stop_by(link.agree_to_stop)
        self.steer_by(link.agree_to_steer)

    def end(self, late: Late) -> None:
        """Record nothing more, because the run has ended."""
        self.rows, self._late = late, late
        self.samples = IgnoredSamples(late.refuse_samples)

    def leave_record(self) -> None:
        """Leave the record to another process of the group. What is reported from here on, nobody hears."""
        self._silent, self.page = True, ""
        self.rows, self.keeper = IgnoredRows(self.ignore), NoSnapshots()
        self.samples = IgnoredSamples(self.ignore)
