"""Checkpoints are there completely or not at all, and give back exactly what was put in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import pytest

from milepost.api.event.v1.trial_events_pb2 import AttemptLaunched
from services.checkpoints import CheckpointStore, Codec


@dataclass(frozen=True)
class _Leaf:
    number: float
    names: frozenset[str] = frozenset()


@dataclass
class _Tree:
    leaves: tuple[_Leaf, ...]
    launch: AttemptLaunched
    time: datetime
    by_rank: dict[int, list[_Leaf | None]] = field(default_factory=dict)


def test_a_state_comes_back_as_it_was() -> None:
    codec = Codec((_Leaf, _Tree, AttemptLaunched))
    tree = _Tree(
        (_Leaf(math.inf), _Leaf(-0.5, frozenset("ab"))),
        AttemptLaunched(attempt=3),
        datetime(2026, 1, 1, tzinfo=UTC),
        {0: [None, _Leaf(1)]},
    )
    assert codec.decode(codec.encode(tree)) == tree
    assert math.isnan(codec.decode(codec.encode(_Leaf(math.nan))).number)


class _Colour(Enum):
    RED = "red"


def test_an_enum_comes_back_as_its_member() -> None:
    codec = Codec((_Colour,))
    assert codec.decode(codec.encode([_Colour.RED])) == [_Colour.RED]


def test_a_class_that_is_not_listed_is_refused() -> None:
    with pytest.raises(TypeError, match="_Leaf"):
        Codec(()).encode(_Leaf(1.0))


def test_another_layout_has_another_form() -> None:
    assert Codec((_Leaf,)).form != Codec((_Leaf, _Tree)).form


def test_the_newest_checkpoint_is_read_and_one_at_or_before_a_sequence(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "trials", "form")
    for sequence in (5, 12_000, 23_000):
        store.write(sequence, {"telemetry": sequence * 2}, [b"1", b"%d" % sequence])
    newest = store.newest()
    assert newest is not None
    assert (newest.sequence, newest.position, newest.records) == (23_000, {"telemetry": 46_000}, [b"1", b"23000"])
    earlier = store.newest(at_most=22_999)
    assert earlier is not None
    assert earlier.sequence == 12_000
    assert store.newest(at_most=4) is None


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, damage: str) -> None:
    store = CheckpointStore(tmp_path, "form")
    store.write(1, {}, [b"old"])
    path = store.write(2, {}, [b"new"])
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
    path.write_bytes(b"" if damage == "empty" else bytes(content[:-3]) if damage == "truncate" else bytes(content))
    checkpoint = store.newest()
    assert checkpoint is not None
    assert checkpoint.records == [b"old"]


def test_a_checkpoint_of_another_form_is_passed_over(tmp_path: Path) -> None:
    CheckpointStore(tmp_path, "old form").write(1, {}, [b"old"])
    assert CheckpointStore(tmp_path, "form").newest() is None


def test_one_checkpoint_is_kept_for_each_stretch_of_the_log_and_the_newest_two(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "form", keep_every=10)
    for sequence in range(1, 35):
        store.write(sequence, {}, [])
    assert store.sequences() == [9, 19, 29, 33, 34]
