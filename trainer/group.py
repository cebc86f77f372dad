"""The processes of an attempt: what its driver asks of them, and the simplest, one worker with its pipes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.api.training.v1.training_pb2 import Finished, GroupEnded, Hello
from milepost.training.process.console import PIPE_VARIABLE
from milepost.training.telemetry.marker import marker_path, read_marker
from trainer.capture import LineSource
from trainer.exits import Ending, ProcessExit, type_ending

log = logging.getLogger(__name__)

# A process that has ended may have left others that hold its pipes.
_PIPE_SECONDS = 5.0


class Workers(Protocol):
    """The processes in which the user's loop runs. Lives in the driver's event loop."""

    async def start(self, environment: Mapping[str, str], folder: Path) -> None:
        """Start them.

        Raises:
            OSError: they cannot be started.
        """
        ...

    def connected(self, rank: int, hello: Hello) -> None: ...

    async def read_output(self, rank: int, stream: str, reader: asyncio.StreamReader) -> None: ...

    def finished(self, rank: int, report: Finished) -> None: ...

    def gone(self, rank: int) -> None: ...

    def ended(self, report: GroupEnded) -> None: ...

    async def wait(self) -> None:
        """Wait until they have ended or one of them has failed, and their output is read."""
        ...

    def conclude(self, *, memory_killed: bool, ordered_kill: bool) -> tuple[Ending, list[facts.InstanceExited]]:
        """Type the end of the attempt and of each instance. Call it after `wait`.

        Args:
            memory_killed: the kernel killed a process for want of memory meanwhile.
            ordered_kill: this driver killed them, because of an abrupt stop.
        """
        ...

    def last_step(self) -> int:
        """Return the last step that is known to be done."""
        ...

    def kill(self) -> None:
        """End them at once."""
        ...

    async def close(self) -> None:
        """End what is left of them, and remove what they leave."""
        ...


class LocalWorker:
    """One process that runs the user's loop in Ray Train's local mode."""

    def __init__(self, directory: Path, sink: Callable[[LogLine], None]) -> None:
        self._directory = directory
        self._source = LineSource(0, self.last_step, sink)
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._exit = ProcessExit(exit_code=0)
        self._finished: Finished | None = None

    def last_step(self) -> int:
        """Return the last step that the worker is known to have done."""
        return read_marker(marker_path(self._directory, 0))

    async def start(self, environment: Mapping[str, str], folder: Path) -> None:
        """Start the process.

        Raises:
            OSError: it cannot be started.
        """
        reading, writing = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "milepost.training.process.worker",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=folder,
                env={**environment, PIPE_VARIABLE: str(writing), "MILEPOST_DRIVER_PROCESS": str(os.getpid())},
                pass_fds=(writing,),
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        records = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(records), os.fdopen(reading, "rb"))
        self._readers = [
            loop.create_task(self._source.read_output(self._process.stdout, telemetry.LOG_STREAM_STDOUT)),
            loop.create_task(self._source.read_output(self._process.stderr, telemetry.LOG_STREAM_STDERR)),
            loop.create_task(self._source.read_records(records)),
        ]

    def connected(self, rank: int, hello: Hello) -> None:
        return

    async def read_output(self, rank: int, stream: str, reader: asyncio.StreamReader) -> None:
        # Its output comes through pipes.
        return

    def finished(self, rank: int, report: Finished) -> None:
        self._finished = report

    def gone(self, rank: int) -> None:
        return

    def ended(self, report: GroupEnded) -> None:
        return

    async def wait(self) -> None:
        """Wait until the process has ended and its output is read."""
        assert self._process is not None
        return_code = await self._process.wait()
        _, late = await asyncio.wait(self._readers, timeout=_PIPE_SECONDS)
        for reader in late:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._exit = ProcessExit.of(return_code)

    def conclude(self, *, memory_killed: bool, ordered_kill: bool) -> tuple[Ending, list[facts.InstanceExited]]:
        out_of_memory = self._exit.signal == signal.SIGKILL and memory_killed
        ending = type_ending(
            self._exit, self._finished, self.last_step(), out_of_memory=out_of_memory, ordered_kill=ordered_kill
        )
        exited = facts.InstanceExited(
            rank=0,
            cause=ending.cause,
            exit_code=self._exit.exit_code,
            signal=self._exit.signal,
            detail=ending.detail,
        )
        return ending, [exited]

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)

    async def close(self) -> None:
        self.kill()
