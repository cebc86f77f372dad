"""Checkpoints of the views: a restart replays only what came after the last one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import fields
from itertools import islice
from pathlib import Path

import orjson

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.event.v1.common_pb2 import ProcessIdentity, SnapshotOrigin
from milepost.api.event.v1.runtime_events_pb2 import Branch
from milepost.api.runtime.v1.runtime_service_pb2 import Snapshot
from milepost.domain import runtime, search, stalls, steering, trial
from milepost.eventlog import Head
from services.readmodel.checkpoints import Checkpoint, Codec, compress, decompress
from services.readmodel.incremental import ChainLost, IncrementalStore
from services.runtime.readmodel.pieces import Pieces
from services.runtime.readmodel.view import (
    AT_REST,
    Reference,
    RuntimeView,
    Summary,
    TrialView,
    Written,
    phase_word,
    summarize,
)
from services.runtime.readmodel.views import Views

log = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
EVERY_EVENTS = 1_000
# But not more often than this: the tail that a restart replays stays short either way.
MIN_SECONDS = 5.0
# Views that are encoded before others get their turn.
SLICE = 16
# Of large views: pieces.
PIECES_AT_ONCE = 50

CODEC = Codec(
    [
        *(RuntimeView, TrialView, Reference, Head, Summary),
        *(runtime.Runtime, runtime.Stop, runtime.Allocation, runtime.Pending, runtime.Status, runtime.Phase),
        *(
            search.History,
            search.Suggested,
            search.Reported,
            search.Reached,
            search.Pruned,
            search.Promoted,
            search.Ended,
            search.Earlier,
        ),
        *(trial.Trial, trial.Queued, trial.Retrying, trial.Stopped, trial.Completed, trial.Failed, trial.Active),
        *(trial.StopOrder, trial.RollBackOrder, trial.Ending, trial.Segment, trial.Abandoned),
        *(trial.SnapshotRecord, trial.Plan),
        *(stalls.Stalls, stalls.Stack, stalls.Group),
        *(steering.Steering, steering.Steerable, steering.Change, steering.Request),
        *(RuntimeConfiguration, Snapshot, facts.AttemptLaunched, facts.AttemptFenced, ProcessIdentity),
        *(SnapshotOrigin, Branch),
    ]
)


_SUMMARY_FIELDS = tuple(field.name for field in fields(Summary))


def digest(views: Views) -> str:
    """Hash all views: equal digests, equal views."""
    total = hashlib.sha256()
    for entry in views.runtimes.entries():
        content = _content(entry.record) if isinstance(entry, Written) else CODEC.encode(entry)
        total.update(len(content).to_bytes(8, "big"))
        total.update(content)
    return total.hexdigest()


def to_record(view: RuntimeView) -> bytes:
    """Write a view down: its summary, a tab, and all of it, compressed."""
    return _head(view) + b"\t" + compress(CODEC.encode(view))


def _head(view: RuntimeView) -> bytes:
    summary = summarize(view)
    return orjson.dumps([getattr(summary, name) for name in _SUMMARY_FIELDS])


def open_record(record: bytes) -> RuntimeView:
    """Read what `to_record` wrote."""
    view: RuntimeView = CODEC.decode(_content(record))
    return view


def _content(record: bytes) -> bytes:
    return decompress(record[record.index(b"\t") + 1 :])


def _written(record: bytes) -> Written:
    return Written(Summary(*orjson.loads(record[: record.index(b"\t")])), record)


def restore(views: Views, checkpoint: Checkpoint) -> None:
    """Fill empty views from a checkpoint."""
    for record in checkpoint.records:
        views.lay(_written(record), open_record)
    views.ignored.update(checkpoint.position["ignored"])
    views.sequence = checkpoint.sequence
    views.skipped = int(checkpoint.position["skipped"])
    views.unreadable = int(checkpoint.position["unreadable"])
    views.set_aside.restore(checkpoint.position["set_aside"])


def key_of(record: bytes) -> bytes:
    """Return the id of the runtime that a record is of."""
    head: list[str] = orjson.loads(record[: record.index(b"\t")])
    return head[0].encode()


class Checkpointing:
    """Writes down what changes in the views.

    Args:
        stream_created: identity of the stream; checkpoints of another one do not count.
    """

    def __init__(self, directory: Path, views: Views, stream_created: int) -> None:
        self._store = IncrementalStore(directory, CODEC.form, key_of)
        self._views = views
        self._stream_created = stream_created
        # What changed since the last checkpoint, as it is to be written.
        self._pending: dict[bytes, bytes] = {}
        # Of large views: the head of the record, and what is to be compressed.
        self._large: dict[str, tuple[bytes, bytes]] = {}
        self._pieces = Pieces(CODEC)
        self._written = 0

    async def restore(self, last_sequence: int) -> None:
        """Begin from the newest checkpoint of this stream that verifies; from nothing where there is none."""
        checkpoint = await asyncio.to_thread(self._store.resume, last_sequence, self._is_ours)
        if checkpoint is not None:
            restore(self._views, checkpoint)
            self._written = checkpoint.sequence
            log.info(
                "checkpoint.restored", extra={"sequence": checkpoint.sequence, "runtimes": len(checkpoint.records)}
            )

    def newest(self, at_most: int) -> Checkpoint | None:
        """Read the newest checkpoint of this stream at or before a sequence."""
        checkpoint = self._store.newest(at_most)
        return checkpoint if checkpoint is not None and self._is_ours(checkpoint) else None

    def before(self, sequence: int) -> Views:
        """Return views of their own as they were written down at or before a sequence; empty ones where they were not."""
        views, checkpoint = Views(), self.newest(sequence)
        if checkpoint is not None:
            restore(views, checkpoint)
        return views

    def _is_ours(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.position.get("stream") == self._stream_created

    async def run(self) -> None:
        """Write for ever: when many events came, and after a while when some did."""
        waited = 0.0
        while True:
            await asyncio.sleep(1.0)
            waited += 1.0
            grown = self._views.sequence - self._written
            if (grown >= EVERY_EVENTS and waited >= MIN_SECONDS) or (grown and waited >= EVERY_SECONDS):
                await self.write()
                waited = 0.0

    async def write(self) -> None:
        """Write the views as they are. A disk that is full is logged; what was written before stays."""
        if self._views.sequence == self._written:
            return
        await self._encode_ahead()
        # From here to the thread nothing else runs: the records are the views at this sequence.
        self._encode(len(self._views.changed))
        sequence, changes, self._pending = self._views.sequence, self._pending, {}
        large, self._large = self._large, {}
        position = {
            "stream": self._stream_created,
            "skipped": self._views.skipped,
            "unreadable": self._views.unreadable,
            "set_aside": self._views.set_aside.to_json(),
            "ignored": sorted(self._views.ignored),
        }
        try:
            if large:
                changes |= await asyncio.to_thread(_compressed, large)
            large = {}
            await self._store.store_changes(sequence, position, changes)
            self._written, changes = sequence, {}
        except ChainLost as error:
            log.warning("checkpoint.begun_anew", extra={"error": str(error)})
            self._views.changed = dict.fromkeys(self._views.runtimes)
        except OSError as error:
            log.warning("checkpoint.not_written", extra={"error": str(error)})
        finally:
            # Also of a write that was cancelled nobody knows whether it is on disk.
            self._pending = {**changes, **self._pending}
            self._views.changed |= dict.fromkeys(large)

    async def _encode_ahead(self) -> None:
        """Encode what changed, a slice at a time. What changes meanwhile is little, and is encoded again at the end."""
        for runtime_id in list(self._views.changed):
            entry = self._views.runtimes.entry(runtime_id)
            if not isinstance(entry, Written) and self._pieces.is_large(entry):
                while not self._pieces.prepare(entry, PIECES_AT_ONCE):
                    await asyncio.sleep(0)
        for _ in range(len(self._views.changed) // SLICE):
            self._encode(SLICE)
            await asyncio.sleep(0)

    def _encode(self, count: int) -> None:
        """Encode some of the runtimes that changed, those first that did so first."""
        changed = self._views.changed
        for runtime_id in list(islice(changed, count)):
            del changed[runtime_id]
            entry = self._views.runtimes.entry(runtime_id)
            self._large.pop(runtime_id, None)
            if isinstance(entry, Written):
                self._pending[runtime_id.encode()] = entry.record
            elif self._pieces.is_large(entry):
                self._pending.pop(runtime_id.encode(), None)
                self._large[runtime_id] = (_head(entry), self._pieces.encode(entry))
                if phase_word(entry) in AT_REST:
                    self._pieces.forget(runtime_id)
            else:
                self._pending[runtime_id.encode()] = to_record(entry)


def _compressed(large: Mapping[str, tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Make records of what large views are."""
    return {runtime_id.encode(): head + b"\t" + compress(content) for runtime_id, (head, content) in large.items()}
