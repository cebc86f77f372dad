"""Checkpoints are there completely or not at all, and give back exactly what was put in."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from google.protobuf.message import Message

import services.metrics.checkpointing
import services.rules.checkpointing
import services.runtime.readmodel.checkpointing
import services.trials.live
from milepost.api.event.v1.trial_events_pb2 import AttemptLaunched
from services.readmodel.checkpoints import CheckpointStore, Codec


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


def _held(hint: Any) -> Iterator[type]:
    """The classes in an annotation that a codec has to know."""
    for part in get_args(hint):
        yield from _held(part)
    if isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, Enum | Message)):
        yield hint


CODECS = {
    "metrics": services.metrics.checkpointing.CODEC,
    "runtime": services.runtime.readmodel.checkpointing.CODEC,
    "rules": services.rules.checkpointing.CODEC,
    "trials": services.trials.live.CODEC,
}


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_all_that_a_field_can_hold_is_listed(codec: Codec) -> None:
    """Also what no state of the tests holds: a service that meets it could never write a checkpoint again."""
    held = {
        found
        for cls in codec.classes
        if is_dataclass(cls)
        for hint in get_type_hints(cls).values()
        for found in _held(hint)
    }
    assert held
    assert held <= codec.classes


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


async def test_who_is_cancelled_while_a_checkpoint_is_written_ends_after_it(tmp_path: Path) -> None:
    """The folder may be gone, or another process may write, as soon as a service has ended."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(CheckpointStore):
        def write(self, sequence: int, position: Mapping[str, Any], records: Iterable[bytes]) -> Path:
            begun.set()
            assert go_on.wait(30)
            return super().write(sequence, position, records)

    store = Slow(tmp_path, "test")
    writing = asyncio.create_task(store.store(1, {}, [b"record"]))
    assert await asyncio.to_thread(begun.wait, 30)
    writing.cancel()
    await asyncio.sleep(0)
    assert not writing.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert store.sequences() == [1]
