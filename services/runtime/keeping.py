"""Checkpoints of the views: a restart replays only what came after the last one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1.runtime_service_pb2 import Snapshot
from milepost.domain import runtime, trial
from milepost.eventlog import Head
from services.checkpoints import Checkpoint, CheckpointStore, Codec
from services.runtime.views import Reference, RuntimeView, TrialView, Views

log = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
EVERY_EVENTS = 1_000

CODEC = Codec(
    [
        *(RuntimeView, TrialView, Reference, Head),
        *(runtime.Runtime, runtime.Stop, runtime.Allocation, runtime.Pending, runtime.Status, runtime.Phase),
        *(trial.Trial, trial.Queued, trial.Retrying, trial.Stopped, trial.Completed, trial.Failed, trial.Active),
        *(trial.StopOrder, trial.Ending, trial.Segment, trial.SnapshotRecord, trial.Plan),
        *(RuntimeConfiguration, Snapshot, facts.AttemptLaunched, facts.AttemptFenced),
    ]
)


def digest(views: Views) -> str:
    """Hash all views: equal digests, equal views."""
    total = hashlib.sha256()
    for view in views.runtimes.values():
        record = CODEC.encode(view)
        total.update(len(record).to_bytes(8, "big"))
        total.update(record)
    return total.hexdigest()


def restore(views: Views, checkpoint: Checkpoint) -> None:
    """Fill empty views from a checkpoint."""
    for record in checkpoint.records:
        view: RuntimeView = CODEC.decode(record)
        views.runtimes[view.runtime_id] = view
        views.ignored.update(view.ignored)
        for one in view.trials.values():
            views.ignored.update(one.ignored)
    views.sequence = checkpoint.sequence
    views.skipped = int(checkpoint.position["skipped"])
    views.list_revision += 1


class Keeping:
    """Writes the views down while they change.

    Args:
        stream_created: identity of the stream; checkpoints of another one do not count.
    """

    def __init__(self, directory: Path, views: Views, stream_created: int) -> None:
        self._store = CheckpointStore(directory, CODEC.form)
        self._views = views
        self._stream_created = stream_created
        # What was written last of each runtime, and where it stood then.
        self._encoded: dict[str, tuple[int, bytes]] = {}
        self._written = 0

    async def restore(self, last_sequence: int) -> None:
        """Begin from the newest checkpoint of this stream that verifies; from nothing where there is none."""
        checkpoint = await asyncio.to_thread(self.newest, last_sequence)
        if checkpoint is not None:
            restore(self._views, checkpoint)
            self._written = checkpoint.sequence
            log.info(
                "checkpoint.restored", extra={"sequence": checkpoint.sequence, "runtimes": len(checkpoint.records)}
            )

    def newest(self, at_most: int) -> Checkpoint | None:
        """Read the newest checkpoint of this stream at or before a sequence."""
        checkpoint = self._store.newest(at_most)
        ours = checkpoint is not None and checkpoint.position.get("stream") == self._stream_created
        return checkpoint if ours else None

    async def run(self) -> None:
        """Write for ever: when many events came, and after a while when some did."""
        waited = 0.0
        while True:
            await asyncio.sleep(1.0)
            waited += 1.0
            grown = self._views.sequence - self._written
            if grown >= EVERY_EVENTS or (grown and waited >= EVERY_SECONDS):
                await self.write()
                waited = 0.0

    async def write(self) -> None:
        """Write the views as they are. A disk that is full is logged; what was written before stays."""
        sequence = self._views.sequence
        if sequence == self._written:
            return
        records = list(self._records(self._views.runtimes.values()))
        position = {"stream": self._stream_created, "skipped": self._views.skipped}
        try:
            await asyncio.to_thread(self._store.write, sequence, position, records)
            self._written = sequence
        except OSError as error:
            log.warning("checkpoint.not_written", extra={"error": str(error)})

    def _records(self, views: Iterable[RuntimeView]) -> Iterable[bytes]:
        for view in views:
            known = self._encoded.get(view.runtime_id)
            if known is None or known[0] != view.sequence:
                known = (view.sequence, CODEC.encode(view))
                self._encoded[view.runtime_id] = known
            yield known[1]
