"""An evaluation inside a trial."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.training import rng
from milepost.training.batches import EVALUATING, TRAINING
from milepost.training.data import loader_length
from milepost.training.stop import Stopped

if TYPE_CHECKING:
    from milepost.training.trial import Trial

Batch = TypeVar("Batch")


class Evaluation:
    """One evaluation at the current step. Made by `trial.evaluation()`.

    The random generators are put back at its end, so training goes on the same whether it ran or not. A stop raises
    `Stopped` from `batches` and `log`; the evaluation then runs again after the resume.
    """

    def __init__(self, trial: Trial, batch_count: int | None, keep_random: bool = True) -> None:
        self._trial = trial
        self._batch_count = batch_count
        self._values: dict[str, float] = {}
        self._random = trial.random.capture() if keep_random else None
        self._started = 0.0

    @property
    def values(self) -> dict[str, float]:
        """The last value of each series that was logged."""
        return self._values

    def __enter__(self) -> Self:
        position = self._trial.position
        self._started = time.monotonic()
        position.phase, position.eval_batch, position.eval_batches = EVALUATING, 0, self._batch_count
        self._trial.report(
            facts.EvaluationStarted(attempt=self._trial.attempt, step=position.step, batch_count=self._batch_count)
        )
        self._trial.check_stop_in_evaluation()
        return self

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Go through the batches of a loader, counting them.

        Raises:
            Stopped: a stop was asked for.
        """
        position = self._trial.position
        if position.eval_batches is None:
            position.eval_batches = loader_length(loader)
        for batch in loader:
            self._trial.check_stop_in_evaluation()
            yield batch
            position.eval_batch = (position.eval_batch or 0) + 1
        self._trial.check_stop_in_evaluation()

    def count(self, batches: int = 1) -> None:
        """Show that so many more batches are done, where a framework goes through them itself."""
        position = self._trial.position
        position.eval_batch = (position.eval_batch or 0) + batches

    def log(self, values: Mapping[str, Any]) -> None:
        """Log results of the evaluation at the current step.

        Raises:
            Stopped: a stop was asked for.
        """
        self._values |= self._trial.log_at_current_step(values)
        self._trial.check_stop_in_evaluation()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        trial, position = self._trial, self._trial.position
        if self._random is not None:
            rng.restore(self._random)
        seconds = time.monotonic() - self._started
        position.busy_seconds += seconds
        position.phase, position.eval_batch, position.eval_batches = TRAINING, None, None
        completed = facts.EvaluationCompleted(
            attempt=trial.attempt,
            step=position.step,
            values=self._values,
            duration_seconds=seconds,
            interrupted=kind is not None,
        )
        trial.report(completed)
        if kind is None:
            trial.say("evaluation done", self._values)
        trial.evaluation_ended(self._values, interrupted=kind is not None and issubclass(kind, Stopped))
