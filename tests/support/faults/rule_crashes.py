"""Kills the rule service between points and what it makes of them, and looks at what is in the log in the end."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.domain.rules import CreateRule
from milepost.eventlog import codec, firings_subject
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from milepost.ids import new_runtime_id
from milepost.rules.checks import checked
from services.rules.ledger import Ledger
from tests.support.servers.processes import ServiceProcess
from tests.support.servers.servers import NatsServer
from tests.support.trainers.writer import Writer

# Spikes of one round, one a step; the steps between them are quiet.
SPIKES = 3
WAIT_SECONDS = 60.0
# One trial may fire so often.
ROUNDS_PER_RUN = 30


async def check_crashes(nats: NatsServer, data_dir: Path, kills: int, seed: int = 1) -> None:
    """Every spike is one fact with one end, whatever is killed when.

    Args:
        kills: how often the service is killed with -9, at a random moment within half a second of a spike.
    """
    chance = random.Random(seed)
    service = ServiceProcess("rules", data_dir, {"nats_url": nats.url, "metrics_address": "127.0.0.1:9"})
    async with await connect(nats.url, name="test") as connection:
        await ensure_streams(connection)
        log = JetStreamLog(connection)
        threshold = rules.Threshold(series="train/loss", comparison=rules.COMPARISON_ABOVE, value=5.0)
        rule = checked(rules.Rule(detector=rules.Detector(threshold=threshold), max_firings=100))
        ledger = Ledger(log)
        following = asyncio.create_task(ledger.follow())
        await ledger.decide(CreateRule("spikes", rule), "ada")
        try:
            for first in range(0, kills, ROUNDS_PER_RUN):
                rounds = min(ROUNDS_PER_RUN, kills - first)
                await _check_run(log, Writer(connection, new_runtime_id()), service, rounds, chance)
        finally:
            service.kill()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _check_run(
    log: JetStreamLog, writer: Writer, service: ServiceProcess, rounds: int, chance: random.Random
) -> None:
    await writer.request()
    await writer.run()
    step = 0
    for _ in range(rounds):
        if service.process is None:
            await asyncio.to_thread(service.start)
        for _ in range(SPIKES):
            await writer.points({step + 1: 1.0, step + 2: 9.0, step + 3: 1.0})
            step += 3
        await asyncio.sleep(chance.uniform(0.0, 0.5))
        await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)
    expected = [kind for spike in range(2, step, 3) for kind in (("RuleFired", spike), ("RuleCleared", spike + 1))]
    async with asyncio.timeout(WAIT_SECONDS):
        while (found := await _facts(log, writer.runtime_id))[: len(expected)] != expected:
            assert len(found) <= len(expected), found
            await asyncio.sleep(0.1)


async def _facts(log: JetStreamLog, runtime_id: str) -> list[tuple[str, int]]:
    events = await log.read_chain(firings_subject(runtime_id))
    payloads = [codec.decode(event.type, event.body) for event in events]
    return [
        (type(fact).__name__, fact.step) for fact in payloads if isinstance(fact, facts.RuleFired | facts.RuleCleared)
    ]
