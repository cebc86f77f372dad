"""What the ledger appends, and how often."""

from __future__ import annotations

import asyncio

from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.domain.firings import RecordCleared, RecordFiring
from milepost.eventlog import firings_subject
from milepost.eventlog.memory import MemoryLog
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
