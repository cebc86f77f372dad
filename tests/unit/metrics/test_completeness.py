"""What is said of completeness: never more than senders and the log have said."""

from __future__ import annotations

import pytest

from services.metrics.ingest.records import SenderRecord
from services.metrics.queries.completeness import judge
from services.metrics.storage.batches import LOGS, STEPS, SenderKey


def _record(kind: str = STEPS, source: str = "rank-0", attempt: int = 1, **known: int) -> SenderRecord:
    """Ten batches with a hundred points, all of them stored, the tenth the last."""
    sender = SenderKey("rt-x", 1, attempt, source)
    whole = {"highest": 10, "written": 10, "last": 10, "settled": 10, "sent_items": 100, "stored_items": 100}
    return SenderRecord(sender, kind, **{**whole, **known})  # type: ignore[arg-type]


WRITING = {(1, 1)}
GAPS = SenderRecord(SenderKey("rt-x", 1, 1, "rank-0"), STEPS, 10, 10, 10, 8, 8, 0, 0, 80, 80, gaps=[(3, 4)])


@pytest.mark.parametrize(
    ("records", "writing", "message"),
    [
        ([_record()], set(), "100 sent = 100 stored, 0 gaps"),
        ([_record(last=0)], WRITING, "still writing, 100 known, 100 stored"),
        ([_record()], WRITING, "still writing, 100 known, 100 stored"),
        (
            [_record(written=12, last=0)],
            WRITING,
            "still writing, 100 known, 100 stored, 2 batches not sent yet",
        ),
        (
            [_record(), _record(LOGS, last=0)],
            set(),
            "100 known, 100 stored; attempt 1 left no last word: more may wait on its machine "
            "(`milepost sync` there sends it)",
        ),
        (
            [_record(written=11)],
            set(),
            "100 known, 100 stored, 1 batch not sent yet; attempt 1 left no last word: more may wait on its machine "
            "(`milepost sync` there sends it)",
        ),
        ([GAPS], set(), "80 sent = 80 stored, 1 gap"),
        ([GAPS], WRITING, "still writing, 80 known, 80 stored, 1 gap"),
        ([_record(dropped_items=5)], set(), "105 sent, 100 stored, 0 gaps, 5 dropped by the sender"),
        # An attempt of before, that said nothing of all this; and the driver, whose lines go on after the end.
        ([_record(written=0, last=0)], set(), "100 sent = 100 stored, 0 gaps"),
        ([_record(), _record(LOGS, "driver", last=0)], set(), "100 sent = 100 stored, 0 gaps"),
    ],
)
def test_completeness_says_what_is_known(
    records: list[SenderRecord], writing: set[tuple[int, int]], message: str
) -> None:
    assert judge(records, writing).message == message


def test_an_earlier_attempt_without_a_last_word_is_named_while_a_later_one_writes() -> None:
    answer = judge([_record(last=0), _record(attempt=2, last=0)], {(1, 2)})
    assert [(one.trial, one.attempt) for one in answer.unfinished] == [(1, 1)]
    assert answer.still_writing
