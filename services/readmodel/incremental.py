"""Checkpoints that cost what has changed: a base, and a journal of the records that are others since.

    <sequence>.checkpoint   the base: every record, behind its key
    <sequence>.changes      its journal: for each time a checkpoint was written, the records that changed, and where it stood

An entry of a journal has a SHA-256 of its own, names its base by the base's, and the sequence behind which it stands. What
does not follow, such as an entry that a crash has torn, ends the journal, and the next entry is written over it. When a
journal has grown beside its base the two become a new base, in the thread that writes, a slice at a time; until that is
on disk the old ones count.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from milepost import files
from services.readmodel.checkpoints import KEEP_NEWEST, Checkpoint, CheckpointStore, UnreadableCheckpoint, split

SUFFIX = ".changes"
LAYOUT = "keyed-1"
# A journal becomes part of a base when it has half of its bytes, but not before it has so many.
MIN_BYTES = 1 << 20
# Records that are handled before other threads get their turn.
SLICE = 256

_MAGIC = b"MPJ1"
# Magic, bytes of the head, bytes of the records, SHA-256 of both.
_PREFIX = struct.Struct(">4sIQ32s")
_LENGTHS = struct.Struct(">II")

Records = dict[bytes, bytes]

log = logging.getLogger(__name__)


class ChainLost(OSError):
    """The files that the next entry would stand behind are not there any more. The next checkpoint has to have everything."""


@dataclass(slots=True)
class Chain:
    """What the next entry is written behind.

    Attributes:
        base: the sequence of the base.
        digest, base_bytes: of the base.
        sequence: of the last entry; of the base where there is none.
        end: where the journal ends, in bytes.
    """

    base: int
    digest: str
    base_bytes: int
    sequence: int
    end: int = 0


class IncrementalStore(CheckpointStore):
    """The checkpoints of one read model, each written as what changed since the last.

    Args:
        key_of: the key of a record that an earlier version wrote, whose bases had none.
    """

    def __init__(self, directory: Path, form: str, key_of: Callable[[bytes], bytes], keep_every: int = 10_000) -> None:
        super().__init__(directory, form, keep_every)
        self._plain_form = self._form
        self._form = f"{LAYOUT} {form}"
        self._key_of = key_of
        self._chain: Chain | None = None

    # --- reading

    def resume(
        self, at_most: int | None = None, accept: Callable[[Checkpoint], bool] = lambda checkpoint: True
    ) -> Checkpoint | None:
        """Read the newest checkpoint, and go on from it. None: there is none, or it is not accepted; the next is a base."""
        self._chain = None
        for sequence in reversed(self.sequences()):
            if at_most is not None and sequence > at_most:
                continue
            try:
                checkpoint, chain = self._read_chain(sequence, at_most)
            except (OSError, UnreadableCheckpoint) as error:
                log.warning("checkpoint.unreadable", extra={"path": str(self._path(sequence)), "error": str(error)})
                continue
            if not accept(checkpoint):
                return None
            self._chain = chain
            return checkpoint
        return None

    def _read(self, sequence: int, at_most: int | None = None) -> Checkpoint:
        return self._read_chain(sequence, at_most)[0]

    def _read_chain(self, sequence: int, at_most: int | None = None) -> tuple[Checkpoint, Chain]:
        records, position, chain = self._read_records(sequence, at_most)
        return Checkpoint(chain.sequence, position, list(records.values())), chain

    def _read_records(self, base: int, at_most: int | None) -> tuple[Records, dict[str, Any], Chain]:
        """Read a base with what its journal has up to a sequence.

        Raises:
            OSError, UnreadableCheckpoint: the base cannot be read; a journal is read as far as it can be.
        """
        content = self._path(base).read_bytes()
        header, start = self.open_header(content, (self._form, self._plain_form))
        chain = Chain(base, header["sha256"], len(content), header["sequence"])
        if header["form"] == self._form:
            records = dict(_gently(_keyed(content, start)))
        else:
            records = {self._key_of(record): record for record in _gently(split(content, start))}
        position: dict[str, Any] = header["position"]
        try:
            journal = self._journal(base).read_bytes()
        except FileNotFoundError:
            return records, position, chain
        for head, first, end in _entries(journal):
            if head["base"] != chain.digest or head["after"] != chain.sequence:
                break
            if at_most is not None and head["sequence"] > at_most:
                return records, position, chain
            records.update(_gently(_keyed(journal, first, end)))
            position, chain.sequence, chain.end = head["position"], head["sequence"], end
        if chain.end != len(journal):
            extra = {"path": str(self._journal(base)), "bytes": len(journal) - chain.end}
            log.info("checkpoint.torn", extra=extra)
        return records, position, chain

    # --- writing

    async def store_changes(self, sequence: int, position: Mapping[str, Any], changes: Mapping[bytes, bytes]) -> None:
        """Write what changed since the last checkpoint, in a thread. Who is cancelled meanwhile waits for the thread.

        Args:
            changes: the records by key; where there is no checkpoint to go on from, all of them.

        Raises:
            ChainLost: what the changes belong to is gone: the next call begins anew, and has to be given all records.
            OSError: the disk is full or not writable; what was there before is untouched, and these changes are to be given
                again.
        """
        await self._in_thread(lambda: self.write_changes(sequence, position, changes))

    def write_changes(self, sequence: int, position: Mapping[str, Any], changes: Mapping[bytes, bytes]) -> None:
        """Write what changed. Blocks until it is on disk. As `store_changes`."""
        if self._chain is None:
            self._write_base(sequence, position, changes.items())
            return
        self._append(self._chain, sequence, position, changes)
        chain = self._chain
        # One base for each stretch of the log, for reads of the past.
        is_new_stretch = sequence // self._keep_every != chain.base // self._keep_every
        if is_new_stretch or chain.end > max(MIN_BYTES, chain.base_bytes // 2):
            self._join(chain)

    def _append(self, chain: Chain, sequence: int, position: Mapping[str, Any], changes: Mapping[bytes, bytes]) -> None:
        head = json.dumps(
            {"base": chain.digest, "after": chain.sequence, "sequence": sequence, "position": dict(position)}
        ).encode()
        pieces = list(_joined(changes.items()))
        digest, size = _digest((head, *pieces)), sum(map(len, pieces))
        path = self._journal(chain.base)
        is_new = not path.exists()
        with path.open("ab") as file:
            if file.tell() < chain.end or not self._path(chain.base).exists():
                self._chain = None
                raise ChainLost(f"{path} is not as it was written")
            try:
                # What a crash, or a disk that was full, has left behind the last entry.
                file.truncate(chain.end)
                file.write(_PREFIX.pack(_MAGIC, len(head), size, digest) + head)
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    os.truncate(path, chain.end)
                raise
        if is_new:
            files.sync(path.parent)
        chain.sequence, chain.end = sequence, chain.end + _PREFIX.size + len(head) + size

    def _join(self, chain: Chain) -> None:
        """Make a base of a base and its journal."""
        try:
            records, position, found = self._read_records(chain.base, None)
        except (FileNotFoundError, UnreadableCheckpoint):
            found = None
        if found is None or found.sequence != chain.sequence:
            self._chain = None
            raise ChainLost(f"{self._path(chain.base)} is not as it was written")
        self._write_base(chain.sequence, position, records.items())

    def _write_base(self, sequence: int, position: Mapping[str, Any], records: Iterable[tuple[bytes, bytes]]) -> None:
        pieces = list(_joined(records))
        header: dict[str, Any] = {
            "form": self._form,
            "sequence": sequence,
            "position": dict(position),
            "sha256": _digest(pieces).hex(),
        }
        self._directory.mkdir(parents=True, exist_ok=True)
        first = json.dumps(header).encode() + b"\n"
        written = files.write_pieces(self._path(sequence), (first, *pieces))
        # One of the base that was at the same sequence follows this one no more.
        self._journal(sequence).unlink(missing_ok=True)
        self._chain = Chain(sequence, header["sha256"], written, sequence)
        self._thin()

    def _journal(self, base: int) -> Path:
        return self._path(base).with_suffix(SUFFIX)

    def _thin(self) -> None:
        super()._thin()
        kept = {self._journal(sequence) for sequence in self.sequences()[-KEEP_NEWEST:]}
        for path in self._directory.glob(f"*{SUFFIX}"):
            if path not in kept:
                path.unlink(missing_ok=True)


def _keyed(content: bytes, start: int, end: int | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Read records with their keys."""
    stop = len(content) if end is None else end
    while start < stop:
        key, record = _LENGTHS.unpack_from(content, start)
        middle = start + _LENGTHS.size + key
        start = middle + record
        yield content[middle - key : middle], content[middle:start]


def _entries(journal: bytes) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Read the entries of a journal that are whole: the head, and where its records begin and end."""
    start = 0
    while start + _PREFIX.size <= len(journal):
        magic, head, records, digest = _PREFIX.unpack_from(journal, start)
        first = start + _PREFIX.size
        middle, end = first + head, first + head + records
        if magic != _MAGIC or end > len(journal):
            return
        if hashlib.sha256(memoryview(journal)[first:end]).digest() != digest:
            return
        yield json.loads(journal[first:middle]), middle, end
        start = end


def _joined(records: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Write records with their keys, some at a time."""
    rest = iter(records)
    while some := list(islice(rest, SLICE)):
        yield b"".join(part for key, record in some for part in (_LENGTHS.pack(len(key), len(record)), key, record))
        time.sleep(0)


def _gently(records: Iterator[Any]) -> Iterator[Any]:
    """Let other threads have their turn now and then: they would wait for the interpreter for ms at a time."""
    for index, record in enumerate(records):
        if index % SLICE == SLICE - 1:
            time.sleep(0)
        yield record


def _digest(pieces: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
