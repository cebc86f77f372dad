"""The key-value buckets on NATS JetStream.

Ours and not that of nats-py. An answer may be lost after the server has stored; the next try then finds its own value and
takes it for that of another. For a lease that is a leader who stands by until his own lease runs out, 10 s without a
scheduler. Here each write carries an id, by which it knows itself again; keys may be any text. It is 120 lines.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from milepost.eventlog import LogFull, LogMisconfigured, LogUnavailable
from milepost.eventlog.nats import codes
from milepost.eventlog.nats.connection import ApiError, Connection, Tries, parse_answer, patiently
from milepost.eventlog.nats.messages import get_message

TIMEOUT_SECONDS = 10.0
TRY_SECONDS = 2.0
# How often `create` starts again because a mark of deletion expired under its hands.
CREATE_TRIES = 3

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")


class _Conflict(Exception):
    """Somebody else wrote first."""


@dataclass(frozen=True, slots=True)
class _Value:
    """The last word on a key. `revision` 0: nobody ever said one."""

    revision: int = 0
    value: bytes | None = None
    message_id: str = ""


class JetStreamKeyValue:
    """Small shared facts, one bucket a stream `KV_<bucket>`, compatible with the `nats kv` commands for plain keys.

    See `milepost.eventlog.KeyValue` for what each method promises; `ensure_streams` makes the buckets.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, bucket: str, key: str, value: bytes) -> int | None:
        for _ in range(CREATE_TRIES):
            found = await self._last(bucket, key)
            if found.value is not None:
                return None
            revision = await self._put(bucket, key, value, found.revision)
            if revision is not None or found.revision == 0:
                return revision
        return None

    async def get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        found = await self._last(bucket, key)
        return None if found.value is None else (found.value, found.revision)

    async def update(self, bucket: str, key: str, value: bytes, revision: int) -> int | None:
        return await self._put(bucket, key, value, revision)

    async def delete(self, bucket: str, key: str) -> None:
        await self._store(bucket, key, b"", {"KV-Operation": "DEL"})

    async def _put(self, bucket: str, key: str, value: bytes, revision: int) -> int | None:
        """Store a value if nobody else did since a revision. None: somebody did."""
        own_id = uuid.uuid4().hex
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision), "Nats-Msg-Id": own_id}
        try:
            return await self._store(bucket, key, value, headers)
        except _Conflict:
            # It may be our own earlier try that stands there.
            found = await self._last(bucket, key)
            return found.revision if found.message_id == own_id else None

    async def _store(self, bucket: str, key: str, value: bytes, headers: Mapping[str, str]) -> int:
        subject = key_subject(bucket, key)
        tries = Tries(time.monotonic() + TIMEOUT_SECONDS)
        while True:
            try:
                await self._connection.ready(tries.deadline - time.monotonic())
                patience = max(0.1, min(TRY_SECONDS, tries.deadline - time.monotonic()))
                answer = await self._connection.request(subject, value, headers, patience)
                return int(parse_answer(answer.data)["seq"])
            except ApiError as error:
                raise _meaning(error, bucket) from error
            except LogUnavailable:
                if not await tries.wait():
                    raise

    async def _last(self, bucket: str, key: str) -> _Value:
        request = {"last_by_subj": key_subject(bucket, key)}
        try:
            message = await patiently(
                self._connection, lambda: get_message(self._connection, f"KV_{bucket}", request), TIMEOUT_SECONDS
            )
        except ApiError as error:
            raise _meaning(error, bucket) from error
        if message is None:
            return _Value()
        value = None if message.headers.get("KV-Operation") else message.body
        return _Value(message.sequence, value, message.headers.get("Nats-Msg-Id", ""))


def key_subject(bucket: str, key: str) -> str:
    """Where a key is stored. A key may be any text: what a subject cannot hold goes by its digest."""
    token = key if _PLAIN_KEY.fullmatch(key) else "sha256=" + hashlib.sha256(key.encode()).hexdigest()
    return f"$KV.{bucket}.{token}"


def _meaning(error: ApiError, bucket: str) -> Exception:
    if error.err_code in codes.WRONG_LAST_SEQUENCE:
        return _Conflict()
    if error.err_code in codes.FULL:
        return LogFull(f"the bucket {bucket} is full: {error.description}")
    if error.err_code == codes.STREAM_NOT_FOUND:
        return LogMisconfigured(f"there is no bucket {bucket}: start the services once, or restore a backup")
    return error
