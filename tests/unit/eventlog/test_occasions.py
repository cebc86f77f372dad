"""What is said of one speaker is said often enough to be seen, and seldom enough not to fill the logs."""

from __future__ import annotations

from milepost.eventlog.nats.occasions import MAX_SPEAKERS, Occasions


def test_the_first_ones_are_said_and_then_each_tenfold() -> None:
    occasions = Occasions()
    said = [count for _ in range(12_345) if (count := occasions.next("attempt"))]
    assert said == [*range(1, 11), 100, 1_000, 10_000]
    assert occasions.next("another") == 1


def test_no_more_speakers_are_counted_than_there_is_room_for() -> None:
    occasions = Occasions()
    for number in range(MAX_SPEAKERS + 5):
        occasions.next(str(number))
    assert occasions.next(str(MAX_SPEAKERS)) == 2
    assert occasions.next("0") == 1, "the first one was forgotten"
