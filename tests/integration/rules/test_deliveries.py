"""Firings are told by the rule service on a real log: once at least, with one id, whatever is killed."""

from __future__ import annotations

import asyncio
import base64
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from standardwebhooks import Webhook

from milepost import configuration as configurations
from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.api.rule.v1.rule_service_pb2_grpc import RuleServiceStub
from milepost.domain.firings import RecordFiring
from milepost.eventlog import codec, firings_subject
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from milepost.ids import new_runtime_id
from milepost.rules.of_runs import with_rules_checked
from services.rules.application import Application, Options
from services.rules.ledger import Ledger
from tests.support.receiver import Answer, Receiver
from tests.support.servers.processes import ServiceProcess
from tests.support.servers.servers import NatsServer
from tests.support.trainers.writer import Writer

WAIT = 30.0
SECRET = "whsec_" + base64.b64encode(b"r" * 32).decode()


@asynccontextmanager
async def log_of(nats: NatsServer) -> AsyncIterator[JetStreamLog]:
    async with await connect(nats.url, name="test") as connection:
        await ensure_streams(connection)
        yield JetStreamLog(connection)


@asynccontextmanager
async def serving(nats: NatsServer, data_dir: Path) -> AsyncIterator[RuleServiceStub]:
    """The rule service with the destinations of a folder, and a client of it."""
    async with AsyncExitStack() as parts:
        options = Options(
            "127.0.0.1:0", data_dir, nats.url, "127.0.0.1:9", "127.0.0.1:9",
            destinations=data_dir / "destinations.yaml", page="http://page.example",
        )  # fmt: skip
        application = Application(options)
        await application.start()
        parts.push_async_callback(application.stop)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{application.port}")
        yield RuleServiceStub(await parts.enter_async_context(channel))


def listed(data_dir: Path, url: str) -> None:
    (data_dir / "secret").write_text(SECRET)
    (data_dir / "destinations.yaml").write_text(
        f"destinations:\n  oncall: {{url: '{url}/hook', secret: 'file:{data_dir}/secret'}}\n"
    )


def telling(*destinations: str) -> rules.Rule:
    threshold = rules.Threshold(series="train/loss", comparison=rules.COMPARISON_ABOVE, value=5.0)
    return rules.Rule(
        detector=rules.Detector(threshold=threshold), watching_only=False,
        actions=[rules.Action(notify=rules.Notify(destination=name)) for name in destinations],
    )  # fmt: skip


async def fire(log: JetStreamLog, runtime_id: str, number: int) -> str:
    """Have the log say that the rule `loss` fired. Returns the id of the firing."""
    fired = facts.RuleFired(
        firing_id=f"{number:032x}", rule_id="loss", revision=1, rule_name="loss", trial=1, step=number,
        severity=rules.SEVERITY_WARNING, message="train/loss is 8.1, above 5", momentary=True,
    )  # fmt: skip
    await Ledger(log).record(runtime_id, RecordFiring(fired))
    return fired.firing_id


async def told(log: JetStreamLog, runtime_id: str) -> list[facts.NotificationDelivered]:
    found = [codec.decode(event.type, event.body) for event in await log.read_chain(firings_subject(runtime_id))]
    return [fact for fact in found if isinstance(fact, facts.NotificationDelivered)]


