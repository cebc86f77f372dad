"""Checkpoints of read models: files that a restart begins from, so that it replays only the tail of the log.

A checkpoint is `<sequence, 20 digits>.checkpoint` in a folder of its own: a line of JSON with the format, the position and
the SHA-256 of the rest, then the records, each behind its length. It is written under a temporary name, synced and
renamed, so it is there completely or not at all. One that does not verify is passed over for the one before.

Each record is compressed by itself: one that did not change is written again as it is, and whoever reads decodes only
those that are asked for.

`Codec` is ours. msgspec refuses our states, which are unions of dataclasses, and protobuf messages. cattrs needs a hook for
each of both kinds and writes the name of every field: 1,482 bytes for a trial that is 599 here. It encodes in 9 us and this
in 27 us. Encoding is done once for each change that a checkpoint holds, between calls.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import math
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import orjson
from google.protobuf.message import Message

from milepost import files

SUFFIX = ".checkpoint"
# Of the newest ones, so that one that is damaged has a predecessor.
KEEP_NEWEST = 2
# How the file is laid out, beside what is in the records.
LAYOUT = "records-1"

_LENGTH = struct.Struct(">I")

log = logging.getLogger(__name__)


class UnreadableCheckpoint(Exception):
    """The file is damaged, or of another format."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state and where it stands. `records` are what was written, in order."""

    sequence: int
    position: dict[str, Any]
    records: list[bytes]


