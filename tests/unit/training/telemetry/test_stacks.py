"""What threads are doing, seen from beside them."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.training.telemetry.stalling import stacks
from milepost.training.telemetry.stalling.watch import StallWatch


class Standing:
    """A thread that has come to where it waits."""

    def __init__(self, work: Callable[[threading.Event, threading.Event], None]) -> None:
        self._here, self._go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=work, args=(self._here, self._go), name="loop", daemon=True)

    def __enter__(self) -> threading.Thread:
        self.thread.start()
        assert self._here.wait(60)
        return self.thread

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self.thread.join(60)


def computes(here: threading.Event, go: threading.Event) -> None:
    here.set()
    go.wait()


class Slow(torch.utils.data.Dataset[int]):
    def __init__(self, here: threading.Event, go: threading.Event) -> None:
        self._here, self._go = here, go

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        self._here.set()
        self._go.wait()
        return index


def loads(here: threading.Event, go: threading.Event) -> None:
    list(torch.utils.data.DataLoader(Slow(here, go)))


class Stubborn:
    """What takes its time to be saved."""

    def __init__(self, here: threading.Event, go: threading.Event) -> None:
        self._here, self._go = here, go

    def __reduce__(self) -> tuple[type, tuple[()]]:
        self._here.set()
        self._go.wait()
        return (int, ())


def saves(here: threading.Event, go: threading.Event) -> None:
    with Path("/dev/null").open("wb") as file:
        torch.save({"state": Stubborn(here, go)}, file)


@pytest.mark.parametrize(
    ("work", "place", "function"),
    [
        (computes, facts.STACK_PLACE_CODE, "computes"),
        (loads, facts.STACK_PLACE_DATA_LOADER, "__getitem__"),
        (saves, facts.STACK_PLACE_STORAGE, "__reduce__"),
    ],
)
def test_where_a_loop_waits_is_told_by_its_calls(
    work: Callable[[threading.Event, threading.Event], None], place: int, function: str
) -> None:
    with Standing(work) as thread:
        found = stacks.record(thread)
    assert found.place == place
    assert found.frame.startswith("tests/unit/training/telemetry/test_stacks.py:")
    assert found.frame.endswith(f" in {function}")
    first, *others = found.text.split("\n\n")
    assert first.splitlines()[0].startswith("loop (trains"), "the loop comes first"
    assert f"in {work.__name__}" in first
    assert any(part.startswith("MainThread") for part in others)


def test_a_rank_in_a_collective_is_known_by_its_backward_pass_and_by_the_flight_recorder() -> None:
    frames = [
        stacks.Frame("train.py", 7, "train", own=True),
        stacks.Frame("torch/_tensor.py", 1, "backward", own=False),
        stacks.Frame("torch/autograd/graph.py", 1, "_engine_run_backward", own=False),
    ]
    assert stacks.place(frames, in_group=True) == facts.STACK_PLACE_COLLECTIVE
    assert stacks.place(frames, in_group=False) == facts.STACK_PLACE_CODE, "nobody else takes part"
    hook = stacks.Frame("train.py", 9, "hook", own=True)
    assert stacks.place([*frames, hook], in_group=True) == facts.STACK_PLACE_CODE, "its own code is run within"
    barrier = stacks.Frame("torch/distributed/distributed_c10d.py", 1, "barrier", own=False)
    assert stacks.place([frames[0], barrier], in_group=True) == facts.STACK_PLACE_COLLECTIVE
    assert stacks.place([frames[0]], in_group=True, asleep_on_disk=True) == facts.STACK_PLACE_STORAGE


def test_the_flight_recorder_of_the_pytorch_that_is_here_is_read() -> None:
    """A group of one, in a process of its own: the state of process groups is that of the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"""
import torch, torch.distributed as dist
from milepost.training.telemetry.stalling import stacks
assert stacks.process_groups() == []
dist.init_process_group("gloo", init_method="tcp://127.0.0.1:{port}", rank=0, world_size=1)
dist.all_reduce(torch.ones(1)); dist.broadcast(torch.ones(1), 0)
(group,) = stacks.process_groups()
# That it is done is noted a moment later.
assert group.completed in (1, 2)
print(group.enqueued, group.operation)
"""

    async def run() -> str:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        return out.decode().strip()

    assert asyncio.run(run()) == "2 broadcast"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pg_status": 3}', '{"pg_status": {"0": {}}}'])
def test_a_flight_recorder_that_writes_otherwise_is_passed_over(text: str) -> None:
    assert stacks.parse_groups(text) == []


def test_what_is_said_is_bounded_and_says_so() -> None:
    def deep(depth: int, here: threading.Event, go: threading.Event) -> None:
        if depth:
            deep(depth - 1, here, go)
        else:
            computes(here, go)

    with Standing(lambda here, go: deep(400, here, go)) as thread:
        found = stacks.record(thread)
    assert "outer calls" in found.text and found.text.count("in deep") <= stacks.MAX_FRAMES
    assert stacks.max_text_bytes(1) == stacks.MAX_TEXT_BYTES
    assert stacks.max_text_bytes(1_000) * 1_000 <= 1 << 20
    text = stacks.cut("line\n" * 1_000, 1_024)
    assert len(text.encode()) <= 1_024 and text.endswith("bytes left out")


def test_a_stall_is_recorded_once_and_another_one_again() -> None:
    told: list[Message] = []
    watch = StallWatch(3, 1, 2, 0.0, told.append)

    async def pauses() -> None:
        await watch.look(7, 0.1, 29.0, "training")
        assert told == [], "a pause of less than 30 s is none"
        for idle in (31.0, 33.0):
            await watch.look(7, 0.1, idle, "training")
        await watch.look(8, 0.1, 0.0, "training")
        await watch.look(8, 0.1, 40.0, "training")
        await watch.look(9, 5.0, 40.0, "training")
        await watch.look(10, 0.1, 40.0, "starting")
        await watch.look(0, 0.0, 599.0, "starting")
        assert len(told) == 2
        await watch.look(0, 0.0, 601.0, "starting")

    asyncio.run(pauses())
    said = [
        (fact.attempt, fact.rank, fact.step, fact.requested) for fact in told if isinstance(fact, facts.StacksRecorded)
    ]
    assert said == [(3, 1, 7, False), (3, 1, 8, False), (3, 1, 0, False)]


def test_of_another_process_it_is_said_that_it_cannot_be_seen() -> None:
    told: list[Message] = []
    watch = StallWatch(1, 0, 1, 0.0, told.append)
    watch.elsewhere = 4242

    async def ask() -> None:
        await watch.look(7, 0.1, 100.0, "training")
        await watch.record(7, 0.0, requested=True)

    asyncio.run(ask())
    (fact,) = told
    assert isinstance(fact, facts.StacksRecorded)
    assert fact.requested and "process 4242 trains" in fact.text and fact.frame == ""
