"""The spool on disk: its numbers, its bound, its owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.api.telemetry.v1.telemetry_pb2 import Sender, StepBatch
from milepost.training.spooling.owner import Owned
from milepost.training.spooling.spool import LOGS, STEPS, Dropped, Filling, Spool, SpooledEvent, open_left

SENDER = Sender(runtime_id="rt-x", trial=1, attempt=1, source="rank-0")


def _build(size: int) -> object:
    return lambda number: ({"mp-number": str(number)}, bytes(size))


def test_a_spool_goes_on_with_its_numbers_after_a_restart(tmp_path: Path) -> None:
    """What was not stored is there again; an empty spool leaves no file."""
    spool = Spool(tmp_path / "spool.sqlite", SENDER)
    for _ in range(3):
        spool.put(STEPS, _build(10), 1)  # type: ignore[arg-type]
    spool.remove(STEPS, 1, 2)
    spool.close()
    again = Spool(tmp_path / "spool.sqlite", SENDER)
    assert list(again.held(STEPS)) == [3]
    assert again.put(STEPS, _build(10), 1).number == 4  # type: ignore[arg-type]
    again.remove(STEPS, 1, 9)
    again.close()
    assert not list(tmp_path.iterdir())


def test_a_full_spool_gives_up_the_oldest_steps_by_name(tmp_path: Path) -> None:
    """Each leaves a tombstone with its number; logs stay; what was given up is told."""
    told: list[Dropped] = []
    spool = Spool(tmp_path / "spool.sqlite", SENDER, limit_bytes=5000, on_drop=told.append)
    spool.put(LOGS, _build(1000), 1)  # type: ignore[arg-type]
    for step in range(1, 11):
        spool.put(STEPS, _build(1000), 7, step, step)  # type: ignore[arg-type]
    assert list(spool.held(STEPS)) == list(range(1, 11))
    dropped = [number for number, held in spool.held(STEPS).items() if held.dropped]
    assert dropped == list(range(1, len(dropped) + 1))
    assert sum(drop.items for drop in told) == 7 * len(dropped)
    entry = spool.get(STEPS, 1)
    assert entry is not None
    assert StepBatch.FromString(entry.body).tombstone.point_count == 7
    log = spool.get(LOGS, 1)
    assert log is not None
    assert not log.dropped
    spool.close()


def test_a_spool_that_fills_says_so_once_until_there_is_room_again(tmp_path: Path) -> None:
    told: list[Filling] = []
    spool = Spool(tmp_path / "spool.sqlite", SENDER, limit_bytes=10_000, on_filling=told.append)
    for _ in range(9):
        spool.put(STEPS, _build(1_000), 1)  # type: ignore[arg-type]
    assert [filling.used for filling in told] == [9_000]
    spool.remove(STEPS, 1, 2)
    spool.put(STEPS, _build(2_000), 1)  # type: ignore[arg-type]
    assert len(told) == 1
    spool.remove(STEPS, 3, 9)
    spool.put(STEPS, _build(7_000), 1)  # type: ignore[arg-type]
    assert len(told) == 2
    assert told[0].fact(3, 7).message.startswith("The spool of rank-0 is 90% full")
    spool.close()


def test_lines_that_take_most_of_a_full_spool_go_before_points(tmp_path: Path) -> None:
    """A run that prints without end does not lose its curves for it."""
    told: list[Dropped] = []
    spool = Spool(tmp_path / "spool.sqlite", SENDER, limit_bytes=5000, on_drop=told.append)
    spool.put(STEPS, _build(1000), 7, 1, 1)  # type: ignore[arg-type]
    for _ in range(10):
        spool.put(LOGS, _build(1000), 5)  # type: ignore[arg-type]
    assert not spool.held(STEPS)[1].dropped
    assert {drop.kind for drop in told} == {LOGS}
    assert sum(drop.items for drop in told) == 5 * sum(held.dropped for held in spool.held(LOGS).values())
    spool.close()


def test_a_spool_is_lent_while_its_owner_lives(tmp_path: Path) -> None:
    """What is complete can be read and sent; the file and what comes later stay with the owner."""
    path = tmp_path / "spool.sqlite"
    owner = Spool(path, SENDER)
    with pytest.raises(Owned):
        Spool(path, SENDER)
    for _ in range(3):
        owner.put(STEPS, _build(10), 1)  # type: ignore[arg-type]
    event = SpooledEvent("id", "type", b"body", "time", "")
    owner.put_event(event)
    lent = open_left(path)
    assert lent is not None and lent.lent_by is not None
    owner.put(STEPS, _build(10), 1)  # type: ignore[arg-type]
    assert list(lent.held(STEPS)) == [1, 2, 3]
    assert lent.events() == [event]
    lent.remove(STEPS, 1, 3)
    lent.remove_event("id")
    assert lent.count == 0
    lent.close()
    assert [owner.get(STEPS, number) is not None for number in (1, 2, 3, 4)] == [True] * 4
    assert owner.events() == [event]
    owner.close()
    left = open_left(path)
    assert left is not None and left.lent_by is None, "its owner has left it"
    left.put_last()
    left.put_last()
    last = left.get(STEPS, 5)
    assert last is not None and StepBatch.FromString(last.body).last
    assert list(left.held(STEPS)) == [1, 2, 3, 4, 5] and not left.held(LOGS)
    left.remove(STEPS, 1, 5)
    left.remove_event("id")
    left.close()
    assert not list(tmp_path.iterdir())
    assert open_left(path) is None


def test_events_that_the_disk_does_not_take_wait_in_their_order(tmp_path: Path) -> None:
    """They are in memory, in front of what comes after them, and in the file as soon as that can be written."""
    (tmp_path / "blocked").write_text("a file, where a folder is needed")
    path = tmp_path / "blocked" / "spool.sqlite"
    spool = Spool(path, SENDER)
    events = [SpooledEvent(f"id-{n}", "type", b"body", "time", "") for n in range(3)]
    assert not spool.put_event(events[0]) and not spool.put_event(events[1])
    assert spool.events() == events[:2]
    path.parent.unlink()
    assert spool.put_event(events[2])
    spool.close()
    left = open_left(path)
    assert left is not None and left.events() == events
    left.close()
