"""What a snapshot takes is what it gives back: judged by PyTorch itself, which loads each accepted state again."""

from __future__ import annotations

import enum
import io
from collections import Counter, OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.training.saving.savable import StateNotSavable, check_savable, check_saved
from milepost.training.saving.snapshot_keeper import SnapshotKeeper
from milepost.training.saving.snapshots import Boundary, DataState
from tests.support.trainers.remembering_host import RememberingHost


class Mode(enum.IntEnum):
    EAGER = 1


class Labelled(torch.Tensor):
    """A tensor of a class of the user's own."""


class Named(str):
    """A text of a class of the user's own."""


Pair = namedtuple("Pair", ["first", "second"])


@dataclass
class Settings:
    rate: float = 0.1


ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.complex_numbers(allow_nan=False),
    st.text(), st.binary(), st.sampled_from([torch.float32, torch.Size([1, 2]), torch.device("cpu"), torch.strided]),
    st.integers(min_value=2**2030, max_value=2**2050),
)  # fmt: skip
TENSORS = st.sampled_from(
    [torch.arange(3.0), torch.ones(2, dtype=torch.bfloat16), torch.nn.Parameter(torch.ones(1)), torch.tensor(2)]
)
REFUSED = st.sampled_from(
    [Mode.EAGER, torch.__version__, Pair(1, 2), frozenset({1}), defaultdict(int, a=1), np.float64(1.5), np.int64(2),
     np.bool_(True), np.arange(2), Settings(), range(3), Path("x"), Named("x"), torch.ones(2).as_subclass(Labelled),
     torch.Generator(), b"", 2**3000, -(2**3000)]
)  # fmt: skip
KEYS = st.one_of(st.text(), st.integers(), st.tuples(st.integers(), st.text()), st.just(Mode.EAGER))
STATES = st.dictionaries(
    KEYS,
    st.recursive(
        st.one_of(ATOMS, TENSORS, REFUSED),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(KEYS, inner, max_size=4),
            st.dictionaries(KEYS, inner, max_size=4).map(OrderedDict), st.lists(st.text()).map(Counter),
            st.sets(st.integers()),
        ),
        max_leaves=8,
    ),
    max_size=4,
)  # fmt: skip


