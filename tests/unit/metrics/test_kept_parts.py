"""Parts of curves that are kept: how many, how large, and until when."""

from __future__ import annotations

import pyarrow as pa

from services.metrics.queries import kept_parts
from services.metrics.queries.kept_parts import KeptParts, Mark, question
from services.metrics.storage.selection import Pin, StepRange, TrialRef

TRIAL = TrialRef("rt-1", 1)


def table(rows: int) -> pa.Table:
    return pa.table({"step": pa.array(range(rows), pa.int64())})


def test_those_are_kept_that_were_used_last() -> None:
    parts = KeptParts()
    for number in range(kept_parts.MAX_KEPT):
        parts.keep(number, [table(1)])
    assert parts.find(0) is not None
    parts.keep("one more", [table(1)])
    assert parts.count == kept_parts.MAX_KEPT
    assert parts.find(0) is not None and parts.find(1) is None


def test_what_is_kept_has_a_size_together() -> None:
    parts, rows = KeptParts(), kept_parts.MAX_ROWS
    fit = kept_parts.MAX_BYTES // table(rows).nbytes
    for number in range(fit + 10):
        parts.keep(number, [table(rows)])
    assert parts.count == fit
    for _ in range(fit):
        # The same answer again takes no more.
        parts.keep(fit, [table(rows)])
    assert parts.count == fit


def test_a_long_answer_and_one_without_a_question_are_not_kept() -> None:
    parts = KeptParts()
    parts.keep("long", [table(kept_parts.MAX_ROWS), table(1)])
    parts.keep(None, [table(1)])
    assert parts.count == 0 and parts.find(None) is None


def test_an_answer_is_another_one_once_an_attempt_has_logged_more() -> None:
    pieces, pin = [StepRange(TRIAL, 1, 0, 99)], Pin(1, 50)

    def asked(mark: Mark) -> object:
        return question(pieces, ["train/loss"], 8, pin, {(TRIAL, 1): (mark,)})

    first = asked(Mark(100, Pin(1, 40)))
    assert first is not None and first == asked(Mark(100, Pin(1, 40)))
    assert first != asked(Mark(101, Pin(1, 41)))
    assert asked(Mark(101, Pin(1, 51))) is None, "what is behind the position asked for must not be kept as its answer"
    assert first != question(pieces, ["train/loss"], None, pin, {(TRIAL, 1): (Mark(100, Pin(1, 40)),)})
