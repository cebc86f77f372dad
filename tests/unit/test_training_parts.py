"""Parts of the training side, each by itself."""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from milepost.api.config.v1.configuration_pb2 import METRIC_MODE_MIN, KeepBest, SnapshotPolicy
from milepost.api.telemetry.v1.telemetry_pb2 import Sender, StepBatch
from milepost.training import buffer as buffers
from milepost.training import rng
from milepost.training import sender as sending
from milepost.training.batches import LARGEST_BATCH_BYTES, LARGEST_BATCH_STEPS, prepare
from milepost.training.buffer import StepBuffer
from milepost.training.data import DataFeed
from milepost.training.lines import LineFolder
from milepost.training.pace import StepPace
from milepost.training.parameters import BadParameter, Parameters, bind
from milepost.training.rng import RandomCapture
from milepost.training.sender import Allowance, TelemetrySender
from milepost.training.snapshot_policy import Candidate, Since, snapshot_due, snapshots_to_delete
from milepost.training.snapshots import Boundary
from milepost.training.spool import LOGS, STEPS, Dropped, Spool

SENDER = Sender(runtime_id="rt-x", trial=1, attempt=1, source="rank-0")
KEYS = st.sampled_from(["train/loss", "train/learning_rate", "eval/loss", "system/cpu_percent"])


def _build(size: int) -> object:
    return lambda number: ({"mp-number": str(number)}, bytes(size))


