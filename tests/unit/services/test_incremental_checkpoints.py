"""Checkpoints that are written as what changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.readmodel import incremental
from services.readmodel.checkpoints import Checkpoint, CheckpointStore
from services.readmodel.incremental import ChainLost, IncrementalStore


def key_of(record: bytes) -> bytes:
    return record.partition(b"=")[0]


def store_in(folder: Path, keep_every: int = 10_000) -> IncrementalStore:
    return IncrementalStore(folder, "form", key_of, keep_every)


def record(key: str, value: int) -> tuple[bytes, bytes]:
    return key.encode(), f"{key}={value}".encode()


def state_of(checkpoint: Checkpoint | None) -> tuple[int, dict[bytes, bytes]]:
    if checkpoint is None:
        return 0, {}
    return checkpoint.sequence, {key_of(found): found for found in checkpoint.records}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writes=st.lists(
        st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 99), min_size=1), min_size=1, max_size=12
    ),
    restarts=st.sets(st.integers(0, 12)),
    keep_every=st.sampled_from([3, 10_000]),
)
def test_whatever_is_written_the_newest_state_is_read(
    tmp_path_factory: pytest.TempPathFactory, writes: list[dict[str, int]], restarts: set[int], keep_every: int
) -> None:
    """Also by whoever starts anew in between; records stay in the order in which they came; so does the past."""
    folder = tmp_path_factory.mktemp("store")
    store, state, past = store_in(folder, keep_every), dict[bytes, bytes](), dict[int, dict[bytes, bytes]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(incremental, "MIN_BYTES", 300)
        for sequence, changes in enumerate(writes, 1):
            if sequence in restarts:
                store = store_in(folder, keep_every)
                assert state_of(store.resume()) == (sequence - 1, state)
            written = dict(record(key, value) for key, value in changes.items())
            state = {**state, **written}
            store.write_changes(sequence, {"at": sequence}, written)
            past[sequence] = state
            found = store_in(folder).newest()
            assert found is not None
            assert (*state_of(found), found.position) == (sequence, state, {"at": sequence})
            assert [key_of(one) for one in found.records] == list(state)
    newest = store.sequences()[-1]
    for sequence in range(newest, len(writes) + 1):
        assert state_of(store.newest(at_most=sequence)) == (sequence, past[sequence])


def test_what_is_written_is_what_changed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write_changes(1, {}, dict(record(f"rt-{number}", 0) for number in range(2_000)))
    before = {path: path.stat().st_size for path in tmp_path.iterdir()}
    store.write_changes(2, {}, dict([record("rt-7", 1)]))
    assert sum(path.stat().st_size - before.get(path, 0) for path in tmp_path.iterdir()) < 300
    assert state_of(store.newest())[1][b"rt-7"] == b"rt-7=1"


def test_a_crash_at_any_byte_leaves_what_was_written_before(tmp_path: Path) -> None:
    """And what comes after it follows that."""
    store = store_in(tmp_path)
    store.write_changes(1, {}, dict([record("a", 1)]))
    journal = tmp_path / f"{1:020d}.changes"
    ends = [0]
    for sequence in (2, 3):
        store.write_changes(sequence, {}, dict([record("a", sequence)]))
        ends.append(journal.stat().st_size)
    whole = journal.read_bytes()
    for length in range(len(whole) + 1):
        journal.write_bytes(whole[:length])
        last = 1 + max(index for index, end in enumerate(ends) if end <= length)
        again = store_in(tmp_path)
        assert state_of(again.resume()) == (last, {b"a": f"a={last}".encode()})
        again.write_changes(9, {}, dict([record("b", 9)]))
        assert state_of(store_in(tmp_path).newest()) == (9, {b"a": f"a={last}".encode(), b"b": b"b=9"})


def test_a_damaged_entry_ends_its_journal_and_a_damaged_base_gives_way_to_the_one_before(tmp_path: Path) -> None:
    store = store_in(tmp_path, keep_every=10)
    store.write_changes(1, {}, dict([record("a", 1)]))
    store.write_changes(2, {}, dict([record("a", 2)]))
    store.write_changes(12, {}, dict([record("a", 12)]))
    assert store.sequences() == [1, 12], "one base for each stretch of the log"
    store.write_changes(13, {}, dict([record("a", 13)]))
    journal = tmp_path / f"{12:020d}.changes"
    journal.write_bytes(journal.read_bytes()[:-1] + b"!")
    assert state_of(store_in(tmp_path).resume()) == (12, {b"a": b"a=12"})
    base = tmp_path / f"{12:020d}.checkpoint"
    base.write_bytes(base.read_bytes()[:-1])
    again = store_in(tmp_path)
    assert state_of(again.resume()) == (12, {b"a": b"a=12"}), "the first journal has what the second base had"
    again.write_changes(14, {}, dict([record("a", 14)]))
    assert state_of(store_in(tmp_path).resume()) == (14, {b"a": b"a=14"})


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(tmp_path: Path) -> None:
    CheckpointStore(tmp_path, "form").write(5, {"old": 1}, [b"a=1", b"b=2"])
    store = store_in(tmp_path)
    assert state_of(store.resume()) == (5, {b"a": b"a=1", b"b": b"b=2"})
    store.write_changes(6, {"new": 1}, dict([record("b", 3)]))
    newest = store_in(tmp_path).newest()
    assert newest is not None
    assert (*state_of(newest), newest.position) == (6, {b"a": b"a=1", b"b": b"b=3"}, {"new": 1})
    assert CheckpointStore(tmp_path, "other").newest() is None


def test_what_is_taken_away_meanwhile_is_written_anew(tmp_path: Path) -> None:
    """The store says so, and is given everything the next time."""
    store = store_in(tmp_path)
    store.write_changes(1, {}, dict([record("a", 1)]))
    store.write_changes(2, {}, dict([record("b", 1)]))
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(ChainLost):
        store.write_changes(3, {}, dict([record("b", 2)]))
    store.write_changes(4, {}, dict([record("a", 1), record("b", 2)]))
    assert state_of(store_in(tmp_path).newest()) == (4, {b"a": b"a=1", b"b": b"b=2"})


def test_one_that_is_not_accepted_is_not_gone_on_from(tmp_path: Path) -> None:
    """As where the log is another one: what changes then belongs to other records."""
    store_in(tmp_path).write_changes(7, {"stream": 1}, dict([record("a", 1)]))
    store = store_in(tmp_path)
    assert store.resume(accept=lambda checkpoint: checkpoint.position["stream"] == 2) is None
    store.write_changes(8, {"stream": 2}, dict([record("b", 1)]))
    assert state_of(store.newest()) == (8, {b"b": b"b=1"})


def test_a_log_that_ends_earlier_is_gone_on_from_there(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for sequence in (1, 2, 3):
        store.write_changes(sequence, {}, dict([record("a", sequence)]))
    again = store_in(tmp_path)
    assert state_of(again.resume(at_most=2)) == (2, {b"a": b"a=2"})
    again.write_changes(3, {}, dict([record("b", 3)]))
    assert state_of(store_in(tmp_path).newest()) == (3, {b"a": b"a=2", b"b": b"b=3"})
