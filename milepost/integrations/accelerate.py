"""Milepost as a tracker of Hugging Face Accelerate.

    accelerator = Accelerator(log_with=MilepostTracker("mine"))
    accelerator.init_trackers("mine", config={"learning_rate": 0.001})
    accelerator.log({"train/loss": loss}, step=step)

`tracker.track(loader)`, `tracker.watch(optimizer)` and `tracker.should_stop()` are those of the trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate.tracking import GeneralTracker

from milepost.integrations.names import series
from milepost.integrations.run import Run
from milepost.training.trial import Trial


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
    def tracker(self) -> Trial:
        """The trial."""
        return self._run.open()

    def start(self) -> None:
        """Begin to record."""
        self._run.open()

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Declare parameters."""
        self.tracker.declare(values)

    def log(self, values: Mapping[str, Any], step: int | None = None, **more: Any) -> None:
        """Log values at a step: the global step, from 1. Default: the next one."""
        self.tracker.log(series(values), step=step)

    def finish(self) -> None:
        """End the run, if this tracker has made it."""
        self._run.finish()