class CheckpointStore:
    """The checkpoints of one read model.

    Args:
        directory: made when missing.
        form: names the layout of the records. Checkpoints of another form are passed over.
        keep_every: one checkpoint is kept for each so many events, for reads of the past.
    """

    def __init__(self, directory: Path, form: str, keep_every: int = 10_000) -> None:
        self._directory = directory
        self._form = f"{LAYOUT} {form}"
        self._keep_every = keep_every

    def write(self, sequence: int, position: Mapping[str, Any], records: Iterable[bytes]) -> Path:
        """Store a state. Blocks until it is on disk; may be called in a thread.

        Raises:
            OSError: the disk is full or not writable; what was there before is untouched.
        """
        payload = b"".join(part for record in records for part in (_LENGTH.pack(len(record)), record))
        header = {
            "form": self._form,
            "sequence": sequence,
            "position": dict(position),
            "sha256": hashlib.sha256(payload).hexdigest(),
        }
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._path(sequence)
        files.write(path, json.dumps(header).encode() + b"\n" + payload)
        self._thin()
        return path

    async def store(self, sequence: int, position: Mapping[str, Any], records: Iterable[bytes]) -> None:
        """Write a state in a thread. Who is cancelled meanwhile waits for the thread: after the end nobody writes.

        Raises:
            OSError: as `write`.
        """
        await self._in_thread(lambda: self.write(sequence, position, records))

    async def _in_thread(self, write: Callable[[], object]) -> None:
        writing = asyncio.ensure_future(asyncio.to_thread(write))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            if error := writing.exception():
                log.warning("checkpoint.not_written", extra={"error": str(error)})
            raise

    def newest(self, at_most: int | None = None) -> Checkpoint | None:
        """Read the newest checkpoint that verifies, or the newest at or before a sequence."""
        for sequence in reversed(self.sequences()):
            if at_most is not None and sequence > at_most:
                continue
            try:
                return self._read(sequence, at_most)
            except (OSError, UnreadableCheckpoint) as error:
                log.warning("checkpoint.unreadable", extra={"path": str(self._path(sequence)), "error": str(error)})
        return None

    def sequences(self) -> list[int]:
        """List the sequences at which there is a checkpoint, oldest first."""
        names = (path.stem for path in self._directory.glob(f"*{SUFFIX}"))
        return sorted(int(name) for name in names if name.isdigit())

    def _read(self, sequence: int, at_most: int | None = None) -> Checkpoint:
        content = self._path(sequence).read_bytes()
        header, start = self.open_header(content, (self._form,))
        return Checkpoint(header["sequence"], header["position"], list(split(content, start)))

    @staticmethod
    def open_header(content: bytes, forms: Collection[str]) -> tuple[dict[str, Any], int]:
        """Verify a checkpoint. Returns its header and where its records begin.

        Raises:
            UnreadableCheckpoint: it is damaged, or of none of these forms.
        """
        start = content.find(b"\n") + 1
        try:
            header = json.loads(content[:start])
            if header["form"] not in forms:
                raise UnreadableCheckpoint("it is of another format")
            if header["sha256"] != hashlib.sha256(memoryview(content)[start:]).hexdigest():
                raise UnreadableCheckpoint("its checksum does not match")
            return {**header, "sequence": int(header["sequence"]), "position": dict(header["position"])}, start
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableCheckpoint("it is damaged") from error

    def _path(self, sequence: int) -> Path:
        return self._directory / f"{sequence:020d}{SUFFIX}"

    def _thin(self) -> None:
        """Remove what is neither among the newest nor the last one of its stretch of the log."""
        sequences = self.sequences()
        kept = {sequence // self._keep_every: sequence for sequence in sequences}
        for sequence in sequences[:-KEEP_NEWEST]:
            if kept[sequence // self._keep_every] != sequence:
                self._path(sequence).unlink(missing_ok=True)


def split(content: bytes, start: int) -> Iterator[bytes]:
    """Read records, each of which stands behind its length."""
    while start < len(content):
        (length,) = _LENGTH.unpack_from(content, start)
        start += _LENGTH.size + length
        yield content[start - length : start]


def compress(content: bytes) -> bytes:
    """Make a record small. It is done again only when the record changes, and fast counts for more than small."""
    return zlib.compress(content, 1)


def decompress(record: bytes) -> bytes:
    return zlib.decompress(record)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Part of a value that is encoded already."""

    content: bytes


class Codec:
    """Turns dataclasses of listed classes into JSON and back, exactly: tuples, sets, enums, messages, NaN and all.

    Args:
        classes: every dataclass, enum and message class that occurs. Others are refused.
    """

    def __init__(self, classes: Iterable[type]) -> None:
        self.classes = frozenset(classes)
        self._fields: dict[type, tuple[str, ...]] = {}
        self._classes: dict[str, type] = {}
        self._messages: dict[str, Any] = {}
        self._enums: dict[str, type[Enum]] = {}
        for cls in self.classes:
            if issubclass(cls, Enum):
                self._enums[cls.__name__] = cls
            elif is_dataclass(cls):
                self._fields[cls] = tuple(field.name for field in fields(cls))
                self._classes[cls.__name__] = cls
            else:
                self._messages[cls.DESCRIPTOR.full_name] = cls  # type: ignore[attr-defined]

    @property
    def form(self) -> str:
        """A digest of the classes and their fields: another one, another format."""
        layout = sorted((cls.__name__, self._fields[cls]) for cls in self._fields)
        return hashlib.sha256(json.dumps(layout).encode()).hexdigest()[:16]

    def encode(self, value: object) -> bytes:
        return orjson.dumps(self._pack(value))

    def piece(self, value: object) -> Encoded:
        """Encode part of a value. It may stand in the value, in the place of the part."""
        return Encoded(self.encode(value))

    def decode(self, content: bytes) -> Any:
        return self._unpack_all([orjson.loads(content)])[0]

    def _pack(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else ["f", repr(value)]
        names = self._fields.get(type(value))
        if names is not None:
            return ["d", type(value).__name__, *[self._pack(getattr(value, name)) for name in names]]
        if isinstance(value, tuple):
            return ["t", *map(self._pack, value)]
        if isinstance(value, list):
            return ["l", *map(self._pack, value)]
        if isinstance(value, dict):
            return ["o", *[[self._pack(key), self._pack(item)] for key, item in value.items()]]
        if isinstance(value, frozenset):
            return ["s", *map(self._pack, sorted(value))]
        if isinstance(value, datetime):
            return ["c", value.isoformat()]
        if isinstance(value, Enum) and type(value).__name__ in self._enums:
            return ["e", type(value).__name__, value.value]
        if isinstance(value, Message) and value.DESCRIPTOR.full_name in self._messages:
            content = base64.b64encode(value.SerializeToString(deterministic=True)).decode()
            return ["m", value.DESCRIPTOR.full_name, content]
        if isinstance(value, Encoded):
            return orjson.Fragment(value.content)
        raise TypeError(f"{type(value).__name__} is not among the classes of this checkpoint")

    def _unpack(self, value: list[Any]) -> Any:
        kind = value[0]
        if kind == "d":
            return self._classes[value[1]](*self._unpack_all(value[2:]))
        if kind == "t":
            return tuple(self._unpack_all(value[1:]))
        if kind == "l":
            return self._unpack_all(value[1:])
        if kind == "o":
            return dict(self._unpack_all(pair) for pair in value[1:])
        if kind == "s":
            return frozenset(self._unpack_all(value[1:]))
        if kind == "f":
            return float(value[1])
        if kind == "c":
            return datetime.fromisoformat(value[1])
        if kind == "e":
            return self._enums[value[1]](value[2])
        return self._messages[value[1]].FromString(base64.b64decode(value[2]))

    def _unpack_all(self, values: list[Any]) -> list[Any]:
        # Most values are scalars: they are themselves, without a call.
        return [self._unpack(value) if type(value) is list else value for value in values]
