"""What another library wrote as a checkpoint: what of it is torn or cannot be read back is known when it is saved."""

from __future__ import annotations

import enum
import json
import os
import threading
from collections import defaultdict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.snapshots import verify
from milepost.training.saving import adopted
from milepost.training.saving.adopted import Adopted, CheckpointDamaged, copy_unchanged, examine, wait_for_parts
from milepost.training.saving.savable import StateNotSavable
from milepost.training.saving.snapshot_keeper import SnapshotKeeper
from milepost.training.saving.snapshots import Boundary
from tests.support.trainers.remembering_host import RememberingHost
from tests.unit.training.saving.test_savable import keeper

__all__ = ["keeper"]


class Mode(enum.IntEnum):
    EAGER = 1


Pair = namedtuple("Pair", ["first", "second"])


class Runs:
    """Whose code must not run when it is looked at."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("it ran",)


def checkpoint(folder: Path) -> Path:
    """As the Trainer of Transformers writes one."""
    folder.mkdir()
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(300))])
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save({"numpy": np.random.get_state(), "cpu": torch.get_rng_state()}, folder / "rng_state.pth")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 10}))
    (folder / "merges.txt").write_text("a b")
    (folder / "shard.distcp").write_bytes(b"state")
    return folder


def test_a_checkpoint_that_is_whole_is_taken_and_what_is_not_known_of_it_is_named(tmp_path: Path) -> None:
    found = examine(checkpoint(tmp_path / "one"), ["optimizer.pt"])
    assert found.unknown == ["shard.distcp"]
    assert list(found.with_code) == ["rng_state.pth"]
    assert any("numpy" in kind for kind in found.with_code["rng_state.pth"])


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_file_that_is_torn_is_named(tmp_path: Path, name: str, left: float) -> None:
    folder = checkpoint(tmp_path / "one")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(len(whole) * left)])
    with pytest.raises(CheckpointDamaged, match=name):
        examine(folder)


def test_a_folder_without_files_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointDamaged, match="no files"):
        examine(tmp_path)


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"state": {0: {"mode": Mode.EAGER}}}, "at ['state'][0]['mode'],"),
        ({"param_groups": [{"betas": Pair(1, 2)}]}, "at ['param_groups'][0]['betas'],"),
        ({"seen": (1, frozenset({1}))}, "at ['seen'][1],"),
        ({"counts": {"of": defaultdict(int, a=1)}}, "at ['counts']['of'],"),
        ({"x": torch.ones(1), "rate": np.float64(1.0)}, "at ['rate'],"),
        ({"kind": Pair}, "at ['kind'],"),
        (Mode.EAGER, "at its top,"),
    ],
)
def test_what_the_library_will_refuse_is_refused_with_its_place(tmp_path: Path, state: Any, where: str) -> None:
    folder = checkpoint(tmp_path / "one")
    torch.save(state, folder / "optimizer.pt")
    assert "optimizer.pt" in examine(folder).with_code, "where nobody says how it is read it is only named"
    with pytest.raises(StateNotSavable) as refused:
        examine(folder, ["optimizer.pt", "scheduler.pt"])
    assert str(refused.value).startswith("optimizer.pt: holds ") and where in str(refused.value)


def test_looking_at_a_checkpoint_runs_no_code_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint(tmp_path / "one")
    torch.save({"model": [Runs()]}, folder / "optimizer.pt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StateNotSavable, match=r"holds posix.mkdir, at \['model'\]\[0\]"):
        examine(folder, ["optimizer.pt"])
    assert not (tmp_path / "it ran").exists()


def test_a_file_that_is_written_to_while_it_is_copied_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "last.ckpt"
    source.write_bytes(b"x" * 100)
    copy = adopted.shutil.copy2

    def slowly(one: str, other: str) -> Any:
        copy(one, other)
        return source.write_bytes(b"y" * 101)

    monkeypatch.setattr(adopted.shutil, "copy2", slowly)
    with pytest.raises(CheckpointDamaged, match=r"last.ckpt was changed while it was copied"):
        copy_unchanged(str(source), str(tmp_path / "copy"))


def test_the_parts_of_other_processes_are_waited_for_until_they_are_whole(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "one")
    whole = (folder / "rng_state.pth").read_bytes()
    (folder / "rng_state_1.pth").write_bytes(whole[:100])
    assert wait_for_parts(folder, ["rng_state.pth", "rng_state_1.pth", "rng_state_2.pth"], 0.0) == [
        "rng_state_1.pth", "rng_state_2.pth",
    ]  # fmt: skip
    threading.Timer(0.3, (folder / "rng_state_1.pth").write_bytes, [whole]).start()
    assert wait_for_parts(folder, ["rng_state_1.pth"]) == []


def adopt(taker: SnapshotKeeper, source: Path, step: int, **more: Any) -> None:
    taker.adopt(Adopted(source, **more), Boundary(step), facts.SNAPSHOT_REASON_INTERVAL)
    taker.wait()


def test_a_checkpoint_that_cannot_be_read_back_costs_the_snapshot_and_not_the_training(
    keeper: tuple[SnapshotKeeper, RememberingHost], tmp_path: Path
) -> None:
    taker, host = keeper
    folder = checkpoint(tmp_path / "one")
    adopt(taker, folder, 5, plain=["optimizer.pt"])
    assert "checkpoint_code" not in host.said, "where it is known how a library reads there is nothing to say"
    adopt(taker, folder, 10)
    torch.save({"state": {0: {"mode": Mode.EAGER}}}, folder / "optimizer.pt")
    adopt(taker, folder, 20, plain=["optimizer.pt"])
    (folder / "model.safetensors").write_bytes(b"")
    adopt(taker, folder, 30)
    adopt(taker, tmp_path / "was removed", 40)
    outcomes = [fact for fact in host.facts if not isinstance(fact, facts.SnapshotStarted)]
    _, committed, *failed = outcomes
    assert isinstance(committed, facts.SnapshotCommitted)
    assert {"checkpoint/optimizer.pt", "checkpoint/model.safetensors"} < set(verify(committed.uri).files)
    assert [type(fact) for fact in failed] == [facts.SnapshotFailed] * 3
    assert [fact.detail.partition(":")[0] for fact in failed] == [
        "StateNotSavable", "CheckpointDamaged", "FileNotFoundError",
    ]  # fmt: skip
    assert [problem for problem, _ in host.warned].count("checkpoint_code") == 1
    left = [path.name for path in (tmp_path / "snapshots").iterdir()]
    assert sorted(left) == ["step-000000000005-a1", "step-000000000010-a1"], "nothing is left of a snapshot that failed"
