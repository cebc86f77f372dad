"""What is logged waits in a buffer: each value once, the newest of a step, tensors as they were."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from milepost.api.telemetry.v1.telemetry_pb2 import Sender, StepBatch
from milepost.training.telemetry import buffer as buffers
from milepost.training.telemetry.batches import (
    HEADLINE_KEYS,
    LastValues,
    prepare,
)
from milepost.training.telemetry.buffer import StepBuffer

SENDER = Sender(runtime_id="rt-x", trial=1, attempt=1, source="rank-0")


KEYS = st.sampled_from(["train/loss", "train/learning_rate", "eval/loss", "system/cpu_percent"])


def test_more_series_than_are_recorded_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that invents a series at each step costs neither memory nor the series there were."""
    monkeypatch.setattr(buffers, "MAX_SERIES", 3)
    said: list[str] = []
    buffer = StepBuffer(lambda problem, text: said.append(problem))
    for step in range(1, 101):
        buffer.append(step, 0.0, {"train/loss": 1.0, f"step-{step}": 2.0})
    points = {(key, step) for c in buffer.take() for key in c.keys for step in c.steps}
    assert points == {("train/loss", step) for step in range(1, 101)} | {("step-1", 1), ("step-2", 2)}
    assert buffer.take_refused() == buffers.Refused(98, 3, 100)
    assert buffer.take_refused() is None
    assert set(said) == {"series"}
    assert len(buffer._schemas) <= 4


def test_what_milepost_measures_takes_no_room_from_what_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "MAX_SERIES", 2)
    monkeypatch.setattr(buffers, "MAX_SYSTEM_SERIES", 2)
    buffer = StepBuffer(lambda problem, text: None)
    buffer.append(1, 0.0, {"train/loss": 1.0, "system/a": 1.0, "system/b": 1.0, "system/c": 1.0})
    buffer.append(2, 0.0, {"eval/loss": 1.0, "other": 1.0})
    keys = {key for columns in buffer.take() for key in columns.keys}
    assert keys == {"train/loss", "eval/loss", "system/a", "system/b"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.dictionaries(KEYS, st.floats(width=64), min_size=1)), max_size=80))
def test_everything_that_is_logged_is_taken_once(actions: list[dict[str, float] | None]) -> None:
    """Whatever keys come together, and whenever the background takes what is there (None)."""
    buffer, taken, wanted = StepBuffer(lambda problem, text: None), [], []
    for step, values in enumerate(actions, start=1):
        if values is None:
            taken += buffer.take()
        else:
            buffer.append(step, float(step), values)
            wanted += [(step, key, array("d", [value]).tobytes()) for key, value in values.items()]
    taken += buffer.take()
    found = [
        (step, key, array("d", [value]).tobytes())
        for group in taken
        for key, column in zip(group.keys, group.values, strict=True)
        for step, value in zip(group.steps, column, strict=True)
    ]
    assert sorted(found) == sorted(wanted)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.sets(KEYS, min_size=1)), max_size=30),
    st.sets(st.integers(0, 30)),
)
def test_of_several_values_at_one_step_the_newest_is_the_last(
    calls: list[tuple[int, set[str]]], cuts: set[int]
) -> None:
    """In the batches, whatever series are logged together, and in the last values beside them."""
    buffer, last, batches = StepBuffer(lambda problem, text: None), LastValues(), []
    for number, (step, keys) in enumerate(calls):
        buffer.append(step, float(number), dict.fromkeys(sorted(keys), float(number)))
        if number in cuts or number == len(calls) - 1:
            columns = buffer.take()
            last.take_in(columns)
            batches += [(part, *part.encode(number)) for part in prepare(SENDER, columns, {}, 0, 0, last)]
    found: dict[tuple[str, int], list[float]] = {}
    told: dict[str, float] = {}
    for _, headers, body in batches:
        told |= {
            key: float(headers[name])
            for key in HEADLINE_KEYS
            if (name := f"mp-last-{key.replace('/', '.')}") in headers
        }
        for group in StepBatch.FromString(body).groups:
            for column in group.columns:
                for step, value in zip(array("q", group.steps), array("d", column.values), strict=True):
                    found.setdefault((column.key, step), []).append(value)
    assert all(values == sorted(values) for values in found.values()), "a call's number is its value"
    newest = {key: found[key, max(step for other, step in found if other == key)][-1] for key, _ in found}
    assert last.values == newest
    assert told == {key: value for key, value in newest.items() if key in HEADLINE_KEYS}


def test_a_tensor_that_is_changed_later_keeps_the_value_that_was_logged() -> None:
    buffer = StepBuffer(lambda problem, text: None)
    running = torch.tensor(2.5)
    buffer.append(1, 0.0, {"train/loss": running})
    running.zero_()
    assert list(buffer.take()[0].values[0]) == [2.5]


class _Operations(TorchDispatchMode):
    """Notes the operations that are done on tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_a_tensor_on_a_device_is_copied_there_and_read_by_whoever_takes_it() -> None:
    """The caller never waits for the device: reading a number of it is `_local_scalar_dense`."""
    buffer = StepBuffer(lambda problem, text: None)
    with FakeTensorMode(allow_non_fake_inputs=True):
        loss, norm = (torch.empty((), device="cuda", dtype=torch.bfloat16) for _ in range(2))
        with _Operations() as done:
            buffer.append(1, 0.0, {"train/loss": loss, "train/rate": 0.5, "train/grad_norm": norm})
        assert any("stack" in name for name in done.names)
        assert not [name for name in done.names if "_local_scalar_dense" in name or "copy_" in name]
        kept = buffer._schemas["train/loss", "train/rate", "train/grad_norm"].rows
        assert kept[3] == 0.5
        assert {value._copies.device.type for value in (kept[2], kept[4])} == {"cuda"}
        assert kept[2]._copies is kept[4]._copies, "one copy for all of a step"
