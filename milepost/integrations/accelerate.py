"""Milepost as a tracker of Hugging Face Accelerate.

    tracker = MilepostTracker("mine")
    accelerator = Accelerator(log_with=tracker)
    accelerator.init_trackers("mine", config={"learning_rate": 0.001})
    tracker.log({"train/loss": loss}, step=step)

`tracker.trial` has `track(loader)`, `watch(optimizer)` and `should_stop()`. `accelerator.log` and `accelerator.get_tracker` do
something in the main process only; with several processes each has to log, or the others do not count and cannot stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate.tracking import GeneralTracker

from milepost.integrations.run import Run, series
from milepost.training.loop.trial import Trial


class MilepostTracker(GeneralTracker):
    """Records what an Accelerator logs.

    Args:
        run_name: of a new run.
        trial: where to record; None: the trial of this process, or a new one.
        options: of `milepost.init`: `labels`, `snapshots`, `resume` ...
    """

    name = "milepost"
    requires_logging_directory = False
    # Every process of a group has a trial: the others stop with the one that records.
    main_process_only = False

    def __init__(self, run_name: str = "accelerate", trial: Trial | None = None, **options: Any) -> None:
        super().__init__()
        self._run = Run(trial, run_name, options)

    @property
    def trial(self) -> Trial:
        """The trial, in every process of a group."""
        return self._run.open()

    @property
    def tracker(self) -> Trial:
        """The same, as Accelerate asks for it."""
        return self.trial

    def start(self) -> None:
        """Begin to record."""
        self._run.open()

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Declare parameters."""
        self.tracker.declare(values)

    def log(self, values: Mapping[str, Any], step: int | None = None, **more: Any) -> None:
        """Log values at a step: the global step, from 1. Default: the next one."""
        self.tracker.log(series(self.tracker, values), step=step)

    def finish(self) -> None:
        """End the run, if this tracker has made it."""
        self._run.finish()
