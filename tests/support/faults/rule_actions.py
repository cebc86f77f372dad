"""Kills the rule service between a firing and what it does because of it, and looks at what was done in the end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain.firings import RecordFiring
from milepost.domain.rules import CreateRule
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.installation.settings import collect
from milepost.rules.checks import checked
from milepost.security.tokens import Role, TokenStore
from services.access.guard import open_access
from services.rules.ledger import Ledger
from services.rules.selection import parse_selector
from tests.integration.runtime.harness import Stack, running, text
from tests.support.servers.processes import ServiceProcess
from tests.support.servers.servers import NatsServer

WAIT_SECONDS = 60.0
OWNER = "ada"
ACTIONS = ("label", "start", "roll_back")


def _rule() -> rules.Rule:
    threshold = rules.Threshold(series="train/loss", comparison=rules.COMPARISON_ABOVE, value=5.0)
    template = text(name="started", parameters={"steps": 1})
    rule = checked(
        rules.Rule(
            selector="name=killed",
            detector=rules.Detector(threshold=threshold),
            watching_only=False,
            actions=[
                rules.Action(label=rules.Label(set={"spike": "yes"})),
                rules.Action(start=rules.Start(configuration_text=template)),
                rules.Action(roll_back=rules.RollBack(max_times=100, skip_batches=1)),
            ],
        ),
        parse_selector,
    )
    rule.actions[1].start.resolved_text = template
    return rule


async def check_action_crashes(nats: NatsServer, folder: Path, kills: int, seed: int = 1) -> None:
    """Every action of every firing is carried out once and is one fact, whatever is killed when.

    Args:
        kills: how often the rule service is killed with -9, at a random moment within half a second of a firing.
    """
    chance = random.Random(seed)
    data_dir = folder / "data"
    settings = collect({"data_dir": str(data_dir), "runtime_listen": "127.0.0.1:0"}, {})
    guarded = running(nats, data_dir, open_access=lambda observer: open_access(settings, "runtime", observer))
    async with guarded as stack, await connect(nats.url, name="test") as connection:
        TokenStore(settings.tokens_file).create(OWNER, Role.OPERATOR, created_by="test")
        log = JetStreamLog(connection)
        ledger = Ledger(log)
        following = asyncio.create_task(ledger.follow())
        await ledger.decide(CreateRule("spikes", _rule()), OWNER)
        runtime = await stack.start(
            name="killed",
            parameters={"steps": 1_000_000, "snapshot_every": 40},
            snapshots={"keep_last": 1_000},
            retries={"max_retries": 100},
        )
        addresses = {"runtime_address": f"127.0.0.1:{stack.application.port}", "metrics_address": "127.0.0.1:9"}
        service = ServiceProcess("rules", data_dir, {"nats_url": nats.url, **addresses})
        try:
            for number in range(1, kills + 1):
                await asyncio.to_thread(service.start)
                await _wait_acted(stack, runtime.name, number - 1)
                await _wait_trains(stack, runtime, number)
                await _fire(stack, log, runtime, number)
                await asyncio.sleep(chance.uniform(0.0, 0.5))
                await asyncio.to_thread(service.kill)
            await asyncio.to_thread(service.start)
            await _wait_acted(stack, runtime.name, kills)
            await _check(stack, runtime, kills)
        finally:
            service.kill()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await stack.stop_all()


async def _wait_trains(stack: Stack, runtime: api.Runtime, attempt: int) -> None:
    """Wait until an attempt has begun and there is a snapshot to go back to."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            state = stack.application.views.runtimes[runtime.runtime_id].trials[1].state
            active = state.active
            if active is not None and active.attempt == attempt and active.started and state.snapshots:
                return
            await asyncio.sleep(0.05)


async def _fire(stack: Stack, log: JetStreamLog, runtime: api.Runtime, number: int) -> None:
    """Have the log say that the rule fired in the attempt that runs, behind its newest snapshot."""
    view = stack.application.views.runtimes[runtime.runtime_id].trials[1].state
    fired = facts.RuleFired(
        firing_id=f"{number:032x}", rule_id="spikes", revision=1, rule_name="spikes", trial=1, attempt=number,
        step=view.snapshots[-1].step + 1, message="train/loss is 8.1, above 5", momentary=True,
    )  # fmt: skip
    fired.onset_step = fired.step
    await Ledger(log).record(runtime.runtime_id, RecordFiring(fired))


async def _events(stack: Stack, name: str) -> list[events_api.RecordedEvent]:
    found: list[events_api.RecordedEvent] = []
    request = api.ListEventsRequest(parent=name, page_size=1000)
    while True:
        answer = await stack.stub.ListEvents(request)
        found += answer.events
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found


def _acted(events: list[events_api.RecordedEvent]) -> list[facts.ActionTaken]:
    failed = [e.rule_event.action_failed for e in events if e.rule_event.HasField("action_failed")]
    assert not failed, failed
    return [e.rule_event.action_taken for e in events if e.rule_event.HasField("action_taken")]


async def _wait_acted(stack: Stack, name: str, firings: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while len(_acted(await _events(stack, name))) < len(ACTIONS) * firings:
            await asyncio.sleep(0.2)


async def _check(stack: Stack, runtime: api.Runtime, firings: int) -> None:
    events = await _events(stack, runtime.name)
    taken = _acted(events)
    assert Counter((one.firing_id, one.kind) for one in taken) == {
        (f"{number:032x}", kind): 1 for number in range(1, firings + 1) for kind in ACTIONS
    }
    fired = {e.event_id for e in events if e.rule_event.HasField("rule_fired")}
    back = [e for e in events if e.trial_event.HasField("trial_roll_back_requested")]
    assert Counter(e.cause for e in back) == dict.fromkeys(fired, 1)
    assert {e.actor for e in back} == {OWNER}
    # A label that is there is not set again.
    assert sum(e.runtime_event.HasField("labels_changed") for e in events) == 1
    listed = (await stack.stub.ListRuntimes(api.ListRuntimesRequest(filter="name=started", page_size=1000))).runtimes
    mine = [one for one in listed if (await stack.events(one.name))[0].cause in fired]
    assert sorted(one.name for one in mine) == sorted(one.runtime for one in taken if one.kind == "start")
    assert len(mine) == firings
