"""A request id gives the same answer for a day: it is reserved before anything is decided.

A reservation says what was asked for and, once that is in the log, that it was done. Whoever asks the same again gets
the answer; whoever asks something else under the same id is refused. A reservation that was never marked as done, because
the service died or the command was refused, is decided again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from milepost import series_names
from milepost.errors import AlreadyExists, InvalidArgument, Violation
from milepost.eventlog import REQUESTS_BUCKET, KeyValue

MAX_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a request id stands for."""

    # The runtime that the request makes or changes.
    runtime_id: str
    # Sequence at which it was done; None: not done, or not known to be.
    done: int | None


class Requests:
    """The request ids of the last day."""

    def __init__(self, key_value: KeyValue) -> None:
        self._key_value = key_value

    async def known(self, request: Any, caller: str) -> Reservation | None:
        """Return what a request id stands for already; None: for nothing.

        Raises:
            AlreadyExists: the id was used with another body.
        """
        if not request.request_id:
            return None
        found = await self._key_value.get(REQUESTS_BUCKET, f"{type(request).__name__}/{caller}/{request.request_id}")
        if found is None:
            return None
        body, known = _decode(found[0])
        if body != _digest(request):
            raise _reused(request)
        return known

    async def once(
        self, request: Any, caller: str, runtime_id: str, act: Callable[[str], Awaitable[int]]
    ) -> Reservation:
        """Act unless the same was done before under the same id.

        Args:
            request: the message, with its `request_id`.
            caller: whose id it is: two callers may choose the same.
            runtime_id: what to act on; for a request that makes one, the id it gets if it is the first.
            act: does it for a runtime id and returns the sequence of its last event, 0 where nothing was decided.

        Raises:
            AlreadyExists: the id was used with another body.
        """
        if not request.request_id:
            return Reservation(runtime_id, await act(runtime_id))
        check(request.request_id)
        key = f"{type(request).__name__}/{caller}/{request.request_id}"
        body = _digest(request)
        revision = await self._key_value.create(REQUESTS_BUCKET, key, _encode(body, Reservation(runtime_id, None)))
        if revision is None:
            found = await self._key_value.get(REQUESTS_BUCKET, key)
            if found is not None:
                known_body, known = _decode(found[0])
                if known_body != body:
                    raise _reused(request)
                if known.done is not None:
                    return known
                runtime_id, revision = known.runtime_id, found[1]
        sequence = await act(runtime_id)
        done = Reservation(runtime_id, sequence)
        if sequence and revision is not None:
            await self._key_value.update(REQUESTS_BUCKET, key, _encode(body, done), revision)
        return done


def _reused(request: Any) -> AlreadyExists:
    return AlreadyExists(f"the request id {request.request_id} was used with another body", reason="REQUEST_ID_REUSED")


def check(request_id: str) -> None:
    """Refuse what is no request id. Raises InvalidArgument."""
    if len(request_id) > MAX_CHARACTERS or not series_names.is_printable(request_id):
        description = f"must be text of at most {MAX_CHARACTERS} characters without control characters"
        raise InvalidArgument([Violation("request_id", description)])


def _digest(request: Message) -> str:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()


def _encode(body: str, reservation: Reservation) -> bytes:
    return json.dumps({"body": body, "runtime_id": reservation.runtime_id, "done": reservation.done}).encode()


def _decode(value: bytes) -> tuple[str, Reservation]:
    entry = json.loads(value)
    return entry["body"], Reservation(entry["runtime_id"], entry["done"])
