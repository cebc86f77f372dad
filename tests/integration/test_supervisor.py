"""The supervisor on real processes: start in order, restart what dies, end everything."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from milepost.cli.local import checks, ports
from milepost.cli.local.datadir import DataDirectory, DataDirectoryInUse, DataDirectoryUnusable
from milepost.cli.local.ports import PortInUse, Wanted
from milepost.cli.local.supervisor import LogFile, Part, PartFailed, Supervisor

DEADLINE_SECONDS = 30.0


async def until(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def web_part(name: str, port: int, level: int = 0) -> Part:
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    return Part(name, command, checks.http_ok("127.0.0.1", port, "/"), level)


def free_port() -> int:
    return ports.choose([Wanted("any", "127.0.0.1", 0, explicit=False)])["any"]


@pytest.fixture
async def supervise(tmp_path: Path) -> AsyncIterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(*parts: Part) -> Supervisor:
        made.append(Supervisor(parts, os.environ, tmp_path, lambda part, line: None))
        return made[-1]

    yield make
    for supervisor in made:
        await supervisor.stop()


async def test_a_part_that_dies_is_started_again_and_serves(supervise: Callable[..., Supervisor]) -> None:
    part = web_part("web", free_port())
    supervisor = supervise(part)
    await supervisor.start()
    assert part.process is not None
    first = part.process.pid

    os.kill(first, signal.SIGKILL)

    await until(lambda: part.restarts == 1)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await part.ready():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert part.process.pid != first


async def test_a_part_that_cannot_start_is_named_with_its_last_words(supervise: Callable[..., Supervisor]) -> None:
    command = [sys.executable, "-c", "import sys; print('no such file: config'); sys.exit(3)"]
    supervisor = supervise(Part("broken", command, checks.http_ok("127.0.0.1", free_port(), "/"), 0))

    with pytest.raises(PartFailed, match=r"(?s)broken ended with exit status 3.*no such file: config"):
        await supervisor.start()


async def test_stopping_ends_later_levels_first_and_leaves_nothing(supervise: Callable[..., Supervisor]) -> None:
    ended: list[str] = []
    broker, service = web_part("broker", free_port(), 0), web_part("service", free_port(), 1)
    supervisor = supervise(broker, service)
    await supervisor.start()
    processes = {part.name: part.process for part in (broker, service) if part.process is not None}

    async def note(name: str) -> None:
        await processes[name].wait()
        ended.append(name)

    notes = [asyncio.create_task(note(name)) for name in processes]
    await supervisor.stop()
    await asyncio.gather(*notes)

    assert ended == ["service", "broker"]


async def test_a_part_that_ignores_sigterm_is_killed(
    supervise: Callable[..., Supervisor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.cli.local.supervisor.STOP_SECONDS", 0.2)
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('up', 'w'); time.sleep(600)"

    async def ready() -> bool:
        return (tmp_path / "up").exists()

    part = Part("stubborn", [sys.executable, "-c", script], ready, 0)
    supervisor = supervise(part)
    await supervisor.start()
    await supervisor.stop()

    assert part.process is not None
    assert part.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children with their parent on Linux only")
async def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import asyncio, os, sys
        from pathlib import Path
        from milepost.cli.local.supervisor import Part, Supervisor

        async def main():
            async def ready():
                return True
            part = Part("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], ready, 0)
            await Supervisor([part], os.environ, Path(sys.argv[1]), lambda part, line: None).start()
            print(part.process.pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_a_part_is_not_ready_while_somebody_else_answers_on_its_port(
    supervise: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    stranger = web_part("stranger", port)
    await supervise(stranger).start()
    # Its own port is taken, so it ends; the other one answers its check all the while.
    late = web_part("late", port)
    late.port = port

    with pytest.raises(PartFailed, match="late ended"):
        await supervise(late).start()


async def test_a_part_is_started_again_by_a_supervisor_that_uses_grpc(tmp_path: Path) -> None:
    """A child that ran code between fork and exec would do so in a copy of gRPC's threads, and crash."""
    script = textwrap.dedent(
        """
        import asyncio, os, sys, threading
        from pathlib import Path
        from milepost.client import Client
        from milepost.installation.endpoints import Endpoints
        from milepost.cli.local.supervisor import Part, Supervisor

        def busy(client):
            while True:
                try:
                    for _ in client.watch_runtime("runtimes/rt-1"):
                        pass
                except Exception:
                    pass

        async def main():
            async def ready():
                return True
            client = Client(Endpoints(runtime="127.0.0.1:1"))
            threading.Thread(target=busy, args=(client,), daemon=True).start()
            part = Part("brief", [sys.executable, "-c", "raise SystemExit(7)"], ready, 0)
            lines = []
            supervisor = Supervisor([part], os.environ, Path(sys.argv[1]), lambda name, line: lines.append(line))
            await supervisor.start()
            while part.restarts < 4:
                await asyncio.sleep(0.05)
            await supervisor.stop()
            print(sum("exit status 7" in line for line in lines), sum("signal" in line for line in lines), flush=True)
            os._exit(0)

        asyncio.run(main())
        """
    )
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(done.communicate(), 60)

    ended, crashed = map(int, output.split())
    assert ended >= 4
    assert crashed == 0


def test_a_data_directory_in_use_names_its_holder(tmp_path: Path) -> None:
    with DataDirectory(tmp_path):
        with pytest.raises(DataDirectoryInUse, match=f"process {os.getpid()}"):
            DataDirectory(tmp_path)
    DataDirectory(tmp_path).close()


def test_a_data_directory_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DataDirectoryUnusable, match="not usable"):
        DataDirectory(tmp_path / "file")


def test_a_default_port_that_is_taken_gives_way_and_an_explicit_one_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        chosen = ports.choose([Wanted("gateway", "127.0.0.1", port, explicit=False)])
        assert chosen["gateway"] != port
        with pytest.raises(PortInUse, match=f"port {port}.*gateway"):
            ports.choose([Wanted("gateway", "127.0.0.1", port, explicit=True)])


def test_ports_differ_and_the_one_of_last_time_comes_first() -> None:
    first = ports.choose([Wanted(name, "127.0.0.1", 0, explicit=False) for name in "abcd"])
    assert len(set(first.values())) == 4

    again = ports.choose([Wanted("a", "127.0.0.1", 8470, explicit=False, previous=first["a"])])
    assert again["a"] == first["a"]


def test_a_log_file_keeps_its_limit(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "part.log", limit=1_000)
    for number in range(200):
        log.write(f"line {number}")
    log.close()

    assert (tmp_path / "part.log").stat().st_size <= 1_010
    assert (tmp_path / "part.log.1").stat().st_size <= 1_010
    assert "line 199" in (tmp_path / "part.log").read_text() + (tmp_path / "part.log.1").read_text()
