"""Rows that a loop logs beside values: read from anything, bounded, thinned by steps alone, counted where left out."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import Row, RowForm, Sender, StepBatch
from milepost.eventlog.nats.server import MAX_PAYLOAD_BYTES
from milepost.training.samples.batches import prepare_rows
from milepost.training.samples.buffer import MAX_SERIES, SampleBuffer
from milepost.training.samples.histograms import binned
from milepost.training.samples.reading import MAX_ROWS, MAX_TEXT_BYTES
from milepost.training.samples.thinning import is_kept

SAMPLE, TEXT = telemetry.ROW_FORM_SAMPLE, telemetry.ROW_FORM_TEXT
TABLE, HISTOGRAM = telemetry.ROW_FORM_TABLE, telemetry.ROW_FORM_HISTOGRAM


class Logged:
    """What a buffer makes of things that are logged at step 1, and what it says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.buffer = SampleBuffer(lambda problem, text: self.said.append(text))

    def rows(self, form: RowForm, given: Any, step: int = 1) -> list[Row]:
        self.buffer.append(step, 2.5, "eval/samples", form, given)
        return list(self.buffer.take())


def test_rows_columns_and_conversations_are_samples() -> None:
    logged = Logged()
    (row,) = logged.rows(
        SAMPLE,
        [{
            "prompt": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "Let me see."}],
            "completion": "4", "scores": {"reward": torch.tensor(0.5), "parts": {"format": 1}}, "advantage": np.float32(-1.5),
            "group": 7, "tags": ["math"],
        }],
    )  # fmt: skip
    assert (row.prompt, row.completion) == ("user: 2+2?\n\nassistant: Let me see.", "4")
    assert {score.name: score.value for score in row.scores} == {"reward": 0.5, "parts/format": 1.0, "advantage": -1.5}
    assert (row.key, row.step, row.time_ms, row.group, list(row.tags)) == ("eval/samples", 1, 2500, "7", ["math"])
    columns = {"prompt": ["a", "b"], "completion": ["c", "d"], "reward": torch.tensor([1.0, 2.0]), "group": "g"}
    assert [(r.prompt, r.completion, r.scores[0].value, r.group) for r in logged.rows(SAMPLE, columns)] == [
        ("a", "c", 1.0, "g"),
        ("b", "d", 2.0, "g"),
    ]
    assert not logged.said
    assert logged.rows(SAMPLE, [{"prompt": "p", "image": object()}])[0].prompt == "p"
    assert "'image' is a object and left out" in logged.said[-1]
    assert logged.rows(SAMPLE, 3) == [] and "not int" in logged.said[-1]


def test_what_a_loop_changes_afterwards_is_recorded_as_it_was() -> None:
    logged, scores, values = Logged(), torch.tensor([1.0]), np.zeros(4)
    logged.buffer.append(1, 0.0, "a", SAMPLE, {"completion": ["x"], "reward": scores})
    logged.buffer.append(1, 0.0, "b", HISTOGRAM, {"values": values, "bins": 2})
    scores.zero_()
    values += 5
    sample, histogram = logged.buffer.take()
    assert sample.scores[0].value == 1.0
    assert list(histogram.edges) == [-0.5, 0.0, 0.5]


def test_texts_and_rows_have_bounds_and_what_is_beyond_is_said() -> None:
    logged = Logged()
    (row,) = logged.rows(TEXT, "ß" * 100_000)
    assert len(row.completion.encode()) < MAX_TEXT_BYTES + 50 and row.completion.endswith("[cut: 100,000 characters]")
    assert len(logged.rows(SAMPLE, [{"completion": "x"}] * (MAX_ROWS + 9), step=2)) == MAX_ROWS
    assert logged.rows(SAMPLE, [{"completion": "x"}], step=2) == []
    (left_out,) = logged.buffer.take_left_out()
    assert (left_out.rows, left_out.first_step, left_out.last_step) == (10, 2, 2)
    for index in range(MAX_SERIES):
        logged.buffer.append(3, 0.0, f"s{index}", TEXT, "x")
    assert "series of samples" in logged.buffer.take_left_out()[0].reason
    assert logged.rows(TEXT, "lone \ud800", step=9)[-1].completion == "lone \\ud800"


