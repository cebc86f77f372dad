"""A process of a torchrun group that records nothing: it counts its steps and stops where the others do."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.training.background import Background
from milepost.training.group import GroupLink, Place, SilentBackground, SilentKeeper
from milepost.training.stop import Stopped
from milepost.training.trial import Rank, Trial
from milepost.training.worker import describe_error


class SilentRun:
    """The trial of a process other than the recording one."""

    finished = False

    def __init__(self, place: Place, link: GroupLink | None) -> None:
        announced = link.launch() if link is not None else None
        launch = announced or AttemptLaunch(runtime_id="unknown", trial=1, attempt=1)
        background: Any = SilentBackground()
        keeper = SilentKeeper(launch, place.rank, place.world_size, background)
        with tempfile.TemporaryDirectory(prefix="milepost-") as folder:
            # Its marker is read by nobody.
            launch.attempt_directory = folder
            silent: Background = background
            self.trial = Trial(launch, Rank(place.rank, place.world_size, led=False), silent, keeper)
        self.trial.on_finish = self.finish
        self._link = link
        self._previous_hook = sys.excepthook
        sys.excepthook = self._on_error
        if link is not None:
            link.follow_stop(self.trial.request_stop)

    def _on_error(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if isinstance(error, Stopped):
            leave_quietly()
        if self._link is not None:
            self._link.report_error(describe_error(error))
        self._previous_hook(kind, error, trace)

    def finish(self) -> None:
        """End the trial of this process. Repeats do nothing."""
        if not self.finished:
            self.finished = True
            if sys.excepthook == self._on_error:
                sys.excepthook = self._previous_hook
            self.trial.end()


def leave_quietly() -> None:
    """End this process after a stop: torchrun takes any other status than 0 for a failure of the whole group."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
