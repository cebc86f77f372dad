"""What a NATS server sends, read so that nothing that somebody has put into a message can end the connection.

The server passes on subjects, replies and headers as the sender wrote them: bytes that are no UTF-8, a line of status where
only the server should have one, control characters. The library raises on some of them in its reading loop, which ends it
without a word: nothing is heard until pings stay unanswered, and a stored message ends the next connection too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from milepost.eventlog.nats.nats_client import PING_PROTO, Client, Msg, Parser, ProtocolError

log = logging.getLogger(__name__)

STATUS = "Status"
DESCRIPTION = "Description"
# Said by the server, or by the runtime service in its place, of a message that stands in a stream.
SEQUENCE = "Nats-Sequence"

_VERSION = "NATS/1.0"
_MAX_LINE = 1 << 16
# A subject holds no space, and no more is certain of it.
_MESSAGE = re.compile(rb"MSG ([^ \n]+) (\d+) +(?:([^ \n]+) +)?(\d+) *\r\n")
_WITH_HEADERS = re.compile(rb"HMSG ([^ \n]+) (\d+) +(?:([^ \n]+) +)?(\d+) +(\d+) *\r\n")


def parse_headers(raw: bytes) -> dict[str, str]:
    """Read a block of headers: a line of version, then `name: value` lines. Never raises.

    Bytes that are no UTF-8 become U+FFFD. Of a name that comes twice the last counts, which is the server's own.
    """
    first, *lines = raw.decode("utf-8", "replace").split("\r\n")
    headers = {}
    status = first.removeprefix(_VERSION).strip()
    if status[:3].isdigit():
        headers = {STATUS: status[:3], DESCRIPTION: status[3:].strip()}
    for line in lines:
        name, separator, value = line.partition(":")
        if separator:
            headers[name.strip()] = value.strip()
    return headers


def has_status(headers: Mapping[str, str] | None) -> bool:
    """Return whether an answer is a word of whoever answers, and not a stored message that looks like one."""
    return headers is not None and STATUS in headers and SEQUENCE not in headers


class RobustClient(Client):
    """The library's client. Pings keep their place, and what others wrote into messages is read as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = RobustParser(self)

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        # The library's own goes to the socket at once, before what waits in the buffer: a flush would return while
        # the server does not have yet what was sent before it.
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        await self._send_command(PING_PROTO)
        await self._flush_pending()

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        return parse_headers(headers) if headers else None

    def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> Msg:
        return self.msg_class(
            subject=subject.decode("utf-8", "replace"),
            reply=reply.decode("utf-8", "replace"),
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )


class RobustParser(Parser):  # type: ignore[misc]
    """Takes what the server sends apart. A subject may hold any byte but a space and the end of a line."""

    def reset(self) -> None:
        self.buf = bytearray()
        # Of a message whose line has come and whose content has not: subject, sid, reply, size of headers, whole size.
        self._awaited: tuple[bytes, int, bytes, int, int] | None = None

    async def parse(self, data: bytes = b"") -> None:
        """Take in what was received, and hand on what is complete.

        Raises:
            ProtocolError: the server speaks something else.
        """
        self.buf += data
        while self.buf:
            if self._awaited is None and not await self._take_line():
                return
            if self._awaited is not None and not await self._take_content(*self._awaited):
                return

    async def _take_line(self) -> bool:
        """Take a line. False: it is not complete."""
        # Those with headers first: what is stored has some, and a start reads all of it.
        found = _WITH_HEADERS.match(self.buf)
        if found is not None:
            subject, sid, reply, header_size, size = found.groups()
            self._awaited = (bytes(subject), int(sid), bytes(reply or b""), int(header_size), int(size))
            del self.buf[: found.end()]
            return True
        found = _MESSAGE.match(self.buf)
        if found is not None:
            subject, sid, reply, size = found.groups()
            self._awaited = (bytes(subject), int(sid), bytes(reply or b""), 0, int(size))
            del self.buf[: found.end()]
            return True
        end = self.buf.find(b"\r\n")
        if end < 0:
            if len(self.buf) > _MAX_LINE:
                raise ProtocolError("nats: a line without end")
            return False
        line = bytes(self.buf[:end])
        del self.buf[: end + 2]
        await self._carry_out(line)
        return True

    async def _take_content(self, subject: bytes, sid: int, reply: bytes, header_size: int, size: int) -> bool:
        """Take the content of a message. False: it is not complete."""
        if len(self.buf) < size + 2:
            return False
        headers = bytes(self.buf[:header_size]) if header_size else None
        content = bytes(self.buf[header_size:size])
        del self.buf[: size + 2]
        self._awaited = None
        await self.nc._process_msg(sid, subject, reply, content, headers)
        return True

    async def _carry_out(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        match word.strip().upper():
            case b"PING":
                await self.nc._process_ping()
            case b"PONG":
                await self.nc._process_pong()
            case b"+OK":
                pass
            case b"-ERR":
                await self.nc._process_err(rest.strip().decode("utf-8", "replace").lower())
            case b"INFO":
                await self.nc._process_info(json.loads(rest))
            case _:
                log.error("nats.unknown_line", extra={"line": ascii(line[:100])})
                raise ProtocolError("nats: unknown protocol")
