"""What an attempt writes is data: hostile, malformed and newer messages go through every fold and every answer."""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.domain import runtime, trial
from milepost.eventlog import LogMessage, NewEvent, RecordedEvent, UnreadableMessage, codec, trial_chain
from milepost.eventlog.memory import MemoryLog
from milepost.eventlog.nats.server import MAX_PAYLOAD_BYTES
from milepost.eventlog.nats.wire import parse_headers
from milepost.eventlog.proof.chain import verify_chain
from milepost.eventlog.telemetry import StoredMessage
from milepost.ids import new_event_id
from milepost.names import AttemptKey
from milepost.numbers import MAX_NUMBER
from milepost.protojson import to_json
from services.metrics import checkpointing as metrics_keeping
from services.metrics.lineage import Lineages
from services.metrics.storage.batches import STEPS, Batch, LogsBlock, StepsBlock, decode, stored_line
from services.rules.decoding import Unreadable
from services.rules.decoding import decode as decode_for_rules
from services.rules.evaluation.fold import Evaluation
from services.rules.evaluation.inputs import Points
from services.runtime.decisions import Cause, Decisions
from services.runtime.readmodel import checkpointing, listing
from services.runtime.readmodel.messages import event_message, runtime_message
from services.runtime.readmodel.views import Views
from services.runtime.scheduling.liveness import Liveness
from services.trials import live, messages, queries
from services.trials.readmodel import views as trial_views
from services.trials.readmodel.runtime_estimates import estimate_runtime
from tests.support.faults.hostile import Attempt, Sent, events, one_byte_of_headers, telemetry_messages
from tests.support.trainers.trial_history import History
from tests.unit.rules.test_properties import ALL
from tests.unit.runtime.world import configuration

# An answer that a service gives; its channels take 64 MB, and a page of lists has hundreds of trials.
MAX_ANSWER = 2_000_000
COUNT = int(os.environ.get("MILEPOST_FUZZ_MESSAGES", "400"))
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BEHIND = Cause("local:ada", "request:1")
RUNTIME = "rt-hostile"


class World:
    """A log with one runtime, whose attempt is under way, and every read model of it."""

    def __init__(self, seed: int) -> None:
        self.log = MemoryLog(lambda: NOW)
        self.views = Views()
        self.trials = trial_views.Views()
        self.lineages = Lineages()
        self.rules = Evaluation()
        for rule in ALL:
            self.rules.set_rule(rule)
        self.decisions = Decisions(self.log, self.views, lambda: NOW)
        self.attempt = Attempt(RUNTIME, 1, 1, random.Random(seed))
        self.messages: list[LogMessage] = []
        self.telemetry: list[StoredMessage] = []

    async def decide(self, number: int | None, *commands: object) -> None:
        await self.decisions.decide(RUNTIME, {number: list(commands)}, BEHIND)

    async def begin(self) -> None:
        await self.decide(None, runtime.RequestRuntime(RUNTIME, "text", configuration(), "sha256:a", 1))
        await self.decide(1, trial.CreateTrial(RUNTIME, 1, {"rate": "0.1"}, {}))
        await self.decide(None, runtime.AllocateResources(runtime.Allocation(1.0, 1.0, (), "here", 0.0)))
        await self.decide(1, trial.LaunchAttempt(1, None))

    async def say(self, payload: Message) -> None:
        """Append a fact of the attempt as an honest one does."""
        ce_type, body = codec.encode(payload)
        event = NewEvent(self.attempt.subject, ce_type, body, new_event_id(), NOW, "/test", "trainer")
        sequence = (await self.log.append([event], [await self.log.head(trial_chain(RUNTIME, 1))])).sequences[-1]
        await self.views.wait_for(sequence)

    async def receive(self, message: Sent) -> None:
        """Take in what came over the wire, where the server would have put it."""
        headers, subject = parse_headers(message.headers), message.subject.decode("utf-8", "replace")
        if not message.stored or len(message.headers) + len(message.body) > MAX_PAYLOAD_BYTES:
            return
        if subject.startswith("telemetry."):
            number = len(self.telemetry) + 1
            self.telemetry.append(StoredMessage(number, subject, headers, message.body, number * 10**9, 0))
        else:
            await self.views.wait_for((await self.log.put(subject, headers, message.body)).sequence)

    async def read(self) -> None:
        """Bring up the read models that do not follow."""
        async for message in self.log.read(len(self.messages)):
            self.messages.append(message)
            self.trials.apply_event(message)
            self.lineages.apply(message)
            if isinstance(message, RecordedEvent):
                self.rules.apply_event(message)
        for stored in self.telemetry[self.trials.telemetry_sequence :]:
            if stored.subject.endswith(".steps"):
                live.apply_message(self.trials, stored)
            with suppress(Unreadable):
                decoded = decode_for_rules(stored)
                if isinstance(decoded, Points):
                    self.rules.apply_points(decoded)
                elif decoded is not None:
                    self.rules.apply_lines(decoded)
        self.trials.telemetry_sequence = len(self.telemetry)


