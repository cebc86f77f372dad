"""A search whose trials run, behind the interface of the live views: moved by hand, without a log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from milepost.api.event.v1.recorded_event_pb2 import AsOf
from services.trials.live import Listener
from services.trials.queries import Scope
from services.trials.readmodel.view import Key
from services.trials.readmodel.views import Views
from tests.support.trainers.trial_history import RUNTIME, History

# Each trial has so many markers planned as a message holds.
PLAN: dict[str, Any] = {
    "total_steps": 100_000,
    "eval_every_steps": 50,
    "steps_per_epoch": 60,
    "snapshot_every_steps": 70,
}
# So many batches, and there are estimates.
WARM_BATCHES = 40


class RunningSearch:
    """Trials that run, each some steps a second."""

    def __init__(self, trials: int) -> None:
        self.history = History().requested(trials=trials)
        self.trials = trials
        self._listeners: list[Listener] = []
        self._step = 0
        for trial in range(1, trials + 1):
            self.history.running(trial=trial, **PLAN)
        for _ in range(WARM_BATCHES):
            self.advance()

    @property
    def views(self) -> Views:
        return self.history.views

    def now(self) -> int:
        """Nanoseconds since 1970."""
        return self.history.nanoseconds

    def advance(self) -> None:
        """Have every trial do ten steps in a second."""
        self._step += 10
        self.history.after(1.0)
        for trial in range(1, self.trials + 1):
            self.history.batch(self._step, trial=trial)
            self._tell(trial, False)

    def happens(self, payload: Message, trial: int) -> None:
        """Have the first attempt of a trial write an event."""
        self.history.attempt(1, payload, trial=trial)
        self._tell(trial, True)

    def _tell(self, trial: int, by_event: bool) -> None:
        for listener in self._listeners:
            listener(Key(RUNTIME, trial), by_event)

    async def wait_for(self, events: int = 0, telemetry: int = 0) -> None:
        """Everything is there."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def at(self, as_of: AsOf, scope: Scope, from_log: bool = False) -> tuple[Views, int]:
        raise NotImplementedError("nobody looks into the past here")
