"""The instance's end of the local socket to its driver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from milepost.api.training.v1.training_pb2 import Hello, InstanceInstruction, InstanceReport
from milepost.training.process.frames import frame, read_frame


class DriverChannel:
    """Sends reports to the driver. When the driver is gone, `on_lost` is called: without it nothing may go on."""

    def __init__(self, address: str, hello: Hello, rank: int, on_lost: Callable[[], None]) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._hello = hello
        self._rank = rank
        self._on_lost = on_lost
        self._connected = asyncio.Event()
        self._ended = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._closing = False

    async def run(self, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        try:
            reader, self._writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            self._on_lost()
            return
        self._writer.write(frame(InstanceReport(rank=self._rank, hello=self._hello)))
        self._connected.set()
        while (body := await read_frame(reader)) is not None:
            on_instruction(InstanceInstruction.FromString(body))
        self._ended.set()
        if not self._closing:
            self._on_lost()

    async def send(self, report: InstanceReport) -> None:
        await self._connected.wait()
        assert self._writer is not None
        with suppress(ConnectionError):
            self._writer.write(frame(report))
            await self._writer.drain()

    async def close(self, seconds: float) -> None:
        """Say that nothing more comes, and wait until the driver has read it all."""
        self._closing = True
        if self._writer is None:
            return
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(seconds):
                await self._writer.drain()
                self._writer.write_eof()
                await self._ended.wait()
        self._writer.close()