async def test_a_firing_is_told_and_its_receipt_is_a_fact(nats_server: NatsServer, tmp_path: Path) -> None:
    runtime_id = new_runtime_id()
    with Receiver(Answer(500, body=b"busy"), Answer(200, body=b"taken")).running() as receiver:
        listed(tmp_path, receiver.url)
        async with log_of(nats_server) as log, serving(nats_server, tmp_path) as stub:
            rule = telling("oncall", "nobody")
            with pytest.raises(grpc.aio.AioRpcError, match="there is no destination 'nobody'; known: oncall"):
                await stub.CreateRule(api.CreateRuleRequest(rule_id="loss", rule=rule), timeout=WAIT)
            await stub.CreateRule(api.CreateRuleRequest(rule_id="loss", rule=telling("oncall")), timeout=WAIT)
            known = await stub.ListDestinations(api.ListDestinationsRequest(), timeout=WAIT)
            assert [(one.name, one.kind, one.signed) for one in known.destinations] == [
                ("destinations/oncall", "cloudevents", True)
            ]
            firing_id = await fire(log, runtime_id, 1)
            async with asyncio.timeout(WAIT):
                while not (facts_of := await told(log, runtime_id)):
                    await asyncio.sleep(0.05)
            (fact,) = facts_of
            assert (fact.firing_id, fact.destination, fact.status_code) == (firing_id, "oncall", 200)
            assert (fact.attempt_count, fact.receipt) == (2, "taken")
            request = api.ListNotificationsRequest(parent="rules/loss", state=api.NOTIFICATION_STATE_DELIVERED)
            async with asyncio.timeout(WAIT):
                while not (shown := (await stub.ListNotifications(request, timeout=WAIT)).notifications):
                    await asyncio.sleep(0.05)
            assert shown[0].name == f"notifications/{fact.notification_id}"
        events = [Webhook(SECRET).verify(one.body, one.headers) for one in receiver.received]
        assert [event["id"] for event in events] == [fact.notification_id] * 2
        assert events[0]["data"]["firing"]["rule_id"] == "loss"


async def test_a_rule_of_a_run_tells_whom_it_names(nats_server: NatsServer, tmp_path: Path) -> None:
    """Also after a restart, when only the log knows what it said."""
    threshold = {"series": "train/loss", "comparison": "ABOVE", "value": 5}
    rule = {"id": "high", "detector": {"threshold": threshold}, "watching_only": False}
    plain = {"entrypoint": "a.b:c", "rules": [{**rule, "actions": [{"notify": {"destination": "oncall"}}]}]}
    with Receiver(Answer(200, body=b"taken")).running() as receiver:
        async with log_of(nats_server) as log, await connect(nats_server.url, name="run") as connection:
            writer = Writer(connection, new_runtime_id())
            await writer.request(configuration=with_rules_checked(configurations.resolve(plain)))
            await writer.run()
            await writer.points({1: 9.0})
            # It is found while there is nobody to tell.
            async with serving(nats_server, tmp_path):
                async with asyncio.timeout(WAIT):
                    while not await log.read_chain(firings_subject(writer.runtime_id)):
                        await asyncio.sleep(0.05)
            listed(tmp_path, receiver.url)
            async with serving(nats_server, tmp_path):
                async with asyncio.timeout(WAIT):
                    while not (facts_of := await told(log, writer.runtime_id)):
                        await asyncio.sleep(0.05)
        assert [(fact.rule_id, fact.destination) for fact in facts_of] == [(f"{writer.runtime_id}.high", "oncall")]


