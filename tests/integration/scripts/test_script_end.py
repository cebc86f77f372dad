"""The end of a script: it waits for a server that answers, not for one that does not, and says nothing of its insides."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path

import grpc.aio
import pytest

from milepost.eventlog.codec import decode
from milepost.training.spooling.journal import driver_spool_path
from milepost.training.spooling.owner import Life, look, owner_file
from milepost.training.spooling.spool import open_left
from milepost.training.user_code.ending import ServerWatch, ask_nats, ask_service
from tests.support.servers.metrics_service import ROOT
from tests.support.servers.servers import NatsServer

NOWHERE = "127.0.0.1:9"


class SilentServer:
    """Takes connections and says nothing, as the kernel does for a process that hangs."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.asked.set()

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server is not None
        for writer in self._writers:
            writer.close()
        self._server.close()


@pytest.fixture
async def silent() -> AsyncIterator[SilentServer]:
    server = SilentServer()
    await server.start()
    yield server
    await server.close()


async def test_the_end_waits_for_a_server_that_answers(nats_server: NatsServer) -> None:
    """And stops waiting when it hangs."""
    watch = ServerWatch(partial(ask_nats, f"nats://{NOWHERE},{nats_server.url}"), was_there=lambda: False)
    watch.start()
    work = asyncio.Event()
    waiting = asyncio.create_task(watch.while_answered(work.wait(), 60.0))
    done, _ = await asyncio.wait({waiting}, timeout=3.0)
    assert not done, "it is waited for longer than for a silent one"
    assert nats_server.process is not None
    nats_server.process.send_signal(signal.SIGSTOP)
    try:
        assert await waiting is False
    finally:
        nats_server.process.send_signal(signal.SIGCONT)
    assert await watch.while_answered(asyncio.sleep(0), 60.0), "what needs no server is done all the same"


@pytest.mark.parametrize("was_there", [True, False])
async def test_the_end_does_not_wait_where_nobody_listens(was_there: bool) -> None:
    watch = ServerWatch(partial(ask_nats, f"nats://{NOWHERE}"), was_there=lambda: was_there)
    watch.start()
    assert not await watch.while_answered(asyncio.Event().wait(), 60.0)


async def test_the_end_waits_for_a_service_that_answers_not_for_one_that_hangs(silent: SilentServer) -> None:
    """One whose connections are accepted for it, without a word of HTTP/2, hangs."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert await ask_service(f"ipv4:{NOWHERE},127.0.0.1:{port}", 20.0) is True
    assert await ask_service(silent.address, 0.3) is False
    assert await ask_service(NOWHERE, 5.0) is None
    await server.stop(None)


LOGGING = """
import sys
import milepost
trial = milepost.init(name="short", total_steps=3)
for step in range(3):
    milepost.log({"train/loss": 1.0})
"""
# What goes on at its end, after three steps.
ENDS = {
    "as it is": "",
    "in a child that was forked off": "import os\nif os.fork() == 0:\n    sys.exit(0)\nos.wait()",
    "by sys.exit in a thread": "import threading\none = threading.Thread(target=sys.exit)\none.start()\none.join()",
    "without being ended": """
from milepost.training.script.opening import open_run
open_run({"name": "other"}).trial.log({"train/loss": 1.0})
""",
}
# Of asyncio, of the interpreter at its end, of our own.
INSIDES = (
    "Task ",
    "was destroyed",
    "never retrieved",
    "never awaited",
    "Exception ignored",
    "Traceback",
    "milepost/training",
)


def environment(folder: Path, address: str, nats: str = "") -> dict[str, str]:
    return {
        **os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(folder),
        "MILEPOST_RUNTIME_ADDRESS": address, "MILEPOST_NATS_URL": nats or f"nats://{address}",
    }  # fmt: skip


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_script_ends_without_a_word_of_its_insides(tmp_path: Path, silent: SilentServer, end: str) -> None:
    """Whatever ends it, and with a server that hangs: one line says what is kept, and how it is sent."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "default", "-c", LOGGING + end,
        env=environment(tmp_path, silent.address), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    text = errors.decode()
    assert process.returncode == 0, text
    assert not [line for line in text.splitlines() if any(word in line for word in INSIDES)], text
    said = [line for line in text.splitlines() if "`milepost sync` sends" in line]
    assert len(said) == 1 and "batches and" in said[0] and "events not sent yet" in said[0], text
    for path in tmp_path.rglob("spool-*.sqlite"):
        assert look(owner_file(path))[0] is Life.NOBODY, "it was let go of"
        left = open_left(path)
        assert left is not None and (left.count or left.events())
        left.close()


TIMED = (
    LOGGING
    + """
import time
from milepost.training.script import external_run
from milepost.training.telemetry import background
# Whoever waits for the service to the end of the time would wait for ever.
background.CONNECT_SECONDS = background.CHANNEL_SECONDS = external_run.DRAIN_SECONDS = 1e6
milepost.finish()
trial.snapshot({"step": 3})
trial.snapshot({"step": 3})
trial.maybe_snapshot(lambda: {"step": 3})
"""
)


async def test_a_script_does_not_wait_for_a_runtime_service_that_hangs(
    tmp_path: Path, silent: SilentServer, nats_server: NatsServer
) -> None:
    """The broker answers, but the service has to be heard first. And a snapshot after the end is said once to be none."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TIMED,
        env=environment(tmp_path, silent.address, nats_server.url), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60.0):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    text = errors.decode()
    assert process.returncode == 0, text
    assert text.count("`milepost sync` sends") == 1, text
    assert (
        text.count("a snapshot that is asked for after the run has ended is not taken (the first: at step 3)") == 1
    ), text
    assert not list(tmp_path.rglob("manifest.json"))


async def test_an_end_that_is_interrupted_is_quick_and_known(tmp_path: Path, silent: SilentServer) -> None:
    """Ctrl-C while the end waits for a server: how it ended, and every point, are kept for later."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOGGING + "print('end', flush=True)\nmilepost.finish()",
        env=environment(tmp_path, silent.address), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    assert await process.stdout.readline() == b"end\n"
    silent.asked.clear()
    await silent.asked.wait()
    process.send_signal(signal.SIGINT)
    text = (await process.stderr.read()).decode()
    assert await process.wait() != 0 and "KeyboardInterrupt" in text
    assert "was destroyed" not in text and "Exception ignored" not in text, text
    assert "`milepost sync` sends" in text
    (directory,) = tmp_path.glob("runtimes/*/trial-1/attempt-1")
    left = open_left(driver_spool_path(directory))
    assert left is not None and left.lent_by is None
    said = [type(decode(event.type, event.body)).__name__ for event in left.events()]
    left.close()
    assert said[-1] == "AttemptEnded"
    with closing(sqlite3.connect(directory / "spool-rank-0.sqlite")) as database:
        points = database.execute("SELECT sum(items) FROM batches WHERE kind = 'steps'").fetchone()[0]
    assert points >= 3