def test_rows_fit_into_messages_and_none_is_lost() -> None:
    logged = Logged()
    rows = logged.rows(SAMPLE, [{"prompt": "p" * 60_000, "completion": f"{index}" * 20_000} for index in range(40)])
    batches = list(prepare_rows(Sender(source="rank-0"), rows, {}, 0))
    bodies = [batch.encode(number)[1] for number, batch in enumerate(batches, start=1)]
    assert max(map(len, bodies)) < MAX_PAYLOAD_BYTES / 2
    assert [row for body in bodies for row in StepBatch.FromString(body).rows] == rows


def test_tables_are_kept_as_rows_of_cells() -> None:
    pandas = pytest.importorskip("pandas")
    logged, wanted = Logged(), {"columns": ["a", "b"], "rows": [[1, "x"], [2.5, None]], "row_count": 2}
    for step, table in enumerate([[{"a": 1, "b": "x"}, {"a": 2.5}], {"a": [1, 2.5], "b": ["x", None]}], start=1):
        assert json.loads(logged.rows(TABLE, table, step)[0].content) == wanted
    frame = pandas.DataFrame({"a": [1, 2.5], "b": ["x", "y"]})
    assert json.loads(logged.rows(TABLE, frame, 3)[0].content) == {**wanted, "rows": [[1, "x"], [2.5, "y"]]}
    large = json.loads(logged.rows(TABLE, [{"a": "y" * 1_000}] * 100, 4)[0].content)
    assert large["row_count"] == 100 and len(large["rows"]) < 66


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(1, 100))
def test_histograms_are_those_of_numpy(values: list[float], bins: int) -> None:
    with np.errstate(all="ignore"):
        try:
            counts, edges = np.histogram(values, bins)
        except ValueError:
            # Too small a range for so many bins.
            return
    found = binned({"values": [*values, math.nan, math.inf], "bins": bins})
    assert found == (edges.tolist(), counts.tolist())


def test_histograms_that_are_none_are_said() -> None:
    logged = Logged()
    for step, wrong in enumerate(
        [{"values": []}, {"counts": [1, 2], "edges": [0, 1]}, {"counts": [1], "edges": [1, 1]}]
    ):
        assert logged.rows(HISTOGRAM, wrong, step) == []
    assert "one edge more than counts" in logged.said[0]
    assert list(logged.rows(HISTOGRAM, {"counts": [3], "edges": [0, 2]}, 9)[0].counts) == [3]
    tensor = torch.arange(4, dtype=torch.bfloat16).reshape(2, 2)
    assert list(logged.rows(HISTOGRAM, {"values": tensor, "bins": 2}, 10)[0].counts) == [2, 2]


def kept(steps: list[int]) -> list[int]:
    found: list[int] = []
    for step in steps:
        if is_kept(step, found[-1] if found else None):
            found.append(step)
    return found


def test_a_million_steps_are_thinned_to_some_twenty_thousand() -> None:
    found = kept(list(range(1, 1_000_001)))
    assert found[:4095] == list(range(1, 4096))
    assert len(found) < 4_096 + 2_048 * 8 + 1
    # What is logged rarely loses nothing, whatever its rhythm.
    assert kept(list(range(999, 1_000_000, 999))) == list(range(999, 1_000_000, 999))


@settings(max_examples=20)
@given(st.integers(1, 9_000), st.integers(1, 50))
def test_a_resume_keeps_the_same_steps(cut: int, every: int) -> None:
    steps = list(range(every, 9_000, every))
    logged = Logged()
    for step in (one for one in steps if one <= cut):
        logged.buffer.append(step, 0.0, "a", TEXT, "x")
    before = [row.step for row in logged.buffer.take()]
    resumed = Logged()
    resumed.buffer.go_on_from(logged.buffer.kept_steps)
    for step in (one for one in steps if one > cut):
        resumed.buffer.append(step, 0.0, "a", TEXT, "x")
    assert [*before, *(row.step for row in resumed.buffer.take())] == kept(steps)
