"""Given / when / then for the views of trials: a history of facts and telemetry, and the trial it makes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.eventlog import RecordedEvent, attempt_subject, codec, control_subject, runtime_subject
from services.trials.messages import render_trial
from services.trials.readmodel.view import Key, TrialView
from services.trials.readmodel.views import Views

START = datetime(2026, 1, 31, 10, 0, 0, tzinfo=UTC)
RUNTIME = "rt-test"


class History:
    """Facts and batches in the order in which they happen. `seconds` is the time since the start.

    `clock_ahead`: how far the trainer's clock is ahead of the server's, in seconds.
    """

    def __init__(self, clock_ahead: float = 0.0) -> None:
        self.views = Views()
        self.seconds = 0.0
        self._events = 0
        self._batches = 0
        self._numbers: dict[tuple[int, int], int] = {}
        self.clock_ahead = clock_ahead

    @property
    def time(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    @property
    def nanoseconds(self) -> int:
        return int(START.timestamp()) * 1_000_000_000 + round(self.seconds * 1e9)

    def after(self, seconds: float) -> History:
        """Let time pass."""
        self.seconds += seconds
        return self

    def at(self, seconds: float) -> History:
        self.seconds = seconds
        return self

    def event(self, subject: str, payload: Message) -> list[Key]:
        self._events += 1
        kind, body = codec.encode(payload)
        writer_time = self.time + timedelta(seconds=self.clock_ahead)
        return self.views.apply_event(
            RecordedEvent(
                self._events,
                subject,
                self.time,
                kind,
                body,
                f"id-{self._events}",
                writer_time,
                "",
                "",
                "",
                "",
                1,
                "",
                "",
            )
        )

    def runtime(self, *payloads: Message) -> History:
        for payload in payloads:
            self.event(runtime_subject(RUNTIME), payload)
        return self

    def control(self, *payloads: Message, trial: int = 1) -> History:
        """Facts that the runtime service wrote."""
        for payload in payloads:
            self.event(control_subject(RUNTIME, trial), payload)
        return self

    def attempt(self, number: int, *payloads: Message, trial: int = 1) -> History:
        """Facts that an attempt wrote. Their attempt is filled in."""
        for payload in payloads:
            payload.attempt = number  # type: ignore[attr-defined]
            self.event(attempt_subject(RUNTIME, trial, number), payload)
        return self

    def requested(self, configuration: RuntimeConfiguration | None = None, trials: int = 1) -> History:
        self.runtime(
            runtime_facts.RuntimeRequested(runtime_id=RUNTIME, configuration=configuration, trial_count=trials)
        )
        for number in range(1, trials + 1):
            self.control(facts.TrialCreated(runtime_id=RUNTIME, trial=number, parameters={"seed": "1"}), trial=number)
        return self

    def running(
        self, number: int = 1, restored: facts.SnapshotCommitted | None = None, trial: int = 1, **plan: int
    ) -> History:
        """Launch and start an attempt that declares a plan."""
        self.control(facts.AttemptLaunched(attempt=number), trial=trial)
        started = facts.AttemptStarted(world_size=1)
        if restored is not None:
            started.restored_snapshot_id, started.restored_step = restored.snapshot_id, restored.step
        self.attempt(number, started, trial=trial)
        if plan:
            self.attempt(number, facts.PlanDeclared(**plan), trial=trial)  # type: ignore[arg-type]
        return self

    def batch(self, step: int, *, attempt: int = 1, trial: int = 1, **headers: Any) -> Key | None:
        """A step batch of rank 0. Further headers by name, with `_` for `-` and without `mp-`."""
        number = self._numbers.get((trial, attempt), 0) + 1
        self._numbers[trial, attempt] = number
        all_headers = {
            "mp-number": str(number),
            "mp-source": "rank-0",
            "mp-step": str(step),
            "mp-epoch": "0",
            "mp-batch": str(step),
            "mp-phase": "training",
            "mp-time": str(round((self.time.timestamp() + self.clock_ahead) * 1000)),
        }
        for name, value in headers.items():
            all_headers["mp-" + name.replace("_", "-")] = str(value)
        self._batches += 1
        return self.views.apply_telemetry(self._batches, self.nanoseconds, Key(RUNTIME, trial), attempt, all_headers)

    def view(self, trial: int = 1) -> TrialView:
        return self.views.trials[Key(RUNTIME, trial)]

    def trial(self, number: int = 1, brief: bool = False) -> api.Trial:
        """The trial as the API gives it now."""
        return render_trial(self.views, self.view(number), self.nanoseconds, brief)


def committed(step: int, attempt: int = 1, epoch: int = 0, batch: int = 0) -> facts.SnapshotCommitted:
    return facts.SnapshotCommitted(
        attempt=attempt,
        snapshot_id=f"step-{step:012d}-a{attempt}",
        step=step,
        epoch=epoch,
        batch=batch,
        duration_seconds=0.5,
    )
