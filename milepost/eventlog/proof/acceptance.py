"""A person's decision to go on with a log that has changed its past."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from milepost.api.event.v1.platform_events_pb2 import LogRegressionAccepted
from milepost.eventlog import PLATFORM_SUBJECT, Appended, Head, LogRegressed, NewEvent
from milepost.eventlog.codec import encode, format_time
from milepost.eventlog.proof.anchor import Anchor, AnchorFile, current
from milepost.eventlog.proof.chain import EMPTY_DIGEST, Finding, roll
from milepost.eventlog.proof.examination import ExaminableLog, examine_all


class AcceptingLog(ExaminableLog, Protocol):
    """What accepting a regression needs besides."""

    async def head(self, chain: str) -> Head: ...

    async def append(self, events: Sequence[NewEvent], expected: Sequence[Head]) -> Appended: ...


async def accept_regression(
    log: AcceptingLog, anchors: AnchorFile, *, actor: str, reason: str, event_id: str, time: datetime
) -> Anchor | None:
    """Record the decision of a person to go on with a log that regressed, and begin its anchors anew.

    None: there was nothing to accept, and nothing was changed. Services that refused to write find out by themselves.

    Raises:
        WrongExpectedSequence: somebody else appended; try again.
    """
    known = _readable(anchors)
    findings = await examine_all(log, known) if known is not None else [Finding("anchor", 0, "", "unreadable anchors")]
    if not findings:
        return None
    before = await log.state()
    anchored = current(known)[-1].sequence if known else 0
    event_type, body = encode(
        LogRegressionAccepted(anchored_sequence=anchored, found_sequence=before.last_sequence, reason=reason)
    )
    event = NewEvent(PLATFORM_SUBJECT, event_type, body, event_id, time, "/audit", actor)
    appended = await log.append([event], [await log.head(PLATFORM_SUBJECT)])
    state = await log.state()
    digest = EMPTY_DIGEST
    async for message in log.examine(0, appended.sequences[-1]):
        digest = roll(digest, message)
    missing = state.last_sequence - state.message_count
    anchor = Anchor(state.created, appended.sequences[-1], digest, format_time(time), event_id, missing)
    if known is None:
        anchors.path.rename(anchors.path.with_name(f"{anchors.path.name}.rejected-{event_id}"))
    anchors.append(anchor)
    return anchor


def _readable(anchors: AnchorFile) -> list[Anchor] | None:
    try:
        return anchors.read()
    except LogRegressed:
        return None
