"""Decoding of telemetry and blocks of rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.eventlog.telemetry import StoredMessage
from milepost.numbers import MAX_NUMBER
from services.metrics.storage.batches import (
    DUPLICATE,
    REJECTED,
    STORED,
    TOMBSTONE,
    Batch,
    LogsBlock,
    StepsBlock,
    decode,
    fold_line,
    plain,
    stored_line,
)
from tests.support.servers.metrics_service import log_batch, step_batch


def message(body: bytes, kind: str = "steps", runtime_id: str = "rt-a", **headers: str) -> StoredMessage:
    return StoredMessage(7, f"telemetry.{runtime_id}.1.1.{kind}", headers, body, 1_700_000_000_123_456_789, 0)


def decoded(batch: telemetry.StepBatch | telemetry.LogBatch) -> Batch:
    return decode(message(batch.SerializeToString(), "steps" if isinstance(batch, telemetry.StepBatch) else "logs"))


def points_of(table: pa.Table) -> list[tuple[str, int, int, bytes]]:
    rows = table.filter(pa.array([kind == 0 for kind in table["kind"].to_pylist()]))
    values = rows["value"].to_numpy()
    return [
        (key, step, time_ms, value.tobytes())
        for key, step, time_ms, value in zip(
            rows["key"].to_pylist(), rows["step"].to_pylist(), rows["time_ms"].to_pylist(), values, strict=True
        )
    ]


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, MAX_NUMBER), max_size=5),
            st.lists(st.sampled_from(["a", "train/loss", "eval/x.y-z_1"]), max_size=3, unique=True),
        ),
        max_size=4,
    ),
    st.randoms(),
)
def test_every_point_of_every_batch_becomes_one_row_with_the_same_bits(
    shapes: list[tuple[list[int], list[str]]], random: object
) -> None:
    block = StepsBlock(5)
    expected = []
    generator = np.random.default_rng(len(shapes))
    for number, (steps, keys) in enumerate(shapes, 1):
        # Any 64 bits are a value, every kind of NaN included.
        columns = {key: generator.integers(0, 1 << 64, len(steps), np.uint64).view(np.float64) for key in keys}
        times = generator.integers(0, 1 << 40, len(steps))
        block.add(decoded(step_batch("rt-a", number, steps, columns, times_ms=times)))
        expected += [
            (key, step, int(time), value.tobytes())
            for key, values in columns.items()
            for step, time, value in zip(steps, times, values, strict=True)
        ]
    if not len(block):
        return
    table = block.table()
    assert sorted(points_of(table)) == sorted(expected)
    messages = table.filter(pa.array([kind != 0 for kind in table["kind"].to_pylist()]))
    assert messages["step"].to_pylist() == messages["number"].to_pylist() == list(range(1, len(shapes) + 1))
    assert sum(messages["items"].to_pylist()) == len(expected)
    assert set(table["stream_id"].to_pylist()) == {5}


def test_several_values_at_one_step_have_places_in_the_order_they_were_logged() -> None:
    """Where each series has one value a step, and that is nearly always, the column is zero."""
    batch = step_batch("rt-a", 1, [1, 2], {"x": [1.0, 2.0]})
    for steps, values in (([2, 2], {"x": [3.0, 5.0], "y": [4.0, 6.0]}), ([3], {"z": [7.0]})):
        batch.groups.append(step_batch("rt-a", 1, steps, values).groups[0])
    block = StepsBlock(1)
    block.add(decoded(batch))
    rows = [row for row in block.table().to_pylist() if row["kind"] == 0]
    assert [row["value"] for row in sorted(rows, key=lambda r: r["items"]) if row["items"]] == [3.0, 4.0, 5.0, 6.0]
    assert {row["value"] for row in rows if not row["items"]} == {1.0, 2.0, 7.0}
    assert len({row["items"] for row in rows}) == 5


def test_rows_carry_sender_position_and_server_time() -> None:
    block = StepsBlock(9)
    block.add(decoded(step_batch("rt-a", 3, [1], {"x": [1.0]})))
    point, of_message = block.table().to_pylist()
    for row in (point, of_message):
        assert (row["runtime"], row["trial"], row["attempt"], row["source"]) == ("rt-a", 1, 1, "rank-0")
        assert (row["number"], row["log_seq"], row["log_time_ms"]) == (3, 7, 1_700_000_000_123)
    assert (of_message["key"], of_message["items"]) == ("", 1)


@pytest.mark.parametrize(
    ("batch", "note"),
    [
        (step_batch("rt-b", 1, [1], {"x": [1.0]}), "the sender is not the one of the subject"),
        (step_batch("rt-a", 1, [1], {"x": [1.0]}, source="rank-x"), "the source is neither rank-<n> nor driver"),
        (step_batch("rt-a", 0, [1], {"x": [1.0]}), "batches are numbered from 1"),
        (step_batch("rt-a", 1, [1, 2], {"x": [1.0]}), "columns of different length"),
        (step_batch("rt-a", 1, [-1], {"x": [1.0]}), "a step outside 0..2^53-1"),
        (step_batch("rt-a", 1, [MAX_NUMBER + 1], {"x": [1.0]}), "a step outside 0..2^53-1"),
        (step_batch("rt-a", 1, [1], {"a\0b": [1.0]}), "not a series key: 'a\\x00b', it has the character U+0000"),
        (step_batch("rt-a", 1, [1], {"": [1.0]}), "not a series key: '', it is empty"),
    ],
)
def test_a_batch_that_breaks_the_contract_is_rejected_with_the_reason(batch: telemetry.StepBatch, note: str) -> None:
    rejected = decoded(batch)
    assert (rejected.kind, rejected.note, rejected.groups, rejected.sequence) == (REJECTED, note, [], 7)


def test_a_rejected_batch_settles_the_number_that_its_headers_claim() -> None:
    rejected = decode(message(b"\xff\xff", **{"mp-number": "12", "mp-source": "rank-3"}))
    assert (rejected.kind, rejected.number, rejected.sender.source) == (REJECTED, 12, "rank-3")
    for headers in ({}, {"mp-number": "x", "mp-source": "rank-3"}, {"mp-number": "-1", "mp-source": "rank-0"}):
        assert decode(message(b"\xff\xff", **headers)).number == 0


@given(st.binary(max_size=200), st.sampled_from(["steps", "logs", "other"]))
def test_no_bytes_make_decoding_raise(body: bytes, kind: str) -> None:
    assert decode(message(body, kind)).kind in (STORED, REJECTED, TOMBSTONE)


def test_a_tombstone_stands_for_the_points_that_were_given_up() -> None:
    batch = step_batch("rt-a", 4, [], {})
    batch.tombstone.CopyFrom(telemetry.Tombstone(point_count=70, reason="the spool was full"))
    gone = decoded(batch)
    assert (gone.kind, gone.number, gone.items, gone.note) == (TOMBSTONE, 4, 70, "the spool was full")


def test_what_is_kept_of_a_repeated_batch_is_that_it_came() -> None:
    block = StepsBlock(1)
    block.add(decoded(step_batch("rt-a", 1, [1, 2], {"x": [1.0, 2.0]})).without_content(DUPLICATE))
    (row,) = block.table().to_pylist()
    assert (row["kind"], row["items"], row["number"]) == (2, 2, 1)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("10%\r50%\r100%", "100%"),
        ("done\r", "done"),
        ("\r\r", ""),
        ("", ""),
    ],
)
def test_a_line_that_goes_back_to_its_beginning_shows_its_last_state(text: str, shown: str) -> None:
    assert fold_line(text) == shown


@pytest.mark.parametrize(
    ("text", "searched"),
    [
        ("\x1b[1;31mred\x1b[0m text", "red text"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", "link"),
        ("tab\there", "tab\there"),
        ("bell\x07 and null\x00", "bell and null"),
        ("naïve 😀 text", "naïve 😀 text"),
    ],
)
def test_what_is_searched_has_no_control_sequences(text: str, searched: str) -> None:
    assert plain(text) == searched


def test_a_line_keeps_its_colours_for_display_only() -> None:
    line = stored_line(2, telemetry.LogLine(text="\x1b[31mred\x1b[0m", step=5, rank=1, time_ms=9))
    assert (line.index, line.text, line.display) == (2, "red", "\x1b[31mred\x1b[0m")
    assert stored_line(0, telemetry.LogLine(text="plain")).display == ""


def test_senseless_numbers_in_a_line_do_not_keep_it_out() -> None:
    wild = telemetry.LogLine(text="x", level=99, stream=99, rank=-5, step=-1)  # type: ignore[arg-type]
    line = stored_line(0, wild)
    assert (line.level, line.stream, line.rank, line.step) == (0, 0, 0, 0)


def test_lines_and_the_record_of_their_message_are_rows_of_one_block() -> None:
    block = LogsBlock(3)
    batch = decoded(log_batch("rt-a", 1, ["one", "two"]))
    block.add(batch, [stored_line(i, line) for i, line in enumerate(batch.lines)], 6, 1)
    first, second, of_message = block.table().to_pylist()
    assert [first["text"], second["text"], of_message["text"]] == ["one", "two", ""]
    assert [first["line"], second["line"]] == [0, 1]
    assert (of_message["items"], of_message["bytes"], of_message["over_quota"]) == (2, 6, 1)