def test_more_series_than_are_recorded_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that invents a series at each step costs neither memory nor the series there were."""
    monkeypatch.setattr(buffers, "MAXIMUM_SERIES", 3)
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


def test_batches_stay_within_their_size_and_lose_nothing() -> None:
    """At most 4,096 steps and 384 KiB, in order."""
    buffer = StepBuffer(lambda problem, text: None)
    for step in range(1, 10_001):
        buffer.append(step, float(step), {f"series/{index}": float(step) for index in range(20)})
    parts = list(prepare(SENDER, buffer.take(), {}, 0, 0))
    bodies = [part.encode(number)[1] for number, part in enumerate(parts, start=1)]
    assert all(len(body) < LARGEST_BATCH_BYTES + 8192 for body in bodies)
    steps = [step for body in bodies for group in StepBatch.FromString(body).groups for step in array("q", group.steps)]
    assert steps == list(range(1, 10_001))
    assert all(sum(group.rows for group in part.groups) <= LARGEST_BATCH_STEPS for part in parts)


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


def test_a_spool_goes_on_with_its_numbers_after_a_restart(tmp_path: Path) -> None:
    """What was not stored is there again; an empty spool leaves no file."""
    spool = Spool(tmp_path / "spool.sqlite", SENDER)
    for _ in range(3):
        spool.put(STEPS, _build(10), 1)  # type: ignore[arg-type]
    spool.remove(STEPS, 1, 2)
    spool.close()
    again = Spool(tmp_path / "spool.sqlite", SENDER)
    assert list(again.held(STEPS)) == [3]
    assert again.put(STEPS, _build(10), 1).number == 4  # type: ignore[arg-type]
    again.remove(STEPS, 1, 9)
    again.close()
    assert not list(tmp_path.iterdir())


def test_a_full_spool_gives_up_the_oldest_steps_by_name(tmp_path: Path) -> None:
    """Each leaves a tombstone with its number; logs stay; what was given up is told."""
    told: list[Dropped] = []
    spool = Spool(tmp_path / "spool.sqlite", SENDER, limit_bytes=5000, on_drop=told.append)
    spool.put(LOGS, _build(1000), 1)  # type: ignore[arg-type]
    for step in range(1, 11):
        spool.put(STEPS, _build(1000), 7, step, step)  # type: ignore[arg-type]
    assert list(spool.held(STEPS)) == list(range(1, 11))
    dropped = [number for number, held in spool.held(STEPS).items() if held.dropped]
    assert dropped == list(range(1, len(dropped) + 1))
    assert sum(drop.items for drop in told) == 7 * len(dropped)
    entry = spool.get(STEPS, 1)
    assert entry is not None
    assert StepBatch.FromString(entry.body).tombstone.point_count == 7
    log = spool.get(LOGS, 1)
    assert log is not None
    assert not log.dropped
    spool.close()


def test_lines_that_take_most_of_a_full_spool_go_before_points(tmp_path: Path) -> None:
    """A run that prints without end does not lose its curves for it."""
    told: list[Dropped] = []
    spool = Spool(tmp_path / "spool.sqlite", SENDER, limit_bytes=5000, on_drop=told.append)
    spool.put(STEPS, _build(1000), 7, 1, 1)  # type: ignore[arg-type]
    for _ in range(10):
        spool.put(LOGS, _build(1000), 5)  # type: ignore[arg-type]
    assert not spool.held(STEPS)[1].dropped
    assert {drop.kind for drop in told} == {LOGS}
    assert sum(drop.items for drop in told) == 5 * sum(held.dropped for held in spool.held(LOGS).values())
    spool.close()


class NoBroker:
    """Stands for a connection whose broker takes everything."""

    def on_renewal(self, listener: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    async def subscribe(self, subject: str) -> AsyncIterator[Any]:
        async def nothing() -> AsyncIterator[Any]:
            await asyncio.Event().wait()
            yield

        return nothing()


async def test_lines_beyond_their_allowance_wait_and_points_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    class Taken:
        def __init__(self, connection: NoBroker) -> None:
            pass

        async def publish(self, subject: str, body: bytes, headers: dict[str, str], seconds: float) -> None:
            sent.append(subject)

    monkeypatch.setattr(sending, "Telemetry", Taken)
    spool = Spool(tmp_path / "spool.sqlite", SENDER)
    sender = TelemetrySender(spool, logs=Allowance(burst=1500, per_second=0.0))
    for _ in range(4):
        spool.put(LOGS, _build(1000), 1)  # type: ignore[arg-type]
    spool.put(STEPS, _build(1000), 1, 1, 1)  # type: ignore[arg-type]
    running = asyncio.create_task(sender.run(NoBroker()))  # type: ignore[arg-type]
    try:
        while not next(iter(spool.held(STEPS).values())).acknowledged:
            await asyncio.sleep(0.01)
        assert (len(sent), sender.unacknowledged()) == (3, 2)
        assert await sender.wait_sent(10.0), "the end does not wait for an allowance"
        assert len(sent) == 5
    finally:
        running.cancel()
    spool.close()


def test_an_allowance_comes_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(sending.time, "monotonic", lambda: now)
    allowance = Allowance(burst=100.0, per_second=10.0)
    allowance.spend(130)
    assert not allowance.has_room()
    now += 3.0
    assert not allowance.has_room()
    now += 1.0
    assert allowance.has_room()
    now += 1_000.0
    allowance.has_room()
    allowance.spend(100)
    assert not allowance.has_room(), "no more than the burst is saved up"


def test_random_states_come_back_however_they_were_drawn_from() -> None:
    capture = RandomCapture()
    random.gauss(0, 1)
    torch.rand(3)
    state = rng.from_plain(rng.to_plain(capture.capture()))
    first = (random.random(), random.gauss(0, 1), torch.rand(2).tolist())
    capture.capture()
    rng.restore(state)
    assert (random.random(), random.gauss(0, 1), torch.rand(2).tolist()) == first


@pytest.mark.parametrize("done", [0, 1, 5, 8])
def test_an_epoch_goes_on_in_the_same_order(done: int) -> None:
    """After a resume a shuffled loader gives the batches that were not done, and the generators go on the same."""
    capture = RandomCapture()
    loader = torch.utils.data.DataLoader(torch.arange(16), batch_size=2, shuffle=True)
    torch.manual_seed(3)
    feed = DataFeed(capture)
    iterator = feed.begin(loader, Boundary(0), lambda count: None)
    for _ in range(done):
        next(iterator)
        torch.rand(1)
    boundary = Boundary(done, 0, done, capture.capture())
    state = feed.state()
    rest, after = [batch.tolist() for batch in iterator], torch.rand(1).item()
    torch.manual_seed(99)
    resumed = DataFeed(capture)
    resumed.restore(state)
    again = resumed.begin(loader, boundary, lambda count: None)
    assert [batch.tolist() for batch in again] == rest
    assert torch.rand(1).item() == after


def test_retention_keeps_the_last_and_the_best() -> None:
    policy = SnapshotPolicy(keep_last=2, keep_best=KeepBest(metric="eval/loss", mode=METRIC_MODE_MIN))
    losses = {10: 3.0, 20: 1.0, 30: float("nan"), 40: 2.0, 50: 1.5}
    candidates = [Candidate(str(step), step, {"eval/loss": loss}) for step, loss in losses.items()]
    assert snapshots_to_delete(policy, candidates) == ["10", "30"]
    assert snapshots_to_delete(policy, [*candidates, Candidate("45", 45, superseded=True)]) == ["10", "30", "45"]


def test_a_snapshot_is_due_when_the_first_interval_ends() -> None:
    policy = SnapshotPolicy(every_steps=10, every_minutes=1)
    assert not snapshot_due(policy, Since(9, 0, 59))
    assert snapshot_due(policy, Since(10, 0, 0))
    assert snapshot_due(policy, Since(1, 0, 60))
    assert not snapshot_due(policy, Since(0, 0, 600))
    assert not snapshot_due(SnapshotPolicy(), Since(10**6, 10, 10**6))


def test_what_a_carriage_return_writes_over_is_folded() -> None:
    folder = LineFolder()
    assert folder.feed(b"a\nb\r10%\r20%\r") == ["a"]
    assert folder.feed(b"30%\nlast") == ["30%"]
    assert folder.end() == ["last"]


def test_parameters_must_be_those_that_the_entrypoint_names() -> None:
    def train(trial: object, *, rate: float, steps: int = 3) -> None: ...

    assert bind(train, Parameters({"rate": "0.1"})) == {"rate": 0.1}
    with pytest.raises(BadParameter, match="takes no parameter speed"):
        bind(train, Parameters({"rate": "0.1", "speed": "1"}))
    with pytest.raises(BadParameter, match="needs rate"):
        bind(train, Parameters({}))


def test_the_usual_step_time_is_not_that_of_a_pause_or_an_evaluation() -> None:
    """One look a second; ten steps of 50 ms in each, then a minute in which nothing happens, then an evaluation."""
    pace = StepPace()
    pace.look(5, 1.0, 0.0)
    assert pace.usual_seconds == 0.0, "nothing is measured before it begins"
    pace.begin(0, 0.0, 0.0)
    for second in range(1, 10):
        pace.look(10 * second, 0.5 * second, 0.0)
        assert (pace.usual_seconds > 0) == (second >= 3)
    pace.look(90, 60.0, 0.0)
    pace.look(100, 64.5, 0.0)
    pace.look(110, 95.0, 30.0)
    assert pace.usual_seconds == pytest.approx(0.05)


def test_the_usual_time_of_slow_steps_is_known_too() -> None:
    pace = StepPace()
    pace.begin(7, 0.0, 0.0)
    for second in range(100):
        pace.look(7 + second // 20, float(second), 0.0)
    assert pace.usual_seconds == pytest.approx(20.0)
