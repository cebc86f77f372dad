"""Ids: uuid7 for events and requests, `rt-` and a uuid7 in base32 for runtimes."""

from __future__ import annotations

import base64
import os
import re
import time
import uuid

RUNTIME_ID = re.compile(r"rt-[0-9a-v]{26}")
# Anything that may stand as one token of a subject, a path or a resource name.
TOKEN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
SNAPSHOT_ID = re.compile(r"step-[0-9]{12}-a[1-9][0-9]{0,8}")


def uuid7(milliseconds: int | None = None) -> uuid.UUID:
    """Make a UUID of version 7 (RFC 9562): 48 bits of milliseconds since 1970, then random bits."""
    now = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    value = (now & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


def new_event_id() -> str:
    """Make the id of an event."""
    return str(uuid7())


def new_runtime_id() -> str:
    """Make the id of a runtime: `rt-` and 26 characters, which sort by time.

    The alphabet is the extended hex alphabet of RFC 4648 in lower case: it keeps the order of the bytes.
    """
    return "rt-" + base64.b32hexencode(uuid7().bytes).decode().rstrip("=").lower()


def is_runtime_id(text: str) -> bool:
    return RUNTIME_ID.fullmatch(text) is not None


def is_token(text: str) -> bool:
    return TOKEN.fullmatch(text) is not None
