"""Scripts of one's own: `milepost.init()` with a server, without one, and `sync` afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from milepost.domain import runtime, trial
from milepost.eventlog.connection import Connection, connect
from milepost.eventlog.streams import ensure_streams
from services.runtime.application import Application, Options
from services.runtime.placement_policy import Capacity
from tests.attempts import Writer
from tests.servers import NatsServer

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "tests" / "assets" / "script.py"
SECONDS = 60.0


@pytest.fixture
async def own(nats_server: NatsServer) -> AsyncIterator[Connection]:
    async with await connect(nats_server.url) as connection:
        await ensure_streams(connection)
        yield connection


@pytest.fixture
async def service(own: Connection, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Application]:
    """A runtime service on a broker of its own."""
    options = Options(
        listen="127.0.0.1:0",
        data_dir=tmp_path,
        nats_url=nats_server.url,
        metrics_address="",
        trials_address="",
        capacity=Capacity("here", 2, 4),
    )
    application = Application(options)
    await application.start()
    yield application
    await application.stop()


async def run_script(tmp_path: Path, environment: dict[str, str], *arguments: str, code: str = "") -> tuple[int, str]:
    """Run the script, or a line of Python. Returns its exit status and what it wrote on stderr."""
    command = [sys.executable, "-c", code] if code else [sys.executable, str(SCRIPT), *arguments]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(tmp_path), **environment},
    )
    async with asyncio.timeout(SECONDS):
        _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def wait_ended(service: Application) -> tuple[runtime.Runtime, trial.Trial]:
    """Wait until the only runtime has ended."""
    deadline = asyncio.get_running_loop().time() + SECONDS
    while asyncio.get_running_loop().time() < deadline:
        for view in service.views.runtimes.values():
            if view.state.phase is runtime.Phase.ENDED:
                return view.state, view.trials[1].state
        await asyncio.sleep(0.05)
    raise AssertionError([(v.state.phase, v.trials) for v in service.views.runtimes.values()])


def reachable(service: Application, nats: NatsServer) -> dict[str, str]:
    return {"MILEPOST_RUNTIME_ADDRESS": f"127.0.0.1:{service.port}", "MILEPOST_NATS_URL": nats.url}


async def test_a_plain_script_becomes_a_runtime(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Two lines, no runtime started beforehand: plan, every step, output and the end are recorded."""
    async with Writer(own, "*") as writer:
        status, errors = await run_script(tmp_path, reachable(service, nats_server))
        assert status == 0, errors
        ended, state = await wait_ended(service)
    assert ended.status is runtime.Status.COMPLETED, errors
    assert ended.configuration is not None
    assert ended.configuration.name == "mine"
    assert state.plan.total_steps == 20
    assert writer.points("train/loss")[1] == {step: 1.0 / step for step in range(1, 21)}
    assert "hello from the script" in writer.text()
    assert f"/runtimes/{ended.runtime_id}" in errors
    assert not list(tmp_path.glob("runtimes/*/trial-1/attempt-1/spool-*"))


async def test_a_script_that_raises_is_a_failed_runtime(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    addresses = reachable(service, nats_server)
    # One of the two replicas is away.
    addresses["MILEPOST_RUNTIME_ADDRESS"] = f"ipv4:127.0.0.1:9,{addresses['MILEPOST_RUNTIME_ADDRESS']}"
    async with Writer(own, "*"):
        status, _ = await run_script(tmp_path, addresses, "fail")
        assert status == 1
        ended, state = await wait_ended(service)
    assert ended.status is runtime.Status.FAILED
    assert isinstance(state.situation, trial.Failed)
    assert "RuntimeError: no more data" in state.situation.detail


async def test_a_script_without_a_server_is_sent_later(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """It trains as if nothing were wrong, says so once, and loses nothing."""
    nowhere = {"MILEPOST_RUNTIME_ADDRESS": "127.0.0.1:9", "MILEPOST_NATS_URL": "nats://127.0.0.1:9"}
    status, errors = await run_script(tmp_path, nowhere)
    assert status == 0, errors
    assert errors.count("training goes on") == 1, errors
    assert "`milepost sync` sends them" in errors
    async with Writer(own, "*") as writer:
        code = "import milepost; print(milepost.sync(seconds=20), file=__import__('sys').stderr)"
        status, errors = await run_script(tmp_path, reachable(service, nats_server), code=code)
        assert status == 0, errors
        ended, _ = await wait_ended(service)
    assert "Synced(runs=1, events_left=0, batches_left=0)" in errors
    assert ended.status is runtime.Status.COMPLETED
    assert writer.points("train/loss")[1] == {step: 1.0 / step for step in range(1, 21)}
