"""What the integrations are made of: names, means, watching an optimizer, event files, cards."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboardX import SummaryWriter

from milepost.errors import InvalidArgument
from milepost.ids import is_runtime_id
from milepost.integrations.names import series_key
from milepost.integrations.tensorboard import EventFile, find_folders, runtime_id_of
from milepost.training.averages import Averages
from milepost.training.card import card
from milepost.training.declared import LARGEST_COUNT, flatten
from milepost.training.group import Place, place_of_this_process
from milepost.training.optimizer_watch import OptimizerWatch


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("loss", "train/loss"), ("train_loss", "train/loss"), ("train_loss_step", "train/loss"), ("eval_loss", "eval/loss"),
        ("val_loss", "eval/loss"), ("validation/accuracy", "eval/accuracy"), ("learning_rate", "train/learning_rate"),
        ("test_f1", "test/f1"), ("train/loss", "train/loss"), ("epoch", "epoch"), ("evaluate", "evaluate"),
    ],
)  # fmt: skip
def test_names_of_other_libraries(given: str, expected: str) -> None:
    assert series_key(given) == expected


def test_a_mean_weighs_micro_batches_by_their_examples() -> None:
    averages = Averages()
    averages.add({"train/loss": torch.tensor(1.0, requires_grad=True)}, 3)
    averages.add({"train/loss": 5.0, "extra": 2.0}, 1)
    found = averages.take()
    assert float(found["train/loss"]) == 2.0
    assert found["extra"] == 2.0
    assert averages.take() == {}


def test_settings_of_any_shape_become_scalars() -> None:
    given = {"a": {"b": 1, "c": {"d": None}}, "e": [1, 2], "f": float("nan"), "g": True, "h": "x" * 900, 7: 0.5}
    found = flatten(given)
    assert found["a.b"] == "1" and found["a.c.d"] == "null" and found["e"] == '"[1, 2]"'
    assert found["f"] == '"nan"' and found["g"] == "true" and len(found["h"]) == 502 and found["7"] == "0.5"
    assert len(flatten({str(number): number for number in range(2 * LARGEST_COUNT)})) == LARGEST_COUNT


def watched(optimizer: Any) -> tuple[OptimizerWatch, dict[str, Any]]:
    values: dict[str, Any] = {}
    return OptimizerWatch(optimizer, values.update), values


def backward(model: torch.nn.Module, scale: float = 1.0) -> float:
    (model(torch.ones(1, 2)).sum() * scale).backward()
    return float(torch.linalg.vector_norm(torch.cat([p.grad.reshape(-1) for p in model.parameters()])))  # type: ignore[union-attr]


def test_a_norm_left_by_a_skipped_step_is_not_taken_for_that_of_the_next() -> None:
    """A gradient scaler that finds an overflow clips and does not step."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    _watch, values = watched(optimizer)
    backward(model, 1000.0)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.zero_grad()
    norm = backward(model)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    assert float(values["train/grad_norm"]) == pytest.approx(norm)


@pytest.mark.parametrize("fused", [False, True])
def test_the_norm_is_that_of_unscaled_gradients(fused: bool) -> None:
    """Whoever scales back: the scaler, or a fused optimizer that it hands the scale to."""
    model = torch.nn.Linear(2, 1)
    norm = backward(model)
    model.zero_grad()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    _watch, values = watched(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)  # type: ignore[attr-defined]
    scaler.scale(model(torch.ones(1, 2)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert float(values["train/grad_norm"]) == pytest.approx(norm)


@pytest.mark.parametrize("clipped", [False, True])
def test_a_step_with_a_closure_logs_the_norm_of_what_the_closure_computed(clipped: bool) -> None:
    """Not what gradients there were before it, nor the norm of the step before."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    _watch, values = watched(optimizer)
    for scale in (3.0, 7.0):
        optimizer.zero_grad()
        backward(model)
        expected = 0.0

        def closure(scale: float = scale) -> float:
            nonlocal expected
            expected = backward(model, scale)
            if clipped:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            return 0.0

        optimizer.step(closure)
        assert float(values["train/grad_norm"]) == pytest.approx(expected)


def test_a_second_optimizer_has_a_prefix_of_its_own() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    values: dict[str, Any] = {}
    _watch = OptimizerWatch(optimizer, values.update, "generator")
    backward(model)
    optimizer.step()
    assert values["generator/learning_rate"] == 0.1


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, Place()),
        ({"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "3"}, Place(1, 2, "3")),
        ({"RANK": "2", "WORLD_SIZE": "2"}, Place()),
        ({"RANK": "x", "WORLD_SIZE": "2"}, Place()),
    ],
)
def test_a_process_knows_its_place(environment: dict[str, str], place: Place) -> None:
    assert place_of_this_process(environment) == place


def test_a_card_shows_text_as_text() -> None:
    html = card("<script>", "http://x/?a=1&b='\"", 5, 10, {"train/loss": 0.123456})
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert 'href="http://x/?a=1&amp;b=&#x27;&quot;"' in html
    assert "width:50.0%" in html and "train/loss 0.1235" in html
    assert "width" not in card("x", "", 5, None, {})


def written(folder: Path) -> Path:
    with SummaryWriter(str(folder)) as writer:
        for step in range(1, 4):
            writer.add_scalar("loss", 1.0 / step, step, walltime=1000.0 + step)
        writer.add_histogram("weights", torch.arange(4).numpy(), 1)
    (path,) = folder.iterdir()
    return path


def test_scalars_are_read_from_an_event_file(tmp_path: Path) -> None:
    found = list(EventFile(written(tmp_path)).read())
    assert [(s.tag, s.step, s.seconds) for s in found] == [("loss", step, 1000.0 + step) for step in (1, 2, 3)]
    assert [s.value for s in found] == pytest.approx([1.0, 0.5, 1 / 3], rel=1e-6)


def test_a_file_that_grows_gives_each_record_once(tmp_path: Path) -> None:
    """A record that is not whole yet is left alone, wherever it is cut."""
    whole = written(tmp_path / "whole").read_bytes()
    growing = tmp_path / "growing.tfevents"
    file = EventFile(growing)
    found = []
    for end in range(0, len(whole) + 1, 7):
        growing.write_bytes(whole[:end])
        found += list(file.read())
    growing.write_bytes(whole)
    found += list(file.read())
    assert [s.step for s in found] == [1, 2, 3]
    assert not file.damage


def test_a_damaged_record_is_named_and_what_is_before_it_kept(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack("<Q", content[:8])
    second = 12 + first + 4
    (length,) = struct.unpack("<Q", content[second : second + 8])
    content[second + 12 + length + 4 + 14] ^= 0xFF
    path.write_bytes(content)
    file = EventFile(path)
    assert [s.step for s in file.read()] == [1]
    assert "is damaged at byte" in file.damage
    assert list(file.read()) == []


def test_a_folder_has_one_id_for_ever(tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    other = written(tmp_path / "b")
    assert is_runtime_id(runtime_id_of(path))
    assert runtime_id_of(path) == runtime_id_of(path) != runtime_id_of(other)
    assert find_folders(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(InvalidArgument):
        find_folders(tmp_path / "a" / "none")
