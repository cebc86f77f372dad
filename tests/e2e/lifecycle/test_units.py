"""What a step, an epoch and the end of a plan are, in scripts of one's own, on a running stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from milepost.api.runtime.v1.runtime_service_pb2 import (
    RUNTIME_STATUS_ABORTED,
    ListRuntimesRequest,
    ListSnapshotsRequest,
)
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.training.script.resume import runtime_id_of
from tests.e2e.scripts.test_guides import completed, name_in
from tests.e2e.stack import ROOT, StackProcess, until
from tests.support.programs.guides import run_program
from tests.support.servers.ports import free_ports


def run(stack: StackProcess, program: str, folder: Path) -> str:
    """Run a program. Returns the name of its runtime."""
    done = run_program(program, folder, {"MILEPOST_DATA_DIR": str(stack.data_dir)})
    assert done.returncode == 0, done.stderr
    return name_in(done.stderr)


def messages(stack: StackProcess, name: str, kind: str) -> list[str]:
    return [event.message for event in stack.events(name) if kind in event.type]


LEAVES_EARLY = """
import milepost
trial = milepost.init(name="leaves early", total_steps=128)
batches = list(range(64))
for epoch in range(3):
    for batch in trial.track(batches):
        trial.log({"train/loss": 1.0})
        if batch == 19 and epoch != 1:
            break
"""


def test_an_epoch_that_is_left_is_no_completed_one_and_an_early_end_says_so(
    stack: StackProcess, tmp_path: Path
) -> None:
    name = run(stack, LEAVES_EARLY, tmp_path)
    assert completed(stack, name).reason == "Completed: ended early by the script at 104 of 128"
    assert messages(stack, name, "epoch_completed") == [
        "Epoch 0 left by the script after batch 20 of 64, at step 20",
        "Epoch 1 completed at step 84",
    ]
    shown = stack.milepost("runtime", "get", name.removeprefix("runtimes/"))
    assert "ended early by the script at 104 of 128" in shown.stdout
    assert stack.trial(name).reason == "Completed: ended early by the script at 104 of 128"


COUNTS_FROM_ZERO = """
import milepost
trial = milepost.init(name="from zero", total_steps=20)
for step in range(20):
    milepost.log({"train/loss": 1.0}, step=step)
"""


def test_a_plan_that_is_counted_from_zero_is_done_at_its_last_step(stack: StackProcess, tmp_path: Path) -> None:
    name = run(stack, COUNTS_FROM_ZERO, tmp_path)
    assert completed(stack, name).reason == "Completed: every trial completed"
    assert stack.trial(name).status == trial_api.TRIAL_STATUS_COMPLETED


SPAWNED = """
import os, sys, time
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import milepost

def train(rank, order, steps):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ["PORT"])
    if order == "before":
        trial = milepost.init(name="spawned", total_steps=steps, parameters={"rate": 0.1})
    dist.init_process_group("gloo", rank=rank, world_size=2)
    if order == "after":
        trial = milepost.init(name="spawned", total_steps=steps, parameters={"rate": 0.1})
    assert trial.parameters["rate"] == 0.1
    done = 0
    for step in range(steps):
        time.sleep(0.02)
        loss = torch.tensor(float(rank))
        dist.all_reduce(loss)
        done += 1
        trial.log({"train/loss": loss / 2})
        if trial.should_stop():
            break
    # In one piece: the two print to one pipe, unbuffered where the tests are.
    sys.stdout.write(f"rank {rank} did {done} of {trial.runtime_id} as {trial.rank} of {trial.world_size}\\n")
    sys.stdout.flush()

if __name__ == "__main__":
    mp.spawn(train, (sys.argv[1], int(sys.argv[2])), nprocs=2)
"""


def spawned(folder: Path, stack: StackProcess, order: str, steps: int) -> subprocess.Popen[str]:
    (folder / "train.py").write_text(SPAWNED)
    (port,) = free_ports(1)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(stack.data_dir), "PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "train.py", order, str(steps)], cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("order", ["before", "after"])
def test_processes_that_torch_spawns_are_one_run_and_stop_at_one_step(
    stack: StackProcess, tmp_path: Path, order: str
) -> None:
    """Whether `init` comes before or after `init_process_group`; a stop ends both, with nothing lost in between."""
    known = {runtime.name for runtime in stack.client.runtimes.ListRuntimes(ListRuntimesRequest()).runtimes}
    process = spawned(tmp_path, stack, order, 100_000)

    def new() -> list[str]:
        found = stack.client.runtimes.ListRuntimes(ListRuntimesRequest()).runtimes
        return [runtime.name for runtime in found if runtime.name not in known]

    name = until(lambda: next(iter(new()), None), "the run begins")
    stack.wait_for_step(name, 3)
    stack.client.stop_runtime(name)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    ended = stack.wait_for_end(name)
    assert ended.status == RUNTIME_STATUS_ABORTED, ended.reason
    said = re.findall(r"rank (\d) did (\d+) of (\S+) as (\d) of 2", out)
    assert sorted(rank for rank, *_ in said) == ["0", "1"], out + err
    (steps, runtime_id) = {(int(done), runtime_id) for _, done, runtime_id, _ in said}.pop()
    assert len({done for _, done, *_ in said}) == 1, out
    assert runtime_id == name.removeprefix("runtimes/")
    assert list(stack.series(name, "train/loss").items()) == [(step, 0.5) for step in range(1, steps + 1)]
    assert new() == [name], "one run"


ON_HOSTS = """
import os, sys, time
import torch
import torch.distributed as dist
import milepost

