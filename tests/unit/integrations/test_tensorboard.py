"""TensorBoard's event files: read, damaged, imported."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from tensorboardX import SummaryWriter, record_writer
from tensorboardX.summary import hparams

from milepost.errors import InvalidArgument
from milepost.ids import is_runtime_id
from milepost.integrations import tensorboard
from milepost.integrations.tensorboard import (
    EventFile,
    FolderImport,
    Imported,
    Scalar,
    _folder_of,
    find_folders,
    runtime_id_of,
)


def written(folder: Path) -> Path:
    with SummaryWriter(str(folder)) as writer:
        for step in range(1, 4):
            writer.add_scalar("loss", 1.0 / step, step, walltime=1000.0 + step)
        writer.add_histogram("weights", torch.arange(4).numpy(), 1)
    (path,) = folder.iterdir()
    return path


def test_scalars_are_read_from_an_event_file(tmp_path: Path) -> None:
    found = [item for item in EventFile(written(tmp_path)).read() if isinstance(item, Scalar)]
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
    assert [s.step for s in found if isinstance(s, Scalar)] == [1, 2, 3]
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
    assert [s.step for s in file.read() if isinstance(s, Scalar)] == [1]
    assert "is damaged at byte" in file.damage
    assert list(file.read()) == []


def imported_from(folder: Path) -> Imported:
    """Read a folder as an import does, without a run."""
    one = FolderImport(folder, "x", None)
    assert all(isinstance(item, Scalar) for item in one.scalars())
    return one.finish()


def test_all_that_is_left_out_is_named_by_kind_number_and_tag(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("loss", 1.0, 1)
        writer.add_scalar("loss", 1.0, -3)
        writer.add_text("words", "hello", 1)
        writer.add_custom_scalars({"group": {"chart": ["Multiline", ["loss"]]}})
        for number in range(5):
            writer.add_histogram(f"weights/{number}", torch.arange(4).numpy(), 1)
    left_out = imported_from(tmp_path).left_out
    assert left_out == (
        "values of a step below 0 (1: loss)",
        "texts (1: words/text_summary)",
        "layouts of charts (1: custom_scalars__config__)",
        "histograms (5: weights/0, weights/1, weights/2 and 2 more)",
    )


def test_the_hyperparameters_of_a_run_and_series_over_the_limit_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "MAX_SERIES", 2)
    with SummaryWriter(str(tmp_path)) as writer:
        for tag in ("a", "b", "c", "a", "c"):
            writer.add_scalar(tag, 1.0, 1)
        writer.file_writer.add_summary(hparams({"lr": 0.1}, {"loss": 1.0})[0])
    assert imported_from(tmp_path).left_out == (
        "values of series after the first 2 (2: c)",
        "hyperparameters (1: _hparams_/experiment)",
    )


def test_a_file_that_ends_within_a_record_is_named_when_nobody_waits_for_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert imported_from(tmp_path).damage == ()
    path.write_bytes(path.read_bytes()[:-5])
    assert "ends within a record" in imported_from(tmp_path).damage[0]
    path.write_bytes(b"")
    assert imported_from(tmp_path).damage == ()


def test_a_record_that_is_no_event_and_a_file_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    check = record_writer.masked_crc32c
    length = struct.pack("<Q", 3)
    strange = length + struct.pack("<I", check(length)) + b"\xff\xff\xff" + struct.pack("<I", check(b"\xff\xff\xff"))
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + strange)
    assert "a record is no event" in imported_from(tmp_path).damage[0]
    path.unlink()
    path.symlink_to(tmp_path / "nothing")
    file = EventFile(path)
    assert list(file.read()) == []
    assert "cannot be read: No such file" in file.damage


def test_trials_exported_into_one_folder_have_folders_of_their_own() -> None:
    one, two = "runtimes/rt-a/trials/1", "runtimes/rt-a/trials/2"
    assert _folder_of(one, "../my run: 50 %") == "my-run-50-rt-a-1"
    assert _folder_of(one, "same") != _folder_of(two, "same")
    assert _folder_of(one, "..") == "rt-a-1"
    assert len(_folder_of(one, "x" * 100)) < 100


def test_a_folder_has_one_id_for_ever(tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    other = written(tmp_path / "b")
    assert is_runtime_id(runtime_id_of(path))
    assert runtime_id_of(path) == runtime_id_of(path) != runtime_id_of(other)
    assert find_folders(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(InvalidArgument):
        find_folders(tmp_path / "a" / "none")


def write_session(folder: Path, number: int, steps: range, purge_step: int | None) -> None:
    """Write a file as a writer does that was started for the n-th time."""
    with SummaryWriter(str(folder), purge_step=purge_step, filename_suffix=f".{number}") as writer:
        for step in steps:
            for tag in ("loss", "accuracy"):
                writer.add_scalar(tag, 100.0 * number + step, step, walltime=1_700_000_000.0 + 100 * number + step)
    for path in folder.glob(f"*tfevents*.{number}"):
        path.rename(folder / f"events.out.tfevents.{1_700_000_000 + number}.host")


def test_what_a_restarted_writer_left_counts_up_to_where_it_began_again(tmp_path: Path) -> None:
    """As TensorBoard 2.21 shows them: of 13 points 8, and after a second restart further back 4."""
    write_session(tmp_path, 1, range(1, 11), None)
    write_session(tmp_path, 2, range(6, 9), 6)
    found = [
        (scalar.step, scalar.value) for scalar in FolderImport(tmp_path, "x", None).scalars() if scalar.tag == "loss"
    ]
    assert imported_from(tmp_path).taken_back == 10, "it is said"
    assert found == [(step, 100.0 + step) for step in range(1, 6)] + [(step, 200.0 + step) for step in range(6, 9)]
    write_session(tmp_path, 3, range(3, 5), 3)
    found = [
        (scalar.step, scalar.value) for scalar in FolderImport(tmp_path, "x", None).scalars() if scalar.tag == "loss"
    ]
    assert found == [(1, 101.0), (2, 102.0), (3, 303.0), (4, 304.0)]
