"""The pauses between tries."""

from __future__ import annotations

from itertools import islice

from milepost.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_begin_anew_after_an_answer() -> None:
    pauses = Backoff(0.25, 1.5)
    assert list(islice(pauses, 5)) == [0.25, 0.5, 1.0, 1.5, 1.5]
    pauses.reset()
    assert list(islice(pauses, 2)) == [0.25, 0.5]
