"""A TCP proxy that makes a network misbehave: lost answers, cut connections, silence."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class TcpProxy:
    """Between clients and a server on 127.0.0.1. What it does to the bytes can be changed at any time.

    Attributes:
        loses_answers: bytes from the server are thrown away; the connection stays open.
        is_silent: nothing passes in either direction; the connection stays open.
        cuts_after: when this many more bytes have gone to the server, the connection is reset. None: never.
        bytes_to_server: what has been passed so far.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.loses_answers = False
        self.is_silent = False
        self.cuts_after: int | None = None
        self.bytes_to_server = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, server_writer}
        for source, sink, to_server in ((reader, server_writer, True), (server_reader, writer, False)):
            task = asyncio.create_task(self._pump(source, sink, to_server, (writer, server_writer)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        to_server: bool,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                while self.is_silent:
                    await asyncio.sleep(0.01)
                if to_server:
                    data, cut = self._count(data)
                    sink.write(data)
                    await sink.drain()
                    if cut:
                        break
                elif not self.loses_answers:
                    sink.write(data)
                    await sink.drain()
        for writer in pair:
            self._abort(writer)

    def _count(self, data: bytes) -> tuple[bytes, bool]:
        """What of some bytes passes to the server, and whether the connection ends with them."""
        cut = False
        if self.cuts_after is not None:
            cut = len(data) >= self.cuts_after
            data = data[: self.cuts_after]
            self.cuts_after = None if cut else self.cuts_after - len(data)
        self.bytes_to_server += len(data)
        return data, cut

    def _abort(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        raw = writer.get_extra_info("socket")
        if raw is not None:
            with suppress(OSError):
                # Linger of zero: the peer gets a reset, not an orderly end.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()

    def reset(self) -> None:
        """Reset every connection. New ones are taken at once."""
        for writer in list(self._writers):
            self._abort(writer)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def running_proxy(target_port: int) -> AsyncIterator[TcpProxy]:
    """A proxy for the length of a block."""
    proxy = TcpProxy(target_port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