how, name, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
def begin():
    return milepost.init(name="on hosts", id=name, resume="allow", snapshots={"every_steps": 20})
if how == "environment":
    # As `srun` and `mpirun` do with a line in between: what torchrun would set, and nobody but the group itself.
    trial = begin()
    dist.init_process_group("gloo")
else:
    rank = int(os.environ.pop("RANK"))
    address = f"tcp://{os.environ.pop('MASTER_ADDR')}:{os.environ.pop('MASTER_PORT')}"
    dist.init_process_group("gloo", rank=rank, world_size=int(os.environ.pop("WORLD_SIZE")), init_method=address)
    trial = begin()
rank = dist.get_rank()
state = trial.restore()
done = state["step"] if state else 0
begun = done
try:
    while done < steps:
        time.sleep(0.02)
        loss = torch.tensor(float(rank))
        dist.all_reduce(loss)
        done += 1
        trial.log({"train/loss": loss / 2 + trial.attempt})
        trial.maybe_snapshot(lambda: {"step": done})
finally:
    print("rank", rank, "did", begun, "to", done, "of", trial.runtime_id, flush=True)
"""


@contextmanager
def on_hosts(
    folder: Path, stack: StackProcess, how: str, name: str, steps: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that nobody but PyTorch's process group binds, each with a data folder of its own."""
    (folder / "train.py").write_text(ON_HOSTS)
    (port,) = free_ports(1)
    processes = []
    for rank in range(2):
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2",
            "MILEPOST_DATA_DIR": str(folder / f"host-{rank}"),
        }  # fmt: skip
        if rank == 0:
            environment["MILEPOST_RUNTIME_ADDRESS"] = stack.endpoints.runtime
            environment["MILEPOST_NATS_URL"] = stack.endpoints.nats
            environment["MILEPOST_KEYS_DIR"] = str(stack.data_dir / "keys")
        command = [sys.executable, "train.py", how, name, str(steps)]
        started = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        processes.append(started)
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("how", ["environment", "by hand"])
def test_processes_on_two_hosts_are_one_run_that_is_killed_goes_on_and_stops_at_one_step(
    stack: StackProcess, tmp_path: Path, how: str
) -> None:
    """Nothing but the group is between them: no launcher, no folder and no server that the second one could write to."""
    job = f"hosts {how}"
    name = f"runtimes/{runtime_id_of(job)}"

    def snapshots() -> list[int]:
        request = ListSnapshotsRequest(parent=f"{name}/trials/1")
        return [one.step for one in stack.client.runtimes.ListSnapshots(request).snapshots]

    with on_hosts(tmp_path, stack, how, job, 100_000) as processes:
        until(lambda: known(stack, name) and max(snapshots(), default=0) >= 20, "the first attempt has a snapshot")
        for process in processes:
            process.kill()
    with on_hosts(tmp_path, stack, how, job, 100_000) as processes:
        until(lambda: has_begun_again(stack, name), "it goes on")
        stack.client.stop_runtime(name)
        said = [process.communicate(timeout=120) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], said
    ended = stack.wait_for_end(name)
    assert ended.status == RUNTIME_STATUS_ABORTED, ended.reason
    did = re.findall(r"rank (\d) did (\d+) to (\d+) of (\S+)", said[0][0] + said[1][0])
    assert [rank for rank, *_ in did] == ["0", "1"], said
    assert len({tuple(rest) for _, *rest in did}) == 1, said
    (first, last) = map(int, did[0][1:3])
    assert first % 20 == 0 and did[0][3] == name.removeprefix("runtimes/")
    values = stack.series(name, "train/loss")
    assert values == {step: 1.5 if step <= first else 2.5 for step in range(1, last + 1)}
    assert not list((tmp_path / "host-1").rglob("*")), "the other host writes nothing"


def has_begun_again(stack: StackProcess, name: str) -> bool:
    """Whether a step of a second attempt is stored."""
    return 2.5 in stack.series(name, "train/loss").values()


def known(stack: StackProcess, name: str) -> bool:
    return name in {runtime.name for runtime in stack.client.runtimes.ListRuntimes(ListRuntimesRequest()).runtimes}
