"""A worker group that makes no progress says which rank holds it up, where, and why."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import stalls
from milepost.domain import trial as domain
from milepost.eventlog.nats.connection import Connection
from milepost.names import AttemptKey
from services.runtime.scheduling.liveness import Liveness
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import TrialOnTest, Writer

ASSETS = Path(__file__).parents[2] / "assets"
LOOP = "stalling.py:train"
SECONDS = 240.0
# A shorter pause is no stall. Longer than a busy machine takes for a step.
STALL_SECONDS = 3.0

PLANTED = {
    "code": (facts.STALL_KIND_CODE, (1,), "rank 1 on {host} is at stalling.py:"),
    "data": (facts.STALL_KIND_DATA_LOADER, (1,), "rank 1 on {host} waits for its next batch at stalling.py:"),
    "storage": (
        facts.STALL_KIND_STORAGE,
        (1,),
        "rank 1 on {host} loads or saves, or waits for a disk, at stalling.py:",
    ),
    "crossed": (
        facts.STALL_KIND_MISMATCH,
        (0, 1),
        "ranks are in different collectives: rank 0 on {host} waits in all_reduce",
    ),
}


@pytest.fixture
async def trial(connection: Connection, shared_nats: NatsServer, tmp_path: Path) -> TrialOnTest:
    return TrialOnTest(connection, shared_nats.url, tmp_path)


async def run(trial: TrialOnTest, planted: str, **parameters: float) -> list[facts.StacksRecorded]:
    """Run two ranks as plain processes until both have said where they are, or have ended."""
    given = {"planted": planted, **parameters}
    await trial.create(given)
    async with Writer(trial.connection, trial.runtime_id):
        attempt = await trial.launch(LOOP, given, code=ASSETS, workers=2, stall_seconds=STALL_SECONDS)
        attempt.start("tests.support.trainers.plain_host")
        if planted == "crossed":
            await attempt.wait_for(facts.StacksRecorded, SECONDS, 2)
            attempt.kill()
        else:
            assert await attempt.wait(SECONDS) == 0, attempt.driver_log
    return await trial.payloads(facts.StacksRecorded)


def diagnose(said: list[facts.StacksRecorded], hosts: dict[int, str]) -> stalls.Diagnosis:
    known = stalls.initial
    for fact in said:
        known = stalls.record(known, fact)
    return stalls.diagnose(known.stacks, hosts=hosts)


async def check(trial: TrialOnTest, planted: str) -> None:
    said = await run(trial, planted)
    # The machine may be so busy that a step takes as long as a stall.
    said = [fact for fact in said if fact.step == 50]
    assert sorted(fact.rank for fact in said) == [0, 1], said
    found = diagnose(said, {0: "here", 1: "here"})
    kind, ranks, words = PLANTED[planted]
    assert (found.kind, found.ranks) == (kind, ranks), (found, said)
    assert found.message.startswith(words.format(host="here"))
    by_rank = {fact.rank: fact for fact in said}
    assert by_rank[0].place == facts.STACK_PLACE_COLLECTIVE and "in train" in by_rank[0].text
    assert by_rank[0].groups[0].enqueued > by_rank[0].groups[0].completed
    assert by_rank[1].idle_seconds > STALL_SECONDS
    if planted != "crossed":
        assert "rank 0 waits for that in all_reduce" in found.message


async def test_a_rank_that_waits_for_its_data_is_told_from_the_one_that_waits_for_it(trial: TrialOnTest) -> None:
    await check(trial, "data")


@pytest.mark.faults
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("planted", PLANTED)
async def test_every_planted_stall_is_named_rightly(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path, planted: str
) -> None:
    for number in range(5):
        await check(TrialOnTest(connection, shared_nats.url, tmp_path / str(number)), planted)


async def straggler(trial: TrialOnTest, slow: int) -> list[facts.StragglerObserved]:
    """Run three ranks, and judge their beats as the runtime service does, in shorter windows."""
    given = {"slow": slow, "seconds": 66.0}
    await trial.create(given)
    key = AttemptKey(trial.runtime_id, 1, 1)
    liveness = Liveness(window_seconds=20.0)
    liveness.watch(key)
    active, said = domain.Active(1, facts.AttemptLaunched()), []
    async with Writer(trial.connection, trial.runtime_id):
        subscription = await trial.connection.subscribe(f"heartbeat.{trial.runtime_id}.>")
        attempt = await trial.launch("stalling.py:uneven", given, code=ASSETS, workers=3)
        attempt.start("tests.support.trainers.plain_host")
        ending = asyncio.create_task(attempt.wait(SECONDS))
        while not ending.done():
            for message in await subscription.next_batch(0.5):
                liveness.receive(message.subject, message.body)
            for command in liveness.observe_straggler(key, active):
                assert isinstance(command, domain.ObserveStraggler)
                said.append(command.fact)
                active = replace(active, straggler=None if command.fact.over else command.fact.rank)
        assert ending.result() == 0, attempt.driver_log
    return said


@pytest.mark.faults
@pytest.mark.timeout(3_600)
async def test_a_rank_that_takes_half_as_long_again_is_named_and_none_where_none_does(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path
) -> None:
    for number in range(20):
        slow = number % 3
        said = await straggler(TrialOnTest(connection, shared_nats.url, tmp_path / f"slow-{number}"), slow)
        assert [(one.rank, one.over) for one in said] == [(slow, False)], (number, said)
        said = await straggler(TrialOnTest(connection, shared_nats.url, tmp_path / f"even-{number}"), -1)
        assert said == [], (number, said)


@pytest.mark.faults
@pytest.mark.timeout(1_800)
async def test_a_healthy_group_is_never_named(connection: Connection, shared_nats: NatsServer, tmp_path: Path) -> None:
    """Steps of very different lengths, some of which come close to a stall."""
    for number in range(20):
        trial = TrialOnTest(connection, shared_nats.url, tmp_path / str(number))
        assert await run(trial, "code", pause=STALL_SECONDS * (number % 4) / 5) == []
