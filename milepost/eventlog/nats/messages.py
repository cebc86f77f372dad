"""Messages as they stand in a stream, and reading single ones."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from milepost.eventlog.nats import codes
from milepost.eventlog.nats.connection import ApiError, Connection
from milepost.eventlog.nats.wire import SEQUENCE, parse_headers


class StoredMessage(NamedTuple):
    """A message as it stands in a stream.

    Attributes:
        sequence: its position in the stream.
        subject: where it was published.
        headers: as stored; a direct get adds some `Nats-*`.
        body: empty when only headers were asked for.
        time: the server's clock, nanoseconds since 1970.
        pending: how many messages of the same subjects were behind it when it was sent.
    """

    sequence: int
    subject: str
    headers: Mapping[str, str]
    body: bytes
    time: int
    pending: int


async def get_message(connection: Connection, stream: str, request: dict[str, Any]) -> StoredMessage | None:
    """Read one message from the leader of a stream, by `seq`, `last_by_subj` or `seq` and `next_by_subj`.

    Raises:
        ApiError: the server refused.
        LogUnavailable: no answer in time.
    """
    try:
        answer = await connection.request_api(f"STREAM.MSG.GET.{stream}", request)
    except ApiError as error:
        if error.err_code == codes.MESSAGE_NOT_FOUND:
            return None
        raise
    message = answer["message"]
    return StoredMessage(
        sequence=message["seq"],
        subject=message["subject"],
        headers=parse_headers(base64.b64decode(message.get("hdrs", ""))),
        body=base64.b64decode(message.get("data", "")),
        time=parse_nanoseconds(message["time"]),
        pending=0,
    )


def read_direct(headers: Mapping[str, str], body: bytes) -> StoredMessage:
    """Read an answer of a direct get, whose headers say where the message stands."""
    return StoredMessage(
        sequence=int(headers[SEQUENCE]),
        subject=headers["Nats-Subject"],
        headers=headers,
        body=body,
        time=parse_nanoseconds(headers["Nats-Time-Stamp"]),
        pending=int(headers.get("Nats-Num-Pending", 0)),
    )


def parse_nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time, whose fraction `datetime` would cut."""
    whole, _, rest = text.partition(".")
    fraction = "".join(character for character in rest if character.isdigit()) if rest.endswith("Z") else ""
    if not fraction and rest:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000) * 1000
    seconds = int(datetime.fromisoformat(whole.removesuffix("Z") + "+00:00").timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)
