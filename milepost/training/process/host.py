"""What runs the trial of an attempt that a driver has started: this rank's link to it."""

from __future__ import annotations

from collections.abc import Callable

from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.training.loop.agreement import Agreement
from milepost.training.loop.host import Rank, RecordingHost
from milepost.training.telemetry.background import Background
from milepost.training.telemetry.marker import StepMarker
from milepost.training.telemetry.rows import WeightedRows


class ManagedHost(RecordingHost):
    """A worker process. Of several ranks all halt after the same step, and their values become means.

    Args:
        on_stopped: called in place of a loop that waits for data, once a stop is carried out.
    """

    def __init__(
        self,
        launch: AttemptLaunch,
        rank: Rank,
        background: Background,
        marker: StepMarker,
        on_stopped: Callable[[], None],
    ) -> None:
        super().__init__(launch, rank, background, marker)
        self._on_stopped = on_stopped
        # With one rank the loop never asks anybody.
        if rank.world_size > 1:
            self.agreement = Agreement(background.send)
            self.rows = WeightedRows(background.buffer, rank.rank, background.position)

    def leave_waiting_loop(self) -> None:
        """End the process: the data may never come."""
        self._on_stopped()