@pytest.fixture(params=range(4))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made = World(request.param)
    following = asyncio.create_task(made.views.follow(made.log))
    await made.begin()
    yield made
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def flood(world: World) -> None:
    """Hostile events before and after the start of the attempt, and as much telemetry."""
    sent = [
        *events(world.attempt, COUNT),
        one_byte_of_headers(world.attempt),
        *telemetry_messages(world.attempt, COUNT),
    ]
    for number, message in enumerate(sent):
        if number == COUNT // 4:
            await world.say(facts.AttemptStarted(attempt=1))
            await world.say(facts.PlanDeclared(attempt=1, total_steps=1_000, eval_every_steps=10))
        await world.receive(message)
    await world.read()


def check_answers(world: World) -> None:
    """Make every answer from the read models, as the services and the page do."""
    view = world.views.runtimes[RUNTIME]
    answers: list[Message] = [runtime_message(view, with_text=True)]
    answers += [event_message(m, world.views.ignored) for m in world.messages if isinstance(m, RecordedEvent)]
    answers += listing.Lists(world.views).page(runtime_api.ListRuntimesRequest()).runtimes
    for one in world.trials.trials.values():
        now = int(NOW.timestamp() * 1e9)
        answers += [messages.render_trial(world.trials, one, now, brief) for brief in (True, False)]
        answers += [messages.render_attempt(attempt) for attempt in one.attempts]
        for order in ("", "status", "completion", "best", "elapsed", "remaining", "step desc", "start_time"):
            request = trial_api.ListTrialsRequest(parent="runtimes/-", order_by=order)
            assert queries.list_page(world.trials, queries.Scope(), request, now).total_size == 1
        for words in ("status=Running", "step>3", "best<1", "parameters.rate=0.1", "elapsed>0", "completion>50"):
            queries.list_page(world.trials, queries.Scope(), trial_api.ListTrialsRequest(filter=words), now)
    for answer in answers:
        text = orjson.dumps(to_json(answer))
        assert len(text) < MAX_ANSWER, f"{len(text):,} bytes of {type(answer).__name__}"
        assert type(answer).FromString(answer.SerializeToString()) == answer or b"NaN" in text


async def test_hostile_events_are_passed_over_and_every_answer_can_be_given(world: World) -> None:
    await flood(world)
    assert not world.views.set_aside.sentences()
    assert not world.trials.set_aside.sentences() + world.trials.batches_set_aside.sentences()
    assert not world.lineages.set_aside.sentences()
    assert world.views.unreadable > COUNT // 5
    assert world.views.sequence == len(world.messages)
    written = [message for message in world.messages if message.subject == world.attempt.subject]
    assert world.views.runtimes[RUNTIME].trials[1].written_messages == len(written) > COUNT // 2
    check_answers(world)


async def test_a_run_with_hostile_events_can_be_stopped(world: World) -> None:
    await flood(world)
    await world.decide(1, trial.StopTrial(common.STOP_MODE_ABRUPT, NOW))
    fence = trial.FenceAttempt(1, facts.FENCE_REASON_ABRUPT_STOP, common.EXIT_CAUSE_KILLED, "stopped")
    await world.decide(1, fence, trial.MarkStopped("stopped"))
    assert isinstance(world.views.runtimes[RUNTIME].trials[1].state.situation, trial.Stopped)
    await world.read()
    check_answers(world)
    after = [m for m in world.messages if m.sequence > world.views.sequence - 3]
    assert [finding for finding in verify_chain(world.messages) if not finding.tolerated] == [], after


async def test_read_models_with_hostile_events_are_kept_and_rebuilt_the_same(world: World) -> None:
    await flood(world)
    rebuilt, trials, lineages = Views(), trial_views.Views(), Lineages()
    for message in world.messages:
        rebuilt.apply(message)
        trials.apply_event(message)
        lineages.apply(message)
    assert checkpointing.digest(rebuilt) == checkpointing.digest(world.views)
    for stored in world.telemetry:
        if stored.subject.endswith(".steps"):
            live.apply_message(trials, stored)
    for key, view in world.trials.trials.items():
        written = live.CODEC.encode(view)
        assert live.CODEC.encode(live.CODEC.decode(written)) == written == live.CODEC.encode(trials.trials[key])
        position = live.CODEC.encode(world.trials.positions[key])
        assert live.CODEC.encode(live.CODEC.decode(position)) == position
    for one, other in zip(world.lineages.histories(), lineages.histories(), strict=True):
        assert metrics_keeping.CODEC.encode(one) == metrics_keeping.CODEC.encode(other)


