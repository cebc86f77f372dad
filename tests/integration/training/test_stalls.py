"""A worker group that makes no progress says which rank holds it up, where, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import stalls
from milepost.eventlog.nats.connection import Connection
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
    "crossed": (facts.STALL_KIND_MISMATCH, (0, 1), "ranks are in different collectives: rank 0 waits in all_reduce"),
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


@pytest.mark.faults
@pytest.mark.timeout(1_800)
async def test_a_healthy_group_is_never_named(connection: Connection, shared_nats: NatsServer, tmp_path: Path) -> None:
    """Steps of very different lengths, some of which come close to a stall."""
    for number in range(20):
        trial = TrialOnTest(connection, shared_nats.url, tmp_path / str(number))
        assert await run(trial, "code", pause=STALL_SECONDS * (number % 4) / 5) == []
