"""Scripts that torchrun starts: one process records, all stop at the same step, and the numbers are those of one process."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

from milepost.api.training.v1.training_pb2 import SteerInstruction
from milepost.client import Client
from milepost.domain import runtime, trial
from milepost.eventlog.nats.connection import Connection
from milepost.installation.endpoints import Endpoints
from milepost.training.loop.stop import StopOrder
from milepost.training.script.group import GroupLink, Place
from services.runtime.application import Application
from tests.assets import group_loop
from tests.integration.scripts.test_external import NOWHERE, ROOT, own, reachable, service, wait_ended
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import Writer

__all__ = ["own", "service"]
# Ends while threads that follow a stop are asking the store, as often as they can.
ENDING_SCRIPT = """
import time
from torch.distributed import TCPStore
from milepost.training.script import group
group._POLL_SECONDS = 0.0005
master = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
for _ in range(6):
    store = TCPStore("127.0.0.1", master.port, is_master=False, wait_for_workers=False)
    group.GroupLink(store, group.Place(1, 2)).follow(print, print)
time.sleep(0.2)
"""
SECONDS = 100.0
RANKS = 2


LOOP = ROOT / "tests" / "assets" / "group_loop.py"


async def start_group(
    tmp_path: Path, environment: dict[str, str], *arguments: object, script: Path = LOOP
) -> asyncio.subprocess.Process:
    """Start the loop under torchrun with two processes."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}",
        str(script), *map(str, arguments),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(tmp_path), "OMP_NUM_THREADS": "1",
            **environment,
        },
    )  # fmt: skip


async def output_of(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    return output.decode(errors="replace")


@pytest.fixture
async def written(own: Connection) -> AsyncIterator[Writer]:
    async with Writer(own, "*") as writer:
        yield writer


def computed(precision: str, steps: int) -> list[tuple[float, float, float]]:
    """Train on the whole batch in one process. Returns loss, gradient norm and learning rate of each step."""
    model = group_loop.make_model()
    inputs, targets = group_loop.data(steps, RANKS)
    size = group_loop.MICRO_BATCHES * group_loop.MICRO_SIZE * RANKS
    rate, found = 0.1, []
    for step in range(steps):
        rows = slice(step * size, (step + 1) * size)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = torch.nn.functional.mse_loss(model(inputs[rows]), targets[rows])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = float(torch.sqrt(sum((g.double() ** 2).sum() for g in gradients)))  # type: ignore[arg-type]
        found.append((float(loss), norm, rate * (1.0 - 0.5 * step / steps)))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= found[-1][2] * gradient * min(1.0, 0.5 / (norm + 1e-6))
    return found


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 3e-2)])
async def test_a_group_logs_what_one_process_computes(
    precision: str,
    tolerance: float,
    service: Application,
    written: Writer,
    nats_server: NatsServer,
    tmp_path: Path,
) -> None:
    """Steps, batches, loss over ranks and micro-batches, gradient norm before clipping, learning rate."""
    steps = 8
    process = await start_group(tmp_path, reachable(service, nats_server), precision, steps, 0, "", -1)
    output = await output_of(process)
    assert process.returncode == 0, output
    ended, state = await wait_ended(service)
    assert len(service.views.runtimes) == 1, "only rank 0 registers"
    assert ended.status is runtime.Status.COMPLETED, output
    assert state.plan.total_steps == steps
    expected = computed(precision, steps)
    for index, key in enumerate(("train/loss", "train/grad_norm", "train/learning_rate")):
        points = written.points(key)[1]
        assert list(points) == list(range(1, steps + 1)), f"{key}: every step once"
        assert list(points.values()) == pytest.approx([row[index] for row in expected], rel=tolerance)
    assert max(int(headers["mp-batch"]) for headers in written.headers) == steps * group_loop.MICRO_BATCHES
    assert output.count("did 8 steps") == RANKS