async def test_a_dead_letter_is_sent_again_by_hand(nats_server: NatsServer, tmp_path: Path) -> None:
    runtime_id = new_runtime_id()
    with Receiver(Answer(410, body=b"moved away"), Answer(200)).running() as receiver:
        listed(tmp_path, receiver.url)
        async with log_of(nats_server) as log, serving(nats_server, tmp_path) as stub:
            await stub.CreateRule(api.CreateRuleRequest(rule_id="loss", rule=telling("oncall")), timeout=WAIT)
            await fire(log, runtime_id, 1)
            dead = api.ListNotificationsRequest(parent="rules/-", state=api.NOTIFICATION_STATE_FAILED)
            async with asyncio.timeout(WAIT):
                while not (letters := (await stub.ListNotifications(dead, timeout=WAIT)).notifications):
                    await asyncio.sleep(0.05)
            assert "answered 410: moved away" in letters[0].detail
            again = api.RetryNotificationRequest(name=letters[0].name)
            await stub.RetryNotification(again, timeout=WAIT)
            async with asyncio.timeout(WAIT):
                while not await told(log, runtime_id):
                    await asyncio.sleep(0.05)
                while not (await stub.ListNotifications(
                    api.ListNotificationsRequest(parent="rules/-", state=api.NOTIFICATION_STATE_DELIVERED), timeout=WAIT
                )).notifications:  # fmt: skip
                    await asyncio.sleep(0.05)
            with pytest.raises(grpc.aio.AioRpcError, match="has it already") as refused:
                await stub.RetryNotification(again, timeout=WAIT)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await stub.RetryNotification(
                    api.RetryNotificationRequest(name="notifications/" + "0" * 32), timeout=WAIT
                )
            assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_what_is_pending_says_why(nats_server: NatsServer, tmp_path: Path) -> None:
    with Receiver(Answer(503, body=b"asleep")).running() as receiver:
        listed(tmp_path, receiver.url)
        async with log_of(nats_server) as log, serving(nats_server, tmp_path) as stub:
            await stub.CreateRule(api.CreateRuleRequest(rule_id="loss", rule=telling("oncall")), timeout=WAIT)
            await fire(log, new_runtime_id(), 1)
            request = api.ListNotificationsRequest(parent="rules/loss")
            async with asyncio.timeout(WAIT):
                while not (shown := [
                    one for one in (await stub.ListNotifications(request, timeout=WAIT)).notifications
                    if one.attempt_count
                ]):  # fmt: skip
                    await asyncio.sleep(0.05)
            assert shown[0].state == api.NOTIFICATION_STATE_PENDING
            assert (shown[0].status_code, shown[0].detail) == (503, "answered 503: asleep")
            for call, nobody in (
                (stub.ListNotifications, api.ListNotificationsRequest(parent="rules/never")),
                (stub.ListFirings, api.ListFiringsRequest(parent="rules/never")),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as unknown:
                    await call(nobody, timeout=WAIT)
                assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_destination_is_tried_out(nats_server: NatsServer, tmp_path: Path) -> None:
    with Receiver(Answer(200, body=b"hello")).running() as receiver:
        listed(tmp_path, receiver.url)
        async with log_of(nats_server), serving(nats_server, tmp_path) as stub:
            done = await stub.TestDestination(api.TestDestinationRequest(name="destinations/oncall"), timeout=WAIT)
            assert (done.delivered, done.status_code, done.detail) == (True, 200, "hello")
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await stub.TestDestination(api.TestDestinationRequest(name="destinations/other"), timeout=WAIT)
            assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])])
async def test_a_service_that_is_killed_tells_each_firing_once_at_least_under_one_id(
    nats_server: NatsServer, tmp_path: Path, kills: int
) -> None:
    """Whatever is killed between firing, delivery and receipt: one fact for each, and one id for the receiver."""
    chance = random.Random(24)
    runtime_id = new_runtime_id()
    with Receiver(Answer(200, seconds=0.02)).running() as receiver:
        listed(tmp_path, receiver.url)
        async with log_of(nats_server) as log:
            async with serving(nats_server, tmp_path) as stub:
                await stub.CreateRule(api.CreateRuleRequest(rule_id="loss", rule=telling("oncall")), timeout=WAIT)
            fired: list[str] = []
            for _ in range(kills):
                service = ServiceProcess("rules", tmp_path, {"nats_url": nats_server.url})
                await asyncio.to_thread(service.start)
                for _ in range(5):
                    fired.append(await fire(log, runtime_id, len(fired) + 1))
                    await asyncio.sleep(chance.uniform(0, 0.05))
                await asyncio.to_thread(service.kill)
            async with serving(nats_server, tmp_path):
                async with asyncio.timeout(WAIT + kills):
                    while len(await told(log, runtime_id)) < len(fired):
                        await asyncio.sleep(0.1)
            facts_of = await told(log, runtime_id)
        assert Counter(fact.firing_id for fact in facts_of) == Counter(fired)
        ids = Counter(one.headers["webhook-id"] for one in receiver.received)
        assert set(ids) == {fact.notification_id for fact in facts_of}
