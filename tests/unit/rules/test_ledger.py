"""What the ledger appends, and how often."""

from __future__ import annotations

import asyncio

import pytest

from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.domain.firings import RecordCleared, RecordFiring
from milepost.errors import Unavailable
from milepost.eventlog import firings_subject
from milepost.eventlog.memory import MemoryLog
from services.rules import ledger as module
from services.rules.ledger import Ledger

RUN = "rt-1"


def fired(number: int) -> RecordFiring:
    return RecordFiring(facts.RuleFired(firing_id=f"f{number}", rule_id="r", step=number))


async def test_two_who_evaluate_record_each_occurrence_once() -> None:
    """Each has folded the chain before the other has written to it."""
    log = MemoryLog()
    one, other = Ledger(log), Ledger(log)
    recorded = [await one.record(RUN, fired(1)), await other.record(RUN, fired(1)), await other.record(RUN, fired(2))]
    assert recorded == [True, False, True]
    assert await one.record(RUN, fired(2)) is False
    assert await one.record(RUN, fired(3)) is True
    cleared = RecordCleared(facts.RuleCleared(firing_id="f3", rule_id="r"))
    assert [await other.record(RUN, cleared), await one.record(RUN, cleared)] == [True, False]
    together = await asyncio.gather(
        *(ledger.record(RUN, fired(number)) for number in range(4, 9) for ledger in (one, other))
    )
    assert sum(together) == 5
    events = await log.read_chain(firings_subject(RUN))
    assert len(events) == 9
    assert [event.version for event in events] == list(range(1, 10))


async def test_whoever_waits_for_a_fold_that_nobody_goes_on_with_is_told() -> None:
    """And what has begun again, as a supervised task does, is waited for as before."""
    log = MemoryLog()
    ledger = Ledger(log)
    async with asyncio.timeout(5.0):
        following, waiting = asyncio.create_task(ledger.follow()), asyncio.create_task(ledger.wait_for(1))
        while not ledger._waiters._waiting:
            await asyncio.sleep(0)
        following.cancel()
        with pytest.raises(Unavailable, match="nothing follows the log"):
            await waiting
        with pytest.raises(Unavailable, match="nothing follows the log"):
            await ledger.wait_for(1)
        await ledger.wait_for(0)
        following = asyncio.create_task(ledger.follow())
        await asyncio.sleep(0)
        await ledger.record(RUN, fired(1))
        await ledger.settled(RUN)
        assert [firing.fired.firing_id for firing in ledger.firings()] == ["f1"]
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_fold_that_does_not_come_on_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    async with asyncio.timeout(5.0):
        with pytest.raises(Unavailable, match="folded up to 0 and did not reach 3 in time"):
            await Ledger(MemoryLog()).wait_for(3)