# Put before the loop: nothing can be written anywhere.
NO_PLACE = """
import types
from milepost.training.script import opening
def refuse(**about):
    raise OSError("no space")
opening.tempfile = types.SimpleNamespace(mkdtemp=refuse)
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("head", "said"), [("", "the data folder {} cannot be written"), (NO_PLACE, "nothing of this run is recorded")]
)
async def test_a_group_that_has_no_folder_trains_to_its_end(head: str, said: str, tmp_path: Path) -> None:
    """Where there is a temporary folder the run waits in it; the processes of the other ranks wait for nobody."""
    (tmp_path / "file").write_text("no folder")
    folder = tmp_path / "file" / "below"
    script = tmp_path / "loop.py"
    script.write_text(head + LOOP.read_text())
    environment = {**NOWHERE, "MILEPOST_DATA_DIR": str(folder)}
    process = await start_group(tmp_path, environment, "float32", 4, 0, tmp_path, -1, script=script)
    output = await output_of(process)
    assert process.returncode == 0, output
    assert output.count("did 4 steps") == RANKS
    assert output.count(said.format(folder)) == 1, output


async def test_a_stop_ends_all_processes_after_the_same_step(
    service: Application,
    written: Writer,
    nats_server: NatsServer,
    tmp_path: Path,
) -> None:
    """The snapshot is committed, no process is left waiting for another, and torchrun ends well."""
    process = await start_group(tmp_path, reachable(service, nats_server), "float32", 100_000, 0.02, "yes", -1)
    async with asyncio.timeout(SECONDS):
        while not written.points("train/loss").get(1):
            assert process.returncode is None, await output_of(process)
            await asyncio.sleep(0.05)
    runtime_id = next(iter(service.views.runtimes))
    with Client(Endpoints(runtime=f"127.0.0.1:{service.port}")) as client:
        await asyncio.to_thread(client.stop_runtime, f"runtimes/{runtime_id}")
    output = await output_of(process)
    assert process.returncode == 0, output
    ended, state = await wait_ended(service)
    assert ended.status is runtime.Status.ABORTED
    assert isinstance(state.situation, trial.Stopped)
    assert [snapshot.step for snapshot in state.snapshots] == [max(written.points("train/loss")[1])]


async def test_a_rank_that_fails_is_named(
    service: Application,
    written: Writer,
    nats_server: NatsServer,
    tmp_path: Path,
) -> None:
    """The recording process is ended by torchrun, and says what ended the other one."""
    process = await start_group(tmp_path, reachable(service, nats_server), "float32", 50, 0.01, "", 1)
    output = await output_of(process)
    assert process.returncode == 1, output
    ended, state = await wait_ended(service)
    assert ended.status is runtime.Status.FAILED
    assert isinstance(state.situation, trial.Failed)
    assert re.search(r"rank 1: RuntimeError: this rank gives up", state.situation.detail), state.situation.detail


async def test_a_process_that_follows_a_stop_ends_as_its_script_does() -> None:
    """Not aborted, with all of its group, because a thread came back from the store into an ending interpreter."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENDING_SCRIPT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert (await output_of(process), process.returncode) == ("", 0)


async def test_a_change_of_values_reaches_every_process_before_it_is_carried_out() -> None:
    """And is told once, in order; a stop behind it is heard, too."""
    master = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    stores = [TCPStore("127.0.0.1", master.port, is_master=False, wait_for_workers=False) for _ in range(2)]
    first, second = (GroupLink(store, Place(rank, 2)) for rank, store in enumerate(stores))
    told: list[SteerInstruction] = []
    stops: list[StopOrder] = []
    second.follow(stops.append, told.append)
    orders = [
        SteerInstruction(number=number, step=step, parameters={"rate": "0.5"}) for number, step in ((1, 4), (2, 9))
    ]
    for number, order in enumerate(orders, 1):
        assert await asyncio.to_thread(first.agree_to_steer, order)
        assert told == orders[:number]
    assert await asyncio.to_thread(first.agree_to_stop, 12)
    assert [order.step for order in stops] == [12]
