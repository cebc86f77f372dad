"""Evaluations inside a trial: one that is under way, and when the next is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.training.loop.beginning import Beginning
from milepost.training.loop.data.feed import loader_length
from milepost.training.loop.host import Host
from milepost.training.loop.progress import Progress
from milepost.training.loop.stop import Stopped
from milepost.training.loop.stopping import Stopping
from milepost.training.loop.values.step_values import StepValues
from milepost.training.saving import rng
from milepost.training.saving.rng import RandomState
from milepost.training.telemetry.batches import EVALUATING, TRAINING
from milepost.training.user_code import given

Batch = TypeVar("Batch")


class Evaluations:
    """Those of one loop."""

    def __init__(
        self, host: Host, progress: Progress, beginning: Beginning, values: StepValues, stopping: Stopping
    ) -> None:
        self._host = host
        self._progress = progress
        self._beginning = beginning
        self._values = values
        self._stopping = stopping
        self.position = progress.position
        # What runs one by itself, and after how many steps.
        self._function: Callable[[], object] | None = None
        self._every = 1
        # The last step at which the loop has asked whether one is due. -1: it has not.
        self._asked_at = -1
        # Those that people asked for, and how many of them are answered: by one that was run, or with why none is. Written by
        # two threads.
        self._requests = self._answered = 0
        # The first step after which the last of them may run.
        self._from_step = 0

    # --- those that people ask for

    def ask_for(self, step: int) -> None:
        """Run one as soon as the loop can, after a step or a later one. May come from any thread.

        Where the loop cannot be had to, that is said.
        """
        if self._host.agreement is None and self._host.rank.world_size > 1:
            self._refuse("the processes of this group evaluate together, when their script says so")
            return
        self._from_step = step
        self._requests += 1
        self._progress.once_begun(self._refuse_where_none_can_be)

    def _refuse_where_none_can_be(self) -> None:
        progress = self._progress
        runs_by_itself = self._function is not None and progress.uses_batches
        if not runs_by_itself and self._asked_at <= progress.start_step:
            self._answered = self._requests
            self._refuse(
                "this loop says itself when it evaluates: it neither uses evaluate_every with batches, nor has it asked "
                "evaluation_due while it trained"
            )

    def _refuse(self, detail: str) -> None:
        attempt = self._host.launch.attempt
        self._host.report(facts.EvaluationRefused(attempt=attempt, step=self.position.step, detail=detail))

    @property
    def _is_wanted(self) -> bool:
        return self._requests != self._answered and self.position.step >= max(self._from_step, 1)

    def is_due(self) -> bool:
        """Return whether the loop is to evaluate now; see `Trial.evaluation_due`."""
        self._asked_at = self.position.step
        return self._progress.evaluation_due or self._is_wanted

    # --- those that run by themselves

    def run_every(self, steps: Any, function: Callable[[], object]) -> None:
        """Have a function run after every so many steps; see `Trial.evaluate_every`."""
        every = given.total(steps)
        if every is None:
            text = f"evaluate_every({given.line(steps)[:60]}, ...): no number of steps, so never"
            self._host.warn("evaluate_every", text)
        self._every, self._function = every or 1, function if every else None

    @property
    def is_next(self) -> bool:
        """Whether one is to run by itself before the next batch."""
        if self._function is None:
            return False
        step = self.position.step
        is_new = step > 0 and step % self._every == 0 and self._progress.evaluated_step != step
        return self._progress.evaluation_due or is_new or self._is_wanted

    def run_if_next(self) -> None:
        """Run one that is due.

        Raises:
            Stopped: a stop was asked for; it runs again after the resume.
        """
        if self._function is None or not self.is_next:
            return
        progress = self._progress
        requests = self._requests if self._is_wanted else 0
        progress.with_random()
        progress.evaluation_due = True
        try:
            self._function()
        except Stopped:
            progress.evaluation_due = True
            self._stopping.stop_now()
        # Also when the function found nothing to evaluate.
        progress.evaluation_due = False
        progress.evaluated_step = progress.position.step
        if self._answered < requests:
            self._answered = requests
            self._refuse("the function that evaluate_every was given has opened no evaluation")

    # --- one that is under way

    def open(self, batch_count: Any, keep_random: bool | None) -> Evaluation:
        """Begin one; see `Trial.evaluation`."""
        self._beginning.begin()
        keeps = self._host.rank.led if keep_random is None else keep_random
        return Evaluation(self, given.total(batch_count), self._progress.random.capture(), keeps)

    def started(self, batch_count: int | None) -> None:
        """Say that one begins."""
        position = self.position
        self._progress.remember_random()
        position.phase, position.eval_batch, position.eval_batches = EVALUATING, 0, batch_count
        attempt = self._host.launch.attempt
        self._host.report(
            facts.EvaluationStarted(
                attempt=attempt, step=position.step, batch_count=batch_count, requested=self._is_wanted
            )
        )
        self.check_stop()

    def log(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Log values for the step that was done last. Returns those that are numbers."""
        self._beginning.begin()
        return self._values.at_current_step(values)

    def check_stop(self) -> None:
        """Leave it, if a stop was asked for.

        Raises:
            Stopped: that is so.
        """
        self._stopping.stop_in_evaluation()

    def ended(
        self, values: Mapping[str, float], seconds: float, error: type[BaseException] | None, drawn: bool
    ) -> None:
        """Say that one is over.

        Args:
            values: what it found.
            seconds: how long it took.
            error: what has ended it. None: it is complete.
            drawn: the random generators are not as they were at its begin.
        """
        progress, position = self._progress, self.position
        requested = self._is_wanted
        if requested and error is None:
            self._answered = self._requests
        if drawn:
            progress.forget_random()
        position.busy_seconds += seconds
        position.phase, position.eval_batch, position.eval_batches = TRAINING, None, None
        self._host.report(
            facts.EvaluationCompleted(
                attempt=self._host.launch.attempt,
                step=position.step,
                values=values,
                duration_seconds=seconds,
                interrupted=error is not None,
                requested=requested,
            )
        )
        if error is None:
            self._host.say("evaluation done", values)
        progress.evaluation_due = error is not None and issubclass(error, Stopped)
        if not progress.evaluation_due:
            progress.evaluated_step = position.step
            self._host.keeper.evaluated(values)
        self._host.wake()


