"""The local socket to which the instances of an attempt report."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable

from google.protobuf.message import DecodeError

from milepost.api.training.v1.training_pb2 import InstanceInstruction, InstanceReport
from milepost.training.process.frames import frame, read_frame

log = logging.getLogger(__name__)


class InstanceServer:
    """Takes reports from instances that know the token, in order per instance, and sends instructions to them.

    `on_gone` is called when the connection of an instance has ended, `on_output` with each connection that brings
    output of one in place of reports.
    """

    def __init__(
        self,
        on_report: Callable[[InstanceReport], None],
        on_gone: Callable[[int], None],
        on_output: Callable[[int, str, asyncio.StreamReader], Awaitable[None]],
    ) -> None:
        self.token = secrets.token_hex(32)
        self._on_report = on_report
        self._on_gone = on_gone
        self._on_output = on_output
        self._server: asyncio.Server | None = None
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._readers: set[asyncio.Task[None]] = set()
        # What every instance is told, those that come later included.
        self._sent: list[InstanceInstruction] = []

    async def start(self, host: str = "127.0.0.1") -> str:
        """Listen on a free port. Returns the address."""
        self._server = await asyncio.start_server(self._serve, host, 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"{host}:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._readers.add(task)
        rank = None
        try:
            hello = await self._greet(reader)
            if hello is None:
                return
            if hello.hello.stream:
                await self._on_output(hello.rank, hello.hello.stream, reader)
                return
            rank = hello.rank
            self._writers[rank] = writer
            self._on_report(hello)
            for instruction in self._sent:
                self._send(writer, instruction)
            while (body := await read_frame(reader)) is not None:
                self._on_report(InstanceReport.FromString(body))
        except (DecodeError, ValueError) as error:
            log.warning("instance.unreadable", extra={"rank": rank, "error": str(error)})
        finally:
            self._readers.discard(task)
            writer.close()
            if rank is not None:
                self._writers.pop(rank, None)
                self._on_gone(rank)

    async def _greet(self, reader: asyncio.StreamReader) -> InstanceReport | None:
        """Read the hello of an instance. None: it does not know the token."""
        body = await read_frame(reader)
        report = InstanceReport.FromString(body) if body is not None else InstanceReport()
        if not hmac.compare_digest(report.hello.token.encode(), self.token.encode()):
            log.warning("instance.refused")
            return None
        return report

    def send_to(self, rank: int, instruction: InstanceInstruction) -> None:
        """Send an instruction to one instance, if it is connected."""
        writer = self._writers.get(rank)
        if writer is not None:
            self._send(writer, instruction)

    def send(self, instruction: InstanceInstruction) -> None:
        """Send an instruction to every instance, those that come later included."""
        self._sent.append(instruction)
        for writer in self._writers.values():
            self._send(writer, instruction)

    def _send(self, writer: asyncio.StreamWriter, instruction: InstanceInstruction) -> None:
        if not writer.is_closing():
            writer.write(frame(instruction))

    async def wait_read(self, seconds: float) -> None:
        """Wait until every report that was sent has been read: until all connections have ended."""
        if self._readers:
            await asyncio.wait(self._readers, timeout=seconds)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._readers):
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
