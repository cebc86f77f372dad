"""Start the parts of a local stack, keep them running, and end them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from milepost.backoff import Backoff

READY_SECONDS = 60.0
READY_INTERVAL_SECONDS = 0.05
FIRST_PAUSE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 10.0
# A part that ran so long did not fail at its start: the next restart is quick again.
STEADY_SECONDS = 30.0
STOP_SECONDS = 6.0
KILL_SECONDS = 2.0
LOG_BYTES = 10_000_000
MAX_LINE_BYTES = 1 << 20
TAIL_LINES = 15

Check = Callable[[], Awaitable[bool]]


class PartFailed(Exception):
    """A part did not get ready. The message has the last lines it wrote."""


@dataclass
class Part:
    """One process of the stack.

    Attributes:
        name: how its log lines are marked.
        command: program and arguments.
        ready: tells whether it serves.
        port: where it listens; 0: not known. What answers there may be somebody else's.
        level: parts of a lower level are ready before this one starts, and end after it.
    """

    name: str
    command: Sequence[str]
    ready: Check
    level: int
    port: int = 0
    process: asyncio.subprocess.Process | None = None
    started_at: float = 0.0
    restarts: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))


# What starts a child such that the kernel ends it with the supervisor, however that comes about.
LEASH = [sys.executable, "-I", "-S", str(Path(__file__).with_name("leash.py"))]


class LogFile:
    """A file of log lines that never exceeds its limit: when full it becomes `<name>.1`, and a new one begins."""

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._limit = limit
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()
        if self._file.tell() > self._limit:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        self._file.close()


class Supervisor:
    """Runs parts as child processes. Use from one event loop, in the main thread.

    Args:
        environment: of the children.
        folder: working folder of the children; `logs/<part>.log` is below it.
        show: called with the name of a part and a line it wrote.
    """

    def __init__(
        self, parts: Sequence[Part], environment: Mapping[str, str], folder: Path, show: Callable[[str, str], None]
    ) -> None:
        self.parts = list(parts)
        self._environment = dict(environment)
        self._folder = folder
        self._show = show
        self._stopping = False
        self._keepers: list[asyncio.Task[None]] = []
        self._readers: set[asyncio.Task[None]] = set()
        self._logs: dict[str, LogFile] = {}

    async def start(self, up_to_level: int | None = None) -> None:
        """Start level by level, each when the one before is ready.

        Raises:
            PartFailed: a part ended, or was not ready in time.
        """
        for level in sorted({part.level for part in self.parts}):
            if up_to_level is not None and level > up_to_level:
                return
            fresh = [part for part in self.parts if part.level == level and part.process is None]
            for part in fresh:
                await self._spawn(part)
            await asyncio.gather(*(self._wait_until_ready(part) for part in fresh))
            self._keepers += [asyncio.create_task(self._keep(part), name=f"keep {part.name}") for part in fresh]

    async def stop(self) -> None:
        """End everything, the last level first; what does not end in time is killed."""
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        # Services first, all at once; the broker they depend on last.
        lowest = min(part.level for part in self.parts)
        for chosen in ([p for p in self.parts if p.level > lowest], [p for p in self.parts if p.level == lowest]):
            await asyncio.gather(*(self._end(part) for part in chosen))
        # A process that outlives a part may hold its output open; the parts' own last words have been read by then.
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for log in self._logs.values():
            log.close()

    def kill(self) -> None:
        """End everything at once."""
        for part in self.parts:
            if part.process is not None and part.process.returncode is None:
                part.process.kill()

    async def _spawn(self, part: Part) -> None:
        part.started_at = time.monotonic()
        part.process = await asyncio.create_subprocess_exec(
            *LEASH,
            str(os.getpid()),
            *part.command,
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=MAX_LINE_BYTES,
            # Ctrl-C reaches the supervisor only, which ends the others in order.
            start_new_session=True,
        )
        reader = asyncio.create_task(self._read(part, part.process), name=f"read {part.name}")
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _read(self, part: Part, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None, "it was made with a pipe"
        if part.name not in self._logs:
            self._logs[part.name] = LogFile(self._folder / "logs" / f"{part.name}.log")
        log = self._logs[part.name]
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # longer than the limit: dropped
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            part.tail.append(text)
            log.write(text)
            self._show(part.name, text)

    async def _wait_until_ready(self, part: Part) -> None:
        deadline = time.monotonic() + READY_SECONDS
        assert part.process is not None, "it was started"
        while not (await part.ready() and listens(part.process.pid, part.port)):
            if part.process.returncode is not None:
                await asyncio.sleep(READY_INTERVAL_SECONDS)  # its last words are still being read
                raise PartFailed(f"{part.name} ended with {_ending(part.process.returncode)}:\n" + _indented(part.tail))
            if time.monotonic() > deadline:
                raise PartFailed(f"{part.name} is not ready after {READY_SECONDS:.0f} s:\n" + _indented(part.tail))
            await asyncio.sleep(READY_INTERVAL_SECONDS)

    async def _keep(self, part: Part) -> None:
        pauses = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        while True:
            assert part.process is not None, "it was started"
            code = await part.process.wait()
            if time.monotonic() - part.started_at > STEADY_SECONDS:
                pauses.reset()
            pause = next(pauses)
            self._show("milepost", f"{part.name} ended with {_ending(code)}; it starts again in {pause:g} s")
            await asyncio.sleep(pause)
            part.restarts += 1
            await self._spawn(part)

    async def _end(self, part: Part) -> None:
        process = part.process
        if process is None or process.returncode is not None:
            return
        for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
            try:
                process.send_signal(number)
                async with asyncio.timeout(seconds):
                    await process.wait()
                return
            except ProcessLookupError:
                return
            except TimeoutError:
                self._show("milepost", f"{part.name} does not end on signal {number.name}")


def listens(pid: int, port: int) -> bool:
    """Return whether a process has a port. True where that cannot be seen."""
    if port == 0:
        return True
    import psutil

    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


def _ending(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _indented(lines: Sequence[str] | deque[str]) -> str:
    return "\n".join(f"    {readable(line)}" for line in lines) or "    (it wrote nothing)"


_NATS_LINE = re.compile(r"^\[\d+\] \S+ (?P<time>\d\d:\d\d:\d\d\.\d{3})\d* \[(?P<level>[A-Z]+)\] (?P<text>.*)")


def readable(line: str) -> str:
    """Make a line for people of a JSON log line or of one by nats-server; other lines stay as they are."""
    by_nats = _NATS_LINE.match(line)
    if by_nats is not None:
        return f"{by_nats['time']} {by_nats['level']:<7} {by_nats['text']}"
    if not line.startswith("{"):
        return line
    try:
        entry = json.loads(line)
        time_of_day = str(entry.pop("time"))[11:23]
        level, event = str(entry.pop("level")).upper(), entry.pop("event")
    except (ValueError, KeyError):
        return line
    exception = entry.pop("exception", None)
    fields = " ".join(f"{key}={value}" for key, value in entry.items() if key not in ("service", "logger"))
    return f"{time_of_day} {level:<7} {event} {fields}".rstrip() + (f"\n{exception}" if exception else "")


def child_environment(settings: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Make the environment of the parts: this one, the settings as variables, and this very Milepost importable."""
    package = str(Path(__file__).resolve().parents[3])
    paths = [
        package,
        *(path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path and path != package),
    ]
    variables = {f"MILEPOST_{name.upper()}": value for name, value in settings.items()}
    return {**environment, **variables, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