def loaded(state: Any) -> Any:
    """Write a state and read it back as a resume does."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and bool(torch.equal(one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@settings(max_examples=60, deadline=None)
@given(STATES)
def test_what_is_accepted_comes_back_equal_and_what_is_refused_would_not(state: dict[Any, Any]) -> None:
    try:
        check_savable(state)
    except StateNotSavable:
        with pytest.raises(Exception, match="Weights only load failed"):
            loaded(state)
    else:
        assert same(loaded(state), state)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            {"optimizer": {"mode": Mode.EAGER}},
            "state['optimizer']['mode']: tests.unit.training.saving.test_savable.Mode (IntEnum)",
        ),
        ({"torch": torch.__version__}, "state['torch']: torch.torch_version.TorchVersion"),
        ({"best": [0, Pair(1, 2)]}, "state['best'][1]: tests.unit.training.saving.test_savable.Pair"),
        ({"seen": frozenset()}, "state['seen']: frozenset is not read back from a snapshot; save a set or a list"),
        ({"loss": np.float64(1)}, "state['loss']: numpy.float64 is not read back from a snapshot; save .item() of it"),
        ({"rest": b""}, "state['rest']: empty bytes"),
        ({Mode.EAGER: 1}, "state (key <Mode.EAGER: 1>)"),
        ({"model": torch.nn.Linear(1, 1)}, "save its state_dict()"),
    ],
)
def test_a_refusal_says_where_it_is_and_what_to_save_instead(state: dict[Any, Any], said: str) -> None:
    with pytest.raises(StateNotSavable) as refused:
        check_savable(state)
    assert said in str(refused.value)


def test_what_hangs_on_a_state_dict_or_a_tensor_is_looked_at_too() -> None:
    state = torch.nn.Linear(1, 1).state_dict()
    check_savable(state)
    state._metadata[""]["version"] = Mode.EAGER  # type: ignore[attr-defined]
    with pytest.raises(StateNotSavable, match=r"state._metadata\[''\]\['version'\]"):
        check_savable(state)
    tensor = torch.ones(1)
    tensor.mode = Mode.EAGER  # type: ignore[attr-defined]
    with pytest.raises(StateNotSavable, match=r"state\['x'\].mode"):
        check_savable({"x": tensor})


def test_a_state_that_holds_itself_is_walked_once() -> None:
    state: dict[str, Any] = {"x": [1]}
    state["x"].append(state)
    check_savable(state)
    assert loaded(state)["x"][0] == 1


def test_a_class_that_the_script_has_declared_safe_is_taken() -> None:
    with torch.serialization.safe_globals([Labelled]):
        check_savable({"x": torch.ones(2).as_subclass(Labelled)})
        assert type(loaded({"x": torch.ones(2).as_subclass(Labelled)})["x"]) is Labelled


def test_a_file_is_checked_without_its_tensors(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(2)}, tmp_path / "good")
    check_saved(tmp_path / "good")
    torch.save({"x": Mode.EAGER}, tmp_path / "bad")
    with pytest.raises(StateNotSavable, match=r"holds tests.unit.training.saving.test_savable.Mode, which"):
        check_saved(tmp_path / "bad")


@pytest.fixture
def keeper(tmp_path: Path) -> tuple[SnapshotKeeper, RememberingHost]:
    launch = AttemptLaunch(runtime_id="rt-x", trial=1, attempt=1, attempt_directory=str(tmp_path))
    launch.snapshot_storage_uri = (tmp_path / "snapshots").as_uri()
    launch.configuration.snapshots.every_steps = 10
    host = RememberingHost(launch=launch)
    return SnapshotKeeper(launch, 0, 1, host), host


def test_a_state_that_is_refused_costs_the_snapshot_and_is_said_once(
    keeper: tuple[SnapshotKeeper, RememberingHost],
) -> None:
    """Training goes on, the next interval tries again, and a stop does not wait for what cannot be."""
    taker, host = keeper
    state: dict[str, Any] = {"mode": Mode.EAGER}
    taker.register(lambda: state)
    for step in (10, 20, 30):
        assert taker.due(step)
        taker.take(Boundary(step), DataState(), facts.SNAPSHOT_REASON_INTERVAL)
        assert not taker.can_snapshot(step), "the same state would be refused again"
    (started, failed) = host.facts
    assert isinstance(started, facts.SnapshotStarted) and isinstance(failed, facts.SnapshotFailed)
    assert failed.detail.startswith("StateNotSavable: state['mode']: ")
    assert [problem for problem, _ in host.warned] == ["snapshot"] and not host.lines
    state["mode"] = 1
    taker.take(Boundary(40), DataState(), facts.SNAPSHOT_REASON_INTERVAL)
    taker.wait()
    assert [type(fact).__name__ for fact in host.facts[2:]] == ["SnapshotStarted", "SnapshotCommitted"]


def test_a_loader_state_that_is_refused_is_left_out(
    keeper: tuple[SnapshotKeeper, RememberingHost], tmp_path: Path
) -> None:
    taker, host = keeper
    taker.register(lambda: {"x": 1})
    taker.take(Boundary(10), DataState(loader={"order": np.arange(3)}), facts.SNAPSHOT_REASON_INTERVAL)
    taker.wait()
    assert isinstance(host.facts[-1], facts.SnapshotCommitted)
    content = torch.load(tmp_path / "snapshots" / "step-000000000010-a1" / "rank-0.pt", weights_only=True)
    assert content["loader"] is None
    assert [problem for problem, _ in host.warned] == ["loader_state"]
    assert host.lines == ["snapshot step-000000000010-a1 committed"]
