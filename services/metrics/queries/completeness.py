"""Whether what was sent is all there, and whether that is all there is: the proof of completeness in words.

Pure. What came and what is stored is counted from rows; whether more is to come is said by the senders themselves (the
number that they have written up to, and that nothing follows) and by the log (which attempts are in progress).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from milepost.api.metric.v1 import metric_service_pb2 as pb
from services.metrics.ingest.records import SenderRecord
from services.metrics.storage.batches import STEPS

# The driver of an attempt writes lines until its own end, after the last word of the attempt.
DRIVER = "driver"


def judge(records: Sequence[SenderRecord], writing: Collection[tuple[int, int]]) -> pb.GetCompletenessResponse:
    """Judge what is known of the senders of a runtime or a trial.

    Args:
        records: of each sender and kind.
        writing: trial and number of the attempts in progress.
    """
    answer = pb.GetCompletenessResponse(still_writing=bool(writing))
    unfinished = set()
    for record in records:
        _add(answer, record)
        attempt = (record.sender.trial, record.sender.attempt)
        # What does not say how far it has written does not say where it ends either: it is of an older version.
        silent = record.written > 0 and not record.ended and record.sender.source != DRIVER
        if attempt not in writing and silent:
            unfinished.add(attempt)
    for trial, number in sorted(unfinished):
        answer.unfinished.add(trial=trial, attempt=number)
    answer.message = _message(answer)
    return answer


def _add(answer: pb.GetCompletenessResponse, record: SenderRecord) -> None:
    answer.senders.add(
        trial=record.sender.trial,
        attempt=record.sender.attempt,
        source=record.sender.source,
        kind=record.kind,
        sent_batches=record.highest,
        stored_batches=record.stored,
        sent_items=record.sent_items,
        stored_items=record.stored_items,
        duplicate_batches=record.duplicates,
        dropped_batches=record.dropped,
        gaps=[pb.NumberRange(first=first, last=last) for first, last in record.gaps],
        written_batches=max(record.written, record.highest),
        ended=record.ended,
    )
    answer.gap_count += len(record.gaps)
    answer.waiting_batches += record.waiting
    if record.kind == STEPS:
        answer.sent_points += record.sent_items + record.dropped_items
        answer.stored_points += record.stored_items
        answer.dropped_points += record.dropped_items


def _message(answer: pb.GetCompletenessResponse) -> str:
    sent, stored = f"{answer.sent_points:,}", f"{answer.stored_points:,}"
    gaps = _count(answer.gap_count, "gap")
    parts = []
    if answer.still_writing:
        parts += [f"still writing, {sent} known, {stored} stored", *([gaps] if answer.gap_count else [])]
    elif answer.unfinished:
        parts += [f"{sent} known, {stored} stored", *([gaps] if answer.gap_count else [])]
    else:
        parts += [f"{sent} sent = {stored} stored" if sent == stored else f"{sent} sent, {stored} stored", gaps]
    if answer.dropped_points:
        parts.append(f"{answer.dropped_points:,} dropped by the sender")
    if answer.waiting_batches:
        parts.append(f"{_count(answer.waiting_batches, 'batch', 'batches')} not sent yet")
    text = ", ".join(parts)
    if answer.unfinished and not answer.still_writing:
        names = ", ".join(str(one.attempt) for one in answer.unfinished)
        word = "attempt" if len(answer.unfinished) == 1 else "attempts"
        text += f"; {word} {names} left no last word: more may wait on its machine (`milepost sync` there sends it)"
    return text


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
