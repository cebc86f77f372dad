"""Removes the snapshots of a trial that its policy does not keep: first the fact, then the files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import SnapshotPolicy
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain.trial import is_at_rung
from milepost.errors import MilepostError
from milepost.eventlog import RecordedEvent
from milepost.eventlog.codec import decode
from milepost.storage import Folder
from milepost.training.saving.snapshot_policy import Candidate, snapshots_to_delete

log = logging.getLogger(__name__)

# Stands among the ids of runtimes for whoever has pinned a snapshot.
_PIN = "pin"
# Gives the folder of a snapshot by its address and id; raises where that is none of the trial's.
Confine = Callable[[str, str], Folder]


class Retention:
    """Follows the trial's events, and has snapshots deleted after each new one of this attempt."""

    def __init__(
        self, policy: SnapshotPolicy, attempt: int, restored: str, record: Callable[[Message], None], confine: Confine
    ) -> None:
        self._policy = policy
        self._attempt = attempt
        self._restored = restored
        self._record = record
        self._confine = confine
        self._candidates: dict[str, Candidate] = {}
        self._uris: dict[str, str] = {}
        # Snapshots that stay beside those that the policy keeps, by who needs them: runtimes that began there, or a pin.
        self._held: dict[str, set[str]] = {}
        # Its own runtime holds those at multiples of so many steps, for other trials to begin at.
        self._runtime_id, self._rung_steps = "", 0
        self._set_aside: dict[str, Candidate] = {}
        # All whose files are to stay: those that are damaged too, for whoever wants to know why.
        self.committed: set[str] = set()
        self._removals: set[asyncio.Task[None]] = set()

    def apply(self, event: RecordedEvent) -> None:
        """Take notice of an event of the trial."""
        payload = decode(event.type, event.body)
        if isinstance(payload, facts.SnapshotCommitted):
            self._candidates[payload.snapshot_id] = Candidate(payload.snapshot_id, payload.step, dict(payload.metrics))
            self._uris[payload.snapshot_id] = payload.uri
            self.committed.add(payload.snapshot_id)
            if is_at_rung(self._rung_steps, payload.step):
                self._hold(payload.snapshot_id, self._runtime_id)
            if payload.attempt == self._attempt:
                self._delete_old(payload.snapshot_id)
        elif isinstance(payload, facts.AttemptStarted):
            self._candidates = _superseded(self._candidates, payload.restored_step)
            self._set_aside = _superseded(self._set_aside, payload.restored_step)
        elif isinstance(payload, facts.TrialCreated):
            self._runtime_id, self._rung_steps = payload.runtime_id, payload.rung_steps
        elif isinstance(payload, facts.SnapshotHeld):
            self._hold(payload.snapshot_id, payload.runtime_id)
        elif isinstance(payload, facts.SnapshotPinned):
            self._hold(payload.snapshot_id, _PIN)
        elif isinstance(payload, facts.SnapshotLetGo):
            self._let_go(payload.snapshot_id, payload.runtime_id)
        elif isinstance(payload, facts.SnapshotUnpinned):
            self._let_go(payload.snapshot_id, _PIN)
        elif isinstance(payload, facts.SnapshotDeleted):
            self._candidates.pop(payload.snapshot_id, None)
            self._set_aside.pop(payload.snapshot_id, None)
            if payload.reason != facts.SNAPSHOT_DELETE_REASON_CORRUPT:
                self.committed.discard(payload.snapshot_id)
            if payload.attempt == self._attempt:
                self._start_removal(payload.snapshot_id)

    def _hold(self, snapshot_id: str, holder: str) -> None:
        self._held.setdefault(snapshot_id, set()).add(holder)
        if snapshot_id in self._candidates:
            self._set_aside[snapshot_id] = self._candidates.pop(snapshot_id)

    def _let_go(self, snapshot_id: str, holder: str) -> None:
        holders = self._held.get(snapshot_id, set())
        holders.discard(holder)
        if not holders and snapshot_id in self._set_aside:
            self._candidates[snapshot_id] = self._set_aside.pop(snapshot_id)

    def _delete_old(self, newest: str) -> None:
        for name in snapshots_to_delete(self._policy, list(self._candidates.values()), protected=newest):
            # Until the log says that it is deleted, for it may be held meanwhile.
            candidate = self._set_aside[name] = self._candidates.pop(name)
            self._record(
                facts.SnapshotDeleted(
                    attempt=self._attempt,
                    snapshot_id=name,
                    step=candidate.step,
                    reason=facts.SNAPSHOT_DELETE_REASON_RETENTION,
                )
            )

    def _start_removal(self, snapshot_id: str) -> None:
        """Remove the files, now that the log says that they are gone."""
        task = asyncio.create_task(asyncio.to_thread(self._remove, snapshot_id, self._uris[snapshot_id]))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    def _remove(self, snapshot_id: str, uri: str) -> None:
        try:
            self._confine(uri, snapshot_id).remove()
        except (OSError, MilepostError) as error:
            log.warning("snapshot.not_removed", extra={"uri": uri, "error": str(error)})

    async def carry_out(self) -> None:
        """Wait until the files are removed."""
        await asyncio.gather(*self._removals)


def _superseded(candidates: dict[str, Candidate], cut: int) -> dict[str, Candidate]:
    """Mark what an attempt did behind the step that another one went on from."""
    return {
        name: Candidate(c.snapshot_id, c.step, c.metrics, superseded=True) if c.step > cut else c
        for name, c in candidates.items()
    }
