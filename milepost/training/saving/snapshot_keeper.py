"""Takes the snapshots of one instance: writes in the loop, commits beside it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import AttemptLaunch, InstanceReport, SnapshotPart
from milepost.errors import MilepostError
from milepost.snapshots import Manifest, snapshot_id
from milepost.training.saving.adopted import Adopted, Examined, examine, wait_for_parts
from milepost.training.saving.keeper import Record, State
from milepost.training.saving.savable import StateNotSavable, check_savable
from milepost.training.saving.snapshot_policy import Since, snapshot_due
from milepost.training.saving.snapshots import Boundary, DataState, SnapshotDraft
from milepost.training.telemetry.batches import SNAPSHOTTING
from milepost.training.user_code.ending import DaemonThreads

log = logging.getLogger(__name__)

# How long a commit waits for the points up to its step to be stored; then they go into the snapshot.
STORED_SECONDS = 10.0
# How long a commit waits for the other ranks to write.
PARTS_SECONDS = 300.0
# After so long it is said that training waits for a commit.
SLOW_SECONDS = 600.0


def staging_folder(launch: AttemptLaunch) -> Path:
    """Return where an attempt keeps what is on its way from or to a storage that is elsewhere."""
    return Path(launch.attempt_directory) / "staging"


class PartMissing(RuntimeError):
    """Another rank did not write its part of a snapshot."""


class Parts:
    """On rank 0: what the other ranks have written. Heard in the background, awaited by the committer."""

    def __init__(self, world_size: int) -> None:
        self._others = range(1, world_size)
        self._heard: dict[str, dict[int, str]] = {}
        self._changed = threading.Condition()

    def receive(self, part: SnapshotPart) -> None:
        with self._changed:
            self._heard.setdefault(part.snapshot_id, {})[part.rank] = part.failure
            self._changed.notify_all()

    def wait(self, identifier: str, seconds: float) -> None:
        """Wait until every other rank has written its part.

        Raises:
            PartMissing: one could not, or did not in time.
        """

        def is_settled() -> bool:
            heard = self._heard.get(identifier, {})
            return any(heard.values()) or all(rank in heard for rank in self._others)

        with self._changed:
            in_time = self._changed.wait_for(is_settled, seconds)
            heard = self._heard.pop(identifier, {})
        for rank, failure in sorted(heard.items()):
            if failure:
                raise PartMissing(f"rank {rank}: {failure}")
        if not in_time:
            missing = ", ".join(str(rank) for rank in self._others if rank not in heard)
            raise PartMissing(f"nothing came from rank {missing} within {seconds:g} s")


@dataclass(frozen=True, slots=True)
class Draft:
    """A snapshot that is written but not committed."""

    files: SnapshotDraft
    boundary: Boundary
    reason: facts.SnapshotReason
    started: float


class SnapshotKeeper:
    """Knows when a snapshot is due, takes it, and has it committed in a thread of its own."""

    def __init__(self, launch: AttemptLaunch, rank: int, world_size: int, record: Record) -> None:
        self._launch = launch
        self._policy = launch.configuration.snapshots
        self._rank = rank
        self._world_size = world_size
        self._record = record
        self._storage_uri = launch.snapshot_storage_uri
        self._staging = staging_folder(launch)
        self._state: State | None = None
        self._sharded = False
        self._metrics: dict[str, float] = {}
        self._epochs = 0
        self._since_step = 0
        self._since_epochs = 0
        self._since_time = time.monotonic()
        # The step of the last snapshot that was taken or restored, and of the last that is committed.
        self._last_step = 0
        self._committed_step = 0
        # The step whose state was refused, and what was said of it: the same again is not said again.
        self._refused_step = -1
        self._refusal: StateNotSavable | None = None
        self._parts = Parts(world_size)
        self._committer = DaemonThreads()
        self._commit: Future[None] | None = None
        self._closed = False

    def close(self) -> None:
        """Take no more snapshots: nobody would know of them."""
        self._closed = True

    def register(self, state: State, sharded: bool = False) -> None:
        """Remember the function that gives the state, and whether each rank writes a part of it."""
        self._state, self._sharded = state, sharded

    @property
    def gives_state(self) -> bool:
        """Whether a function gives the state."""
        return self._state is not None

    def refuse(self, step: int, detail: str) -> None:
        """Say why none is taken that was asked for. May come from any thread."""
        if self._rank == 0:
            identifier = snapshot_id(step, self._launch.attempt)
            failed = facts.SnapshotFailed(
                attempt=self._launch.attempt, snapshot_id=identifier, step=step, detail=detail
            )
            self._record.report(failed)

    def restored(self, boundary: Boundary) -> None:
        self._since_step = self._last_step = self._committed_step = boundary.step

    def epoch_ended(self) -> None:
        self._epochs += 1

    def evaluated(self, values: Mapping[str, float]) -> None:
        self._metrics.update(values)

    def due(self, step: int) -> bool:
        """Return whether an interval has ended. While a commit is under way none is due: training does not wait."""
        since = Since(step - self._since_step, self._epochs - self._since_epochs, time.monotonic() - self._since_time)
        free = self._commit is None or self._commit.done()
        # Others may begin at a rung, so it does not move because the one before it is still being committed.
        wanted = self._is_at_rung(step) or (free and snapshot_due(self._policy, since))
        return not self._closed and wanted

    def due_by_count(self, step: int) -> bool:
        """Return whether an interval in steps or epochs has ended, on every rank the same."""
        since = Since(step - self._since_step, self._epochs - self._since_epochs, 0.0)
        return self._is_at_rung(step) or snapshot_due(self._policy, since)

    def _is_at_rung(self, step: int) -> bool:
        rung_steps = self._launch.rung_steps
        return rung_steps > 0 and step > self._since_step and step % rung_steps == 0

    def receive_part(self, part: SnapshotPart) -> None:
        """Take in that another rank has written its part."""
        self._parts.receive(part)

    def can_snapshot(self, step: int) -> bool:
        """Return whether there is anything new to save, and a function that gives it."""
        unsaved = step > self._last_step and step != self._refused_step
        return self._state is not None and unsaved and not self._closed

    def take(self, boundary: Boundary, data: DataState, reason: facts.SnapshotReason) -> None:
        """Write a snapshot, and hand it to the committer.

        A disk that is full or broken, or a state that could not be read back, fails the snapshot, not the training. Of
        several ranks each gives its state, for it may take a collective to gather it; rank 0 writes it, and each rank
        its own generators and position.
        """
        if self._state is None:
            raise RuntimeError("no function gives the state: call maybe_snapshot first")
        self.wait()
        if self._closed:
            return
        self._since_step, self._since_epochs, self._since_time = boundary.step, self._epochs, time.monotonic()
        identifier = snapshot_id(boundary.step, self._launch.attempt)
        position, started = self._record.position, time.monotonic()
        phase, position.phase = position.phase, SNAPSHOTTING
        if not self._refusal:
            self._begun(identifier, boundary.step, reason)
        if self._world_size > 1:
            # Also where it fails, on whichever rank: all of them must find the same snapshots due.
            self._last_step = boundary.step
        files = None
        try:
            state = self._state()
            files = SnapshotDraft(self._storage_uri, identifier, self._staging, shared=self._world_size > 1)
            if self._sharded:
                files.save_shards(state)
            elif self._rank == 0:
                files.save_state(state)
            files.save_rank(self._rank, boundary, self._savable(data))
        except StateNotSavable as error:
            if files is not None and self._rank == 0:
                files.discard()
            self._refused(identifier, boundary.step, error)
            return
        except (OSError, RuntimeError, MilepostError) as error:
            # torch.save tells of a full disk by a RuntimeError.
            if files is not None and self._rank == 0:
                files.discard()
            self._failed(identifier, boundary.step, error)
            return
        finally:
            position.phase = phase
            position.busy_seconds += time.monotonic() - started
        if self._refusal:
            self._refusal = None
            self._begun(identifier, boundary.step, reason)
        self._last_step = boundary.step
        self._commit = self._committer.submit(self._finish, Draft(files, boundary, reason, started))

    def _begun(self, identifier: str, step: int, reason: facts.SnapshotReason) -> None:
        if self._rank == 0:
            begun = facts.SnapshotStarted(
                attempt=self._launch.attempt, snapshot_id=identifier, step=step, reason=reason
            )
            self._record.report(begun)

    def _savable(self, data: DataState) -> DataState:
        """Leave out a loader's own state that could not be read back: its batches are counted off then."""
        try:
            check_savable(data.loader, "loader.state_dict()")
        except StateNotSavable as error:
            self._record.warn("loader_state", f"{error}; after a resume its batches are skipped by counting")
            return replace(data, loader=None)
        return data

    def _refused(self, identifier: str, step: int, error: StateNotSavable) -> None:
        """Say once what of the state cannot be saved. Training goes on, and so do the tries."""
        self._refused_step = step
        # Rank 0 waits for what each other rank has to say.
        if str(error) != str(self._refusal) or self._rank != 0:
            self._failed(identifier, step, error)
        elif self._world_size == 1:
            self._last_step = self._committed_step
        self._refusal = error

    def raise_refusal(self) -> None:
        """Raise what was refused at the last try, if that is so.

        Raises:
            StateNotSavable: it could not be read back.
        """
        if self._refusal is not None:
            raise self._refusal

    def adopt(self, checkpoint: Adopted, boundary: Boundary, reason: facts.SnapshotReason) -> None:
        """Have a checkpoint that another library wrote copied, looked at and committed as a snapshot, beside the loop."""
        if boundary.step <= self._last_step or self._closed:
            return
        self.wait()
        self._since_step = self._last_step = boundary.step
        self._since_epochs, self._since_time = self._epochs, time.monotonic()
        identifier = snapshot_id(boundary.step, self._launch.attempt)
        self._begun(identifier, boundary.step, reason)
        self._commit = self._committer.submit(self._copy, checkpoint, identifier, boundary, reason)

    def _copy(self, checkpoint: Adopted, identifier: str, boundary: Boundary, reason: facts.SnapshotReason) -> None:
        started = time.monotonic()
        files = None
        try:
            if missing := wait_for_parts(checkpoint.source, checkpoint.parts):
                self._record.warn(
                    "checkpoint_parts",
                    f"the checkpoint of step {boundary.step:,} lacks {', '.join(missing)}, which other processes were to write",
                )
            files = SnapshotDraft(self._storage_uri, identifier, self._staging)
            found = examine(files.copy(checkpoint.source), checkpoint.plain)
        except (OSError, RuntimeError, StateNotSavable, MilepostError) as error:
            if files is not None:
                files.discard()
            self._failed(identifier, boundary.step, error)
            return
        self._say_what_is_not_known(found, says_how=bool(checkpoint.plain))
        self._finish(Draft(files, boundary, reason, started))

    def _say_what_is_not_known(self, found: Examined, says_how: bool) -> None:
        """Say once what of an adopted checkpoint only its library can tell."""
        if found.with_code and not says_how:
            kinds = sorted({kind for refused in found.with_code.values() for kind in refused})
            named = ", ".join(kinds[:5]) + (" ..." if len(kinds) > 5 else "")
            self._record.warn(
                "checkpoint_code",
                f"{', '.join(sorted(found.with_code)[:3])} of the checkpoint is read back with weights_only=False only, for it "
                f"holds {named}",
            )
        if found.unknown:
            self._record.warn(
                "checkpoint_unknown",
                f"of the checkpoint's files {', '.join(found.unknown[:5])} {'...' if len(found.unknown) > 5 else ''}"
                "it is known only that they were copied as they were",
            )

    def _failed(self, identifier: str, step: int, error: Exception) -> None:
        detail = f"{type(error).__name__}: {error}"
        if self._world_size == 1:
            # Nothing is saved of this step: a stop may try again.
            self._last_step = self._committed_step
        self._record.warn("snapshot", f"the snapshot at step {step} failed: {detail}")
        if self._rank != 0:
            self._send_part(identifier, detail[:500])
            return
        failed = facts.SnapshotFailed(
            attempt=self._launch.attempt, snapshot_id=identifier, step=step, detail=detail[:500]
        )
        self._record.report(failed)

    def _send_part(self, identifier: str, failure: str = "") -> None:
        part = SnapshotPart(snapshot_id=identifier, rank=self._rank, failure=failure)
        self._record.send(InstanceReport(snapshot_part=part))

    def _finish(self, draft: Draft) -> None:
        """Commit a draft: parts of all ranks, points stored or taken along, checksums, rename, report."""
        boundary, files = draft.boundary, draft.files
        try:
            if self._rank == 0 and self._world_size > 1:
                # Before the points: with its part a rank has sent all that goes into their means.
                self._parts.wait(files.snapshot_id, PARTS_SECONDS)
            if not self._record.wait_stored(STORED_SECONDS):
                self._record.copy_unstored(files.folder / f"telemetry-rank-{self._rank}.sqlite")
            if self._rank != 0:
                self._send_part(files.snapshot_id)
                return
            manifest = Manifest(
                runtime_id=self._launch.runtime_id,
                trial=self._launch.trial,
                attempt=self._launch.attempt,
                snapshot_id=files.snapshot_id,
                step=boundary.step,
                epoch=boundary.epoch,
                batch=boundary.batch,
                world_size=self._world_size,
                evaluation_due=boundary.evaluation_due,
                tokens=boundary.tokens,
            )
            digest, size, count = files.publish(manifest)
        except (OSError, RuntimeError, MilepostError) as error:
            if self._rank == 0:
                files.discard()
            self._failed(files.snapshot_id, boundary.step, error)
            return
        committed = facts.SnapshotCommitted(
            attempt=self._launch.attempt,
            snapshot_id=files.snapshot_id,
            step=boundary.step,
            epoch=boundary.epoch,
            batch=boundary.batch,
            uri=files.uri,
            manifest_sha256=digest,
            byte_count=size,
            file_count=count,
            reason=draft.reason,
            duration_seconds=time.monotonic() - draft.started,
            metrics=self._known_metrics(),
            world_size=self._world_size,
        )
        self._committed_step = boundary.step
        self._record.report(committed)
        self._record.say(f"snapshot {files.snapshot_id} committed", {})

    def _known_metrics(self) -> dict[str, float]:
        wanted = self._policy.keep_best.metric
        value = self._record.last_values.get(wanted)
        return {**({wanted: value} if wanted and value is not None else {}), **self._metrics}

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the commit that is under way, however long it takes: a slow store is no error of the training.

        Args:
            seconds: no longer than this. None: without a limit; where it takes long, that is said.

        Raises:
            TimeoutError: it took longer than `seconds`.
        """
        if self._commit is None:
            return
        while seconds is None and not futures.wait([self._commit], SLOW_SECONDS).done:
            self._record.warn(
                "snapshot_slow",
                f"the commit of the snapshot at step {self._last_step:,} takes more than {SLOW_SECONDS:,.0f} s; "
                "training waits for it",
            )
        self._commit.result(seconds)
