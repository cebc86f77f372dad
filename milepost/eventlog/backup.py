"""Copies of streams, taken while they are written to, and put back with the same messages at the same sequences.

The server makes the copy (`STREAM.SNAPSHOT`), so it is consistent, and takes it back (`STREAM.RESTORE`). It gives what it
takes back a new identity, its creation time: whoever remembers the old one has to be told (`examination.adopt_restored`). A copy
is two files: `<stream>.json` with what the stream is, and `<stream>.snapshot` with the bytes of the server.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from milepost import files
from milepost.eventlog import EventLogError, LogUnavailable
from milepost.eventlog.nats.connection import ApiError, Connection, Subscription, parse_answer
from milepost.eventlog.nats.streams import StreamState, stream_configuration, stream_state

CHUNK_BYTES = 128 << 10
ANSWER_SECONDS = 60.0
# Status of the empty chunk that ends a copy.
_END = "204"


class BackupFailed(EventLogError):
    """A stream could not be copied or put back. The message says which and why."""


async def save_stream(connection: Connection, stream: str, folder: Path) -> StreamState:
    """Copy a stream into a folder. Returns where it stood at least: messages that come meanwhile may be in it too.

    Raises:
        BackupFailed: the server refused, or the copy broke off.
        LogMisconfigured: there is no such stream.
        LogUnavailable: no answer in time.
    """
    state = await stream_state(connection, stream)
    inbox = connection.new_inbox()
    async with await connection.subscribe(inbox, buffer=1 << 20) as chunks:
        await connection.flush()
        request = {"deliver_subject": inbox, "no_consumers": True, "jsck": True, "chunk_size": CHUNK_BYTES}
        try:
            answer = await connection.request_api(f"STREAM.SNAPSHOT.{stream}", request, ANSWER_SECONDS)
        except ApiError as error:
            raise BackupFailed(f"the stream {stream} cannot be copied: {error.description}") from error
        with (folder / f"{stream}.snapshot").open("wb") as file:
            async for chunk in _received(connection, chunks, stream):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    about = {"config": answer["config"], "state": answer["state"]}
    files.write(folder / f"{stream}.json", json.dumps(about, indent=1) + "\n")
    return state


async def _received(connection: Connection, chunks: Subscription, stream: str) -> AsyncIterator[bytes]:
    while True:
        batch = await chunks.next_batch(ANSWER_SECONDS)
        if not batch:
            raise BackupFailed(f"the copy of {stream} broke off: no more came for {ANSWER_SECONDS:g} s")
        for chunk in batch:
            if chunk.headers.get("Status", _END) != _END:
                raise BackupFailed(
                    f"the copy of {stream} broke off: {chunk.headers.get('Description', 'no reason given')}"
                )
            if not chunk.body:
                return
            # The server waits for an answer to some of them before it sends more.
            if chunk.reply:
                await connection.publish(chunk.reply)
            yield chunk.body


async def restore_stream(connection: Connection, stream: str, folder: Path) -> StreamState:
    """Make a stream from its copy. Returns where it stands.

    Raises:
        BackupFailed: there is such a stream already, or the server refused the copy.
        LogUnavailable: no answer in time.
    """
    if await stream_configuration(connection, stream) is not None:
        raise BackupFailed(f"there is a stream {stream} already: restore into an empty NATS server")
    about = json.loads((folder / f"{stream}.json").read_text())
    try:
        answer = await connection.request_api(f"STREAM.RESTORE.{stream}", about, ANSWER_SECONDS)
        for chunk in _chunks(folder / f"{stream}.snapshot"):
            message = await connection.request(answer["deliver_subject"], chunk, timeout_seconds=ANSWER_SECONDS)
            if message.data:
                # The server says nothing while all is well.
                parse_answer(message.data)
        message = await connection.request(answer["deliver_subject"], b"", timeout_seconds=ANSWER_SECONDS)
        parse_answer(message.data)
    except ApiError as error:
        raise BackupFailed(f"the server does not take the copy of {stream}: {error.description}") from error
    except LogUnavailable as error:
        raise LogUnavailable(f"the stream {stream} is not restored: {error}") from error
    return await stream_state(connection, stream)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