class Evaluation:
    """One evaluation at the current step. Made by `trial.evaluation()`.

    A stop raises `Stopped` from `batches` and `log`; the evaluation then runs again after the resume.
    """

    def __init__(
        self, evaluations: Evaluations, batch_count: int | None, random: RandomState, keep_random: bool
    ) -> None:
        self._evaluations = evaluations
        self._position = evaluations.position
        self._batch_count = batch_count
        self._values: dict[str, float] = {}
        self._keep_random = keep_random
        self._random = random
        self._started = 0.0

    @property
    def values(self) -> dict[str, float]:
        """The last value of each series that was logged."""
        return self._values

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._evaluations.started(self._batch_count)
        return self

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Go through the batches of a loader, counting them.

        Raises:
            Stopped: a stop was asked for.
        """
        position = self._position
        if position.eval_batches is None:
            position.eval_batches = loader_length(loader)
        for batch in loader:
            self._evaluations.check_stop()
            yield batch
            position.eval_batch = (position.eval_batch or 0) + 1
        self._evaluations.check_stop()

    def began(self, seconds_ago: float) -> None:
        """Say that it has been going on for so long, where a framework tells of it late."""
        self._started = time.monotonic() - seconds_ago

    def count(self, batches: float = 1) -> None:
        """Show that so many more batches are done, where a framework goes through them itself."""
        self._position.eval_batch = (self._position.eval_batch or 0) + given.count(batches)

    def log(self, values: Mapping[str, Any]) -> None:
        """Log results of the evaluation at the current step.

        Raises:
            Stopped: a stop was asked for.
        """
        self._values |= self._evaluations.log(values)
        self._evaluations.check_stop()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # One that a stop interrupted runs again, with the numbers that it had.
        puts_back = self._keep_random or (kind is not None and issubclass(kind, Stopped))
        if puts_back:
            rng.restore(self._random)
        self._evaluations.ended(self._values, time.monotonic() - self._started, kind, drawn=not puts_back)
