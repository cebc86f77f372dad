"""Rules over real streams: found once, across restarts and kills of who evaluates them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from milepost import configuration as configurations
from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.api.rule.v1.rule_service_pb2_grpc import RuleServiceStub
from milepost.domain.rules import CreateRule, DisableRule
from milepost.eventlog import RecordedEvent, codec, firings_subject
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from milepost.ids import new_runtime_id
from milepost.rules.checks import checked
from milepost.rules.of_runs import with_rules_checked
from services.rules.application import Application, Options
from services.rules.selection import parse_selector
from tests.support.faults.rule_crashes import check_crashes
from tests.support.servers.servers import NatsServer
from tests.support.trainers.writer import Writer

WAIT = 30.0
# Nothing listens here.
NOWHERE = "127.0.0.1:9"


@asynccontextmanager
async def evaluating(nats: NatsServer, data_dir: Path) -> AsyncIterator[Application]:
    application = Application(
        Options("127.0.0.1:0", data_dir, nats.url, runtime_address=NOWHERE, metrics_address=NOWHERE)
    )
    await application.start()
    try:
        yield application
    finally:
        await application.stop()


async def firings(connection: Connection, runtime_id: str) -> list[RecordedEvent]:
    return await JetStreamLog(connection).read_chain(firings_subject(runtime_id))


async def until(connection: Connection, runtime_id: str, meets: Callable[[list[str]], bool]) -> list[RecordedEvent]:
    """Read what rules found in a run until the types of these facts are as they should be."""
    async with asyncio.timeout(WAIT):
        while True:
            found = await firings(connection, runtime_id)
            if meets([event.type.split(".")[2] for event in found]):
                return found
            await asyncio.sleep(0.05)


def watching(runtime_id: str, **detector: object) -> rules.Rule:
    """A rule for one run: the server is shared."""
    given = rules.Rule(detector=rules.Detector(**detector), selector=f"id={runtime_id}")  # type: ignore[arg-type]
    return checked(given, parse_selector)


ABOVE_5 = rules.Threshold(series="train/loss", comparison=rules.COMPARISON_ABOVE, value=5.0)


async def test_a_rule_fires_once_across_resumes_and_restarts(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path
) -> None:
    writer = Writer(connection, new_runtime_id())
    one = writer.runtime_id
    async with evaluating(shared_nats, tmp_path) as application:
        await application.ledger.decide(CreateRule(one, watching(one, threshold=ABOVE_5)), "ada")
        await writer.request()
        await writer.run()
        await writer.points({1: 1.0, 2: 9.0, 3: 9.0})
        (fired,) = await until(connection, one, lambda types: types == ["rule_fired"])
        payload = codec.decode(fired.type, fired.body)
        assert isinstance(payload, facts.RuleFired)
        assert (payload.rule_id, payload.step, payload.value, payload.threshold) == (one, 2, 9.0, 5.0)
        assert fired.actor == "service:rules"
        # Its cause is the event with which the attempt began.
        _, _, begun, _ = await JetStreamLog(connection).read_chain(f"events.{one}.trial.1.*")
        assert (begun.type, fired.cause) == ("milepost.trial.attempt_started.v1", begun.id)
    # While nobody evaluates, another attempt does the steps again, and one more.
    await writer.control(trial_facts.AttemptFenced(attempt=1), trial_facts.RetryScheduled(attempt=1, retry=1))
    await writer.control(trial_facts.AttemptLaunched(attempt=2))
    await writer.attempt(2, trial_facts.AttemptStarted(restored_step=1))
    await writer.points({2: 9.0, 3: 1.0, 4: 9.0}, attempt=2)
    async with evaluating(shared_nats, tmp_path) as application:
        found = await until(connection, one, lambda types: len(types) >= 3)
        told = [codec.decode(event.type, event.body) for event in found]
        assert [type(fact).__name__ for fact in told] == ["RuleFired", "RuleCleared", "RuleFired"]
        assert [fact.step for fact in told] == [2, 2, 4]  # type: ignore[attr-defined]
        assert told[1].reason == facts.CLEAR_REASON_SUPERSEDED  # type: ignore[attr-defined]
        listed = [firing for firing in application.ledger.firings() if firing.runtime == f"runtimes/{one}"]
        assert [(firing.fired.step, firing.HasField("cleared")) for firing in listed] == [(4, False), (2, True)]
        await application.ledger.decide(DisableRule(one), "ada")
        await until(connection, one, lambda types: types[-1:] == ["rule_cleared"])


async def test_a_run_is_watched_by_the_rules_of_its_configuration(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path
) -> None:
    """From its first event, also where nobody evaluated when it was asked for."""
    writer = Writer(connection, new_runtime_id())
    one = writer.runtime_id
    threshold = {"series": "train/loss", "comparison": "ABOVE", "value": 5}
    plain = {"entrypoint": "a.b:c", "rules": [{"id": "high", "detector": {"threshold": threshold}}]}
    await writer.request(configuration=with_rules_checked(configurations.resolve(plain)))
    await writer.run()
    await writer.points({1: 1.0, 2: 9.0})
    async with evaluating(shared_nats, tmp_path) as application:
        (fired,) = await until(connection, one, lambda types: types == ["rule_fired"])
        payload = codec.decode(fired.type, fired.body)
        assert isinstance(payload, facts.RuleFired)
        assert (payload.rule_id, payload.rule_name, payload.step) == (f"{one}.high", "high", 2)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{application.port}") as channel:
            stub = RuleServiceStub(channel)
            (listed,) = (await stub.ListRules(api.ListRulesRequest(runtime=f"runtimes/{one}"), timeout=WAIT)).rules
            assert (listed.name, listed.selector, listed.owner) == (f"rules/{one}.high", f"id={one}", "tester")
            assert (await stub.GetRule(api.GetRuleRequest(name=listed.name), timeout=WAIT)).rule == listed
            everywhere = await stub.ListRules(api.ListRulesRequest(), timeout=WAIT)
            assert listed not in everywhere.rules
            found = await stub.ListFirings(api.ListFiringsRequest(parent=listed.name), timeout=WAIT)
            assert [firing.fired.step for firing in found.firings] == [2]
            watching = stub.WatchFirings(api.WatchFiringsRequest(), timeout=WAIT)
            shown = (await anext(aiter(watching))).open
            assert listed.name in [f"rules/{firing.fired.rule_id}" for firing in shown.firings]
            await writer.points({3: 1.0})
            async for response in watching:
                if response.sequence > shown.sequence:
                    break
            assert response.open.count == shown.count - 1
            watching.cancel()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.DeleteRule(api.DeleteRuleRequest(name=listed.name), timeout=WAIT)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    # Another process goes on from the checkpoint, and no other rule need be there.
    await writer.points({4: 9.0})
    async with evaluating(shared_nats, tmp_path):
        await until(connection, one, lambda types: types == ["rule_fired", "rule_cleared", "rule_fired"])


async def test_a_run_that_is_in_progress_is_watched_from_the_rule_on(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path
) -> None:
    writer = Writer(connection, new_runtime_id())
    one = writer.runtime_id
    await writer.request()
    await writer.run()
    await writer.points({1: 9.0})
    async with evaluating(shared_nats, tmp_path) as application:
        await application.ledger.decide(CreateRule(one, watching(one, threshold=ABOVE_5)), "ada")
        # Of another time than the rule.
        await asyncio.sleep(0.01)
        await writer.points({2: 1.0, 3: 9.0})
        (fired,) = await until(connection, one, lambda types: types == ["rule_fired"])
        payload = codec.decode(fired.type, fired.body)
        assert isinstance(payload, facts.RuleFired)
        assert payload.step == 3


async def test_another_that_knows_nothing_takes_over_and_says_nothing_twice(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path
) -> None:
    """It has no checkpoint: it begins where the rule was set, and finds again what is in the log already."""
    writer = Writer(connection, new_runtime_id())
    one = writer.runtime_id
    async with evaluating(shared_nats, tmp_path / "first") as first:
        async with evaluating(shared_nats, tmp_path / "second") as second:
            await first.ledger.decide(CreateRule(one, watching(one, threshold=ABOVE_5)), "ada")
            await writer.request()
            await writer.run()
            await writer.points({1: 9.0, 2: 1.0, 3: 9.0})
            await until(connection, one, lambda types: types == ["rule_fired", "rule_cleared", "rule_fired"])
            await first.stop()
            await writer.points({4: 1.0, 5: 9.0})
            found = await until(connection, one, lambda types: len(types) >= 5)
            told = [codec.decode(event.type, event.body) for event in found]
            assert [fact.step for fact in told] == [1, 2, 3, 4, 5]  # type: ignore[attr-defined]
            assert second.supervision.problem() is None


async def test_who_evaluates_is_killed_and_says_nothing_twice(tmp_path: Path, nats_server: NatsServer) -> None:
    """The full form, with a hundred kills, is in tests/faults."""
    await check_crashes(nats_server, tmp_path / "data", kills=2)


async def test_who_evaluates_waits_for_a_log_that_is_away(tmp_path: Path, nats_server: NatsServer) -> None:
    async with await connect(nats_server.url, name="test") as connection:
        await ensure_streams(connection)
        writer = Writer(connection, new_runtime_id())
        one = writer.runtime_id
        async with evaluating(nats_server, tmp_path / "data") as application:
            await application.ledger.decide(CreateRule(one, watching(one, threshold=ABOVE_5)), "ada")
            await writer.request()
            await writer.run()
            await writer.points({1: 9.0, 2: 1.0})
            await until(connection, one, lambda types: types == ["rule_fired", "rule_cleared"])
            await asyncio.to_thread(nats_server.kill)
            await asyncio.sleep(1.0)
            await asyncio.to_thread(nats_server.start)
            await writer.points({3: 9.0, 4: 1.0})
            await until(connection, one, lambda types: len(types) == 4)
            assert application.supervision.problem() is None
