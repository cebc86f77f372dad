"""Telemetry and other messages that are not events, for programs that must not know NATS.

    async with await connect(url, name="metrics") as connection:
        telemetry = Telemetry(connection)
        async with telemetry.consume(after=offset, subjects=["telemetry.>"]) as reader:
            while True:
                messages = await reader.next_batch(maximum=1000, wait_seconds=0.25)

`reader` is an `OrderedReader` of `StoredMessage(sequence, subject, headers, body, time, pending)`: in order, for ever,
without gap or repeat over restarts of the server. What is not stored goes through the connection:
`connection.publish(stored_subject(...), body)`, `connection.subscribe("heartbeat.>")`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from milepost.eventlog import LogFull
from milepost.eventlog.nats import codes
from milepost.eventlog.nats.connection import REQUEST_TIMEOUT_SECONDS, ApiError, Connection, parse_answer
from milepost.eventlog.nats.messages import StoredMessage, get_message
from milepost.eventlog.nats.ordered import OrderedReader
from milepost.eventlog.nats.streams import TELEMETRY, StreamState, stream_state

__all__ = [
    "ALL_HEARTBEATS",
    "ALL_STORED",
    "ALL_TELEMETRY",
    "OrderedReader",
    "StoredMessage",
    "StreamState",
    "Telemetry",
    "heartbeat_subject",
    "logs_subject",
    "parse_telemetry_subject",
    "steps_subject",
    "stored_subject",
]

ALL_TELEMETRY = "telemetry.>"
ALL_HEARTBEATS = "heartbeat.>"
ALL_STORED = "stored.>"

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def steps_subject(runtime_id: str, trial: int, attempt: int) -> str:
    return f"telemetry.{runtime_id}.{trial}.{attempt}.steps"


def logs_subject(runtime_id: str, trial: int, attempt: int) -> str:
    return f"telemetry.{runtime_id}.{trial}.{attempt}.logs"


def heartbeat_subject(runtime_id: str, trial: int, attempt: int, rank: int) -> str:
    return f"heartbeat.{runtime_id}.{trial}.{attempt}.{rank}"


def stored_subject(runtime_id: str, trial: int, attempt: int) -> str:
    return f"stored.{runtime_id}.{trial}.{attempt}"


def parse_telemetry_subject(subject: str) -> tuple[str, int, int, str]:
    """Take `telemetry.<runtime>.<trial>.<attempt>.<kind>` apart: (runtime, trial, attempt, kind).

    `heartbeat.<runtime>.<trial>.<attempt>.<rank>` has the same shape, with the rank as text for the kind.

    Raises:
        ValueError: it is neither.
    """
    tokens = subject.split(".")
    numbers = [int(token) for token in tokens[2:4] if _NUMBER.fullmatch(token)]
    if len(tokens) != 5 or tokens[0] not in ("telemetry", "heartbeat") or len(numbers) != 2:
        raise ValueError(f"not a subject of telemetry: {subject[:200]!r}")
    return tokens[1], numbers[0], numbers[1], tokens[4]


class Telemetry:
    """The stream TELEMETRY, as its readers and senders see it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def state(self) -> StreamState:
        """Where the stream stands: `created` (its identity, ns since 1970), first and last sequence, size.

        Raises:
            LogMisconfigured: there is no stream.
            LogUnavailable: no answer in time.
        """
        return await stream_state(self._connection, TELEMETRY)

    async def stream_id(self) -> int:
        """The identity of the stream: its creation time, nanoseconds since 1970. Another one: another stream."""
        return (await self.state()).created

    async def last_sequence(self, kind: str) -> int:
        """Sequence of the last message of a kind, `steps` or `logs`; 0: there is none.

        Raises:
            LogUnavailable: no answer in time.
        """
        message = await get_message(self._connection, TELEMETRY, {"last_by_subj": f"telemetry.*.*.*.{kind}"})
        return message.sequence if message else 0

    async def has(self, runtime_id: str, trial: int) -> bool:
        """Return whether there is a message of a trial, or with trial 0 of a runtime.

        Raises:
            LogUnavailable: no answer in time.
        """
        subject = f"telemetry.{runtime_id}.{trial or '*'}.>"
        return await get_message(self._connection, TELEMETRY, {"last_by_subj": subject}) is not None

    def consume(
        self,
        after: int = 0,
        subjects: Sequence[str] = (ALL_TELEMETRY,),
        *,
        headers_only: bool = False,
        buffer_messages: int = 2048,
        buffer_bytes: int = 32 << 20,
    ) -> OrderedReader:
        """Read messages with a sequence > after, in order, then each new one.

        At most `buffer_messages` and about `buffer_bytes` are held unread. With `headers_only` bodies are empty.
        """
        filters = () if list(subjects) == [ALL_TELEMETRY] else tuple(subjects)
        return OrderedReader(
            self._connection,
            TELEMETRY,
            after,
            filters,
            headers_only=headers_only,
            buffer_messages=buffer_messages,
            buffer_bytes=buffer_bytes,
        )

    async def publish(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
    ) -> int:
        """Store a message and return its sequence. Once it returns, the broker has it on disk.

        Raises:
            LogUnavailable: no answer in time; it may be stored: telemetry is numbered, so send it again.
            LogFull: it is not stored.
            ApiError: refused for another reason.
        """
        answer = await self._connection.request(subject, body, headers, timeout_seconds)
        try:
            return int(parse_answer(answer.data)["seq"])
        except ApiError as error:
            if error.err_code in codes.FULL:
                raise LogFull(f"the stream {TELEMETRY} is full: {error.description}") from error
            raise
