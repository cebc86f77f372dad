"""Checkpoints of the lineages: a restart folds only the events that came after the last one."""

from __future__ import annotations

import asyncio
import logging

from milepost.api.config.v1.configuration_pb2 import KeepBest
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.event.v1.common_pb2 import ProcessIdentity, SnapshotOrigin
from milepost.domain import stalls, steering, trial
from services.metrics.lineage import Cut, Lineages, RuntimeHistory, TrialHistory
from services.readmodel.checkpoints import CheckpointStore, Codec

log = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
EVERY_EVENTS = 1_000

CODEC = Codec(
    [
        *(RuntimeHistory, TrialHistory, Cut),
        *(trial.Trial, trial.Queued, trial.Retrying, trial.Stopped, trial.Completed, trial.Failed, trial.Active),
        *(trial.StopOrder, trial.RollBackOrder, trial.Ending, trial.Segment, trial.Abandoned),
        *(trial.SnapshotRecord, trial.Plan),
        *(stalls.Stalls, stalls.Stack, stalls.Group),
        *(steering.Steering, steering.Steerable, steering.Change, steering.Request),
        *(KeepBest, facts.AttemptLaunched, facts.AttemptFenced, ProcessIdentity, SnapshotOrigin),
    ]
)


class Checkpointing:
    """Writes lineages down while they grow, and begins from what was written."""

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        # What was written last of each runtime, and where it stood then.
        self._encoded: dict[str, tuple[int, bytes]] = {}
        self._written = 0
        self._stream_created = 0

    async def restore(self, lineages: Lineages, stream_created: int, last_sequence: int) -> None:
        """Fill empty lineages from the newest checkpoint that verifies.

        Args:
            stream_created: identity of the stream; checkpoints of another one do not count.
            last_sequence: where the stream ends; checkpoints of what is behind it do not count.
        """
        self._stream_created = stream_created
        checkpoint = await asyncio.to_thread(self._store.newest, last_sequence)
        if checkpoint is None or checkpoint.position.get("stream") != stream_created:
            return
        histories: list[RuntimeHistory] = [CODEC.decode(record) for record in checkpoint.records]
        self._encoded = {
            history.runtime_id: (history.sequence, record)
            for history, record in zip(histories, checkpoint.records, strict=True)
        }
        lineages.restore(histories, checkpoint.sequence, int(checkpoint.position["unknown_events"]))
        # A checkpoint of an earlier version has none.
        lineages.set_aside.restore(checkpoint.position.get("set_aside", {}))
        self._written = checkpoint.sequence
        log.info("checkpoint.restored", extra={"sequence": checkpoint.sequence, "runtimes": len(histories)})

    async def run(self, lineages: Lineages) -> None:
        """Write for ever: when many events came, and after a while when some did."""
        waited = 0.0
        while True:
            await asyncio.sleep(1.0)
            waited += 1.0
            grown = lineages.sequence - self._written
            if grown >= EVERY_EVENTS or (grown and waited >= EVERY_SECONDS):
                await self.write(lineages)
                waited = 0.0

    async def write(self, lineages: Lineages) -> None:
        """Write lineages as they are. A disk that is full is logged; what was written before stays."""
        sequence = lineages.sequence
        if sequence == self._written or not self._stream_created:
            return
        for history in lineages.histories():
            known = self._encoded.get(history.runtime_id)
            if known is None or known[0] != history.sequence:
                self._encoded[history.runtime_id] = (history.sequence, CODEC.encode(history))
        records = [record for _, record in self._encoded.values()]
        position = {
            "stream": self._stream_created,
            "unknown_events": lineages.unknown_events,
            "set_aside": lineages.set_aside.to_json(),
        }
        try:
            await self._store.store(sequence, position, records)
            self._written = sequence
        except OSError as error:
            log.warning("checkpoint.not_written", extra={"error": str(error)})
