"""Messages over the local socket between a driver and its instances: a length (uint32, big-endian) and a message."""

from __future__ import annotations

import asyncio
import struct

from google.protobuf.message import Message

_LENGTH = struct.Struct(">I")
MAX_FRAME = 4 << 20


def frame(message: Message) -> bytes:
    """Encode a message with its length before it."""
    body = message.SerializeToString()
    return _LENGTH.pack(len(body)) + body


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Read one message; None at the end of the connection.

    Raises:
        ValueError: the other side does not speak this protocol.
    """
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME:
            raise ValueError(f"a frame of {length} bytes is larger than {MAX_FRAME}")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
