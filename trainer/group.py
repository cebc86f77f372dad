"""The processes of an attempt without a worker group: one worker, its pipes, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.training.console import PIPE_VARIABLE
from milepost.training.marker import marker_path, read_marker
from trainer.capture import LineSource
from trainer.exits import ProcessExit

log = logging.getLogger(__name__)

# A process that has ended may have left others that hold its pipes.
_PIPE_SECONDS = 5.0


class LocalWorker:
    """One process that runs the user's loop in Ray Train's local mode."""

    def __init__(self, directory: Path, sink: Callable[[LogLine], None]) -> None:
        self._directory = directory
        self._source = LineSource(0, self.last_step, sink)
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []

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
                "milepost.training.worker",
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

    async def wait(self) -> ProcessExit:
        """Wait until the process has ended and its output is read."""
        assert self._process is not None
        return_code = await self._process.wait()
        _, late = await asyncio.wait(self._readers, timeout=_PIPE_SECONDS)
        for reader in late:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        return ProcessExit.of(return_code)

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
