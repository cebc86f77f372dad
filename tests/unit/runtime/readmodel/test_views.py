"""What a runtime says of itself, from what its trials do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime, trial
from milepost.eventlog import NewEvent, attempt_subject, codec, trial_chain
from milepost.eventlog.memory import MemoryLog
from milepost.ids import new_event_id
from services.runtime.commands.previews import preview
from services.runtime.decisions import Cause, Decisions
from services.runtime.readmodel.view import RuntimeView
from services.runtime.readmodel.views import Views
from tests.unit.domain.given import NOW
from tests.unit.runtime.world import configuration

BEHIND = Cause("local:ada", "request:1")


class Run:
    """A runtime with some trials, in a log in memory."""

    def __init__(self) -> None:
        self.log = MemoryLog(lambda: NOW)
        self.views = Views()
        self.decisions = Decisions(self.log, self.views, lambda: NOW)

    @property
    def view(self) -> RuntimeView:
        return self.views.runtimes["rt-1"]

    def said(self) -> tuple[runtime.Phase | None, str]:
        """Its phase and its reason."""
        return self.view.phase, self.view.reason

    async def decide(self, number: int | None, *commands: object) -> None:
        await self.decisions.decide("rt-1", {number: list(commands)}, BEHIND)

    async def says(self, number: int, payload: Message) -> None:
        ce_type, body = codec.encode(payload)
        subject = attempt_subject("rt-1", number, payload.attempt)  # type: ignore[attr-defined]
        event = NewEvent(subject, ce_type, body, new_event_id(), NOW, "/test", "trainer")
        head = await self.log.head(trial_chain("rt-1", number))
        await self.views.wait_for((await self.log.append([event], [head])).sequences[-1])

    async def begin(self, trials: int) -> None:
        await self.decide(None, runtime.RequestRuntime("rt-1", "text", configuration(), "sha256:a", trials))
        for number in range(1, trials + 1):
            await self.decide(number, trial.CreateTrial("rt-1", number, {}, {}))
        await self.decide(None, runtime.AllocateResources(runtime.Allocation(1.0, 1.0, (), "here", 0.0)))

    async def start(self, number: int, attempt: int) -> None:
        await self.decide(number, trial.LaunchAttempt(attempt, None))
        await self.says(number, facts.AttemptStarted(attempt=attempt))

    async def crash(self, number: int, attempt: int) -> None:
        await self.decide(
            number, trial.FenceAttempt(attempt, facts.FENCE_REASON_EXITED, common.EXIT_CAUSE_SIGNAL, "SIGKILL")
        )

    async def retry(self, number: int, attempt: int) -> None:
        later = NOW + timedelta(seconds=5)
        await self.decide(number, trial.ScheduleRetry(attempt, 3, later, common.EXIT_CAUSE_SIGNAL, "SIGKILL"))


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    run = Run()
    following = asyncio.create_task(run.views.follow(run.log))
    yield run
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_run_starts_again_with_the_retry_as_its_reason_until_the_next_attempt_has_begun(
    run: Run,
) -> None:
    await run.begin(1)
    assert run.said()[0] is runtime.Phase.ALLOCATING
    await run.decide(1, trial.LaunchAttempt(1, None))
    assert run.said()[0] is runtime.Phase.STARTING
    await run.says(1, facts.AttemptStarted(attempt=1))
    await run.decide(None, runtime.ReportStarted())
    assert run.said() == (runtime.Phase.RUNNING, "Started: training runs")
    await run.crash(1, 1)
    assert run.said()[0] is runtime.Phase.RUNNING, "what follows is not decided yet"
    await run.retry(1, 1)
    assert run.said()[0] is runtime.Phase.STARTING
    assert run.view.reason.startswith("Retry 1 of 3 scheduled")
    await run.start(1, 2)
    assert run.said() == (runtime.Phase.RUNNING, "Attempt 2 began")
    assert run.view.changed is not None
    assert run.view.changed.sequence == run.views.sequence


async def test_one_of_several_trials_that_is_retried_is_named_only_when_no_other_runs(run: Run) -> None:
    await run.begin(2)
    await run.start(1, 1)
    await run.decide(None, runtime.ReportStarted())
    await run.start(2, 1)
    await run.crash(1, 1)
    await run.retry(1, 1)
    assert run.said() == (runtime.Phase.RUNNING, "Started: training runs")
    await run.crash(2, 1)
    await run.retry(2, 1)
    assert run.said()[0] is runtime.Phase.STARTING
    assert run.view.reason.startswith("Trial 2: Retry 1 of 3 scheduled")


async def test_a_preview_says_what_a_graceful_stop_loses(run: Run) -> None:
    """Nothing where the loop has given the state for a snapshot; everything where it has not, as in a plain script."""
    await run.begin(2)
    for number in (1, 2):
        await run.start(number, 1)

    def told(only: int, step: int) -> api.PreviewStopResponse:
        return preview(run.view, only, lambda key: step, NOW + timedelta(minutes=2))

    assert told(1, 0).graceful_message == "nothing is lost: no step has been done that is not saved"
    assert told(1, 125).graceful_message == (
        "the training code has given no state to save (trial.maybe_snapshot): unless it saves a checkpoint of its own, "
        "this is lost: 125 steps, 2 m: there is no snapshot yet"
    )
    await run.says(1, facts.PlanDeclared(attempt=1, total_steps=300, gives_state=True))
    assert told(1, 125).graceful_message == "takes a snapshot at the next step, so nothing is lost"
    assert [loss.graceful_saves for loss in told(0, 125).losses] == [True, False]
    assert "this is lost: 125 steps" in told(0, 125).graceful_message