async def test_every_oddity_is_named_and_none_is_a_regression(world: World) -> None:
    await flood(world)
    found = verify_chain(world.messages)
    assert all(finding.tolerated for finding in found)
    odd = {message.sequence for message in world.messages if isinstance(message, UnreadableMessage)}
    assert odd <= {finding.sequence for finding in found}


async def test_hostile_telemetry_becomes_rows_or_is_rejected(world: World) -> None:
    await flood(world)
    steps, logs = StepsBlock(1), LogsBlock(1)
    outcomes: set[str] = set()
    for stored in world.telemetry:
        batch: Batch = decode(stored)
        outcomes.add(batch.kind)
        if stored.subject.endswith(STEPS):
            steps.add(batch)
        elif stored.subject.endswith(".logs"):
            logs.add(batch, [stored_line(index, line) for index, line in enumerate(batch.lines)])
    assert steps.table().num_rows and logs.table().num_rows
    assert outcomes >= {"stored", "rejected"}


MILLISECONDS = st.one_of(
    st.sampled_from([0.0, 1e-300, 1e14, 2.5e14, -1.0, math.nan, math.inf]), st.floats(1.7e12, 1.7e12 + 1e6)
)
WHOLE = st.one_of(st.sampled_from([0, 1, 2, 2**31, 2**53 - 1, 2**53, 10**18, -1]), st.integers(0, 40))
TOLD = st.fixed_dictionaries(
    {
        "mp-step": WHOLE, "mp-epoch": WHOLE, "mp-batch": WHOLE, "mp-time": MILLISECONDS,
        "mp-phase": st.sampled_from(["training", "evaluating", "snapshotting", "skipping", "elsewhere", ""]),
    },
    optional={
        "mp-busy-ms": MILLISECONDS, "mp-step-ms": MILLISECONDS, "mp-samples": MILLISECONDS, "mp-epoch-batches": WHOLE,
        "mp-eval-batch": WHOLE, "mp-eval-batches": WHOLE, "mp-skipped": WHOLE, "mp-to-skip": WHOLE,
        "mp-last-train.loss": MILLISECONDS,
    },
)  # fmt: skip


@given(st.lists(TOLD, min_size=2, max_size=40), WHOLE, st.booleans())
def test_clocks_steps_and_totals_may_be_any_numbers(told: list[dict[str, Any]], total: int, evaluates: bool) -> None:
    """Whatever an attempt tells of its place and its clock, its trial and the list of all can be answered."""
    history = History().requested().running()
    history.attempt(1, facts.PlanDeclared(total_steps=total, eval_every_steps=total // 7, steps_per_epoch=total))
    if evaluates:
        history.attempt(1, facts.EvaluationStarted(step=3, batch_count=total))
    for number, headers in enumerate(told, 1):
        names = {
            name.removeprefix("mp-").replace("-", "_"): value for name, value in headers.items() if name != "mp-step"
        }
        history.after(1.0).batch(headers["mp-step"], **names)
        if number % 9 == 0:
            history.attempt(1, facts.EvaluationCompleted(step=number, duration_seconds=headers["mp-time"]))
        orjson.dumps(to_json(history.trial()))
        now = history.nanoseconds
        for order in ("remaining", "completion desc"):
            request = trial_api.ListTrialsRequest(parent="runtimes/-", order_by=order, page_size=1)
            queries.list_page(history.views, queries.Scope(), request, now)
        (runtime_view,) = history.views.runtimes.values()
        messages.to_estimate(estimate_runtime(history.views, runtime_view, now), now)
    assert not history.views.set_aside.sentences() + history.views.batches_set_aside.sentences()


def test_hostile_beats_change_nothing_but_what_is_known_of_their_attempt() -> None:
    attempt = Attempt(RUNTIME, 1, 1, random.Random(7))
    liveness, key = Liveness(lambda: 0.0), AttemptKey(RUNTIME, 1, 1)
    liveness.watch(key)
    for message in telemetry_messages(attempt, COUNT):
        liveness.receive(message.subject.decode("utf-8", "replace"), message.body)
        orjson.dumps([str(command) for command in liveness.reports(key, [])])
        assert liveness.why_lost(key, 30.0) == ""
        assert 0 <= liveness.step(key) <= MAX_NUMBER
        assert all(number >= 0 for number in liveness.spooled())
