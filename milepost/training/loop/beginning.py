"""How training begins: from nothing, from a snapshot, or after a step of which the script has a checkpoint of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.errors import FailedPrecondition
from milepost.snapshots import SnapshotInvalid, fetch, read_manifest
from milepost.storage import folder_of, local_path
from milepost.training.loop.host import Host
from milepost.training.loop.progress import Progress
from milepost.training.loop.steering.steering import Steering
from milepost.training.saving import rng
from milepost.training.saving.snapshot_keeper import staging_folder
from milepost.training.saving.snapshots import ADOPTED, Boundary, Restored, load, load_weights
from milepost.training.telemetry.batches import TRAINING
from milepost.training.user_code.forks import rest_in_children

# Why a resume need not be exact.
_DATA_UNKNOWN = (
    "which examples the loop had read is not in the snapshot: its loader is not in trial.batches or trial.track, or an "
    "epoch reads several; its steps from here on are those of an unbroken run only if it finds its place by itself"
)


class Beginning:
    """What is done once, before the first step or with it."""

    def __init__(self, host: Host, progress: Progress, steering: Steering) -> None:
        self._host = host
        self._progress = progress
        self._steering = steering
        # No step has been done: `log` has something else to do than to append.
        self.is_awaited = True
        self.is_done = False
        # The first step that is logged says from where a script goes on.
        self.says_first = False
        # The one that has done the first step.
        self.thread: threading.Thread | None = None
        # The other processes of a script's group were found.
        self._joined = False
        self._restored_snapshot = ""
        # Why steps after a resume are not those of a run that was never stopped; empty: they are.
        self._inexact = ""
        rest_in_children(self)

    def rest_in_child(self) -> None:
        """Have nothing begin in a child that was forked off."""
        self.is_awaited = False

    def attend(self, first: int) -> None:
        """Do what only the first step needs, which has this number."""
        self.is_awaited = False
        self.thread = threading.current_thread()
        self._join_group(at_step=True)
        if self.says_first and first > 1:
            self.go_on_after(first - 1)
        self.begin()

    def begin(self) -> None:
        """Say that training begins. Repeats do nothing."""
        self._join_group(at_step=False)
        if self.is_done:
            return
        host, position = self._host, self._progress.position
        if self.says_first and not position.step:
            host.warn(
                "beginning",
                "this run begins again: it has restored no snapshot, and named no step to go on from. What it did before is "
                "superseded. Where it has a checkpoint of its own, init(resume=..., step=...) says so",
            )
        origin = host.launch.origin_step
        if origin and position.step < origin:
            raise FailedPrecondition(
                f"a branch begins at step {origin:,}: call trial.restore() before the first step, or "
                "trial.restored_checkpoint() where another library saves",
                reason="NOT_RESTORED",
            )
        self.is_done, self.says_first = True, False
        position.phase = TRAINING
        host.report(
            facts.AttemptStarted(
                attempt=host.launch.attempt,
                restored_snapshot_id=self._restored_snapshot,
                restored_step=position.step,
                world_size=host.rank.world_size,
                inexact=self._inexact,
            )
        )
        self._steering.begin()
        host.report_own(
            facts.InstanceReadinessChanged(
                attempt=host.launch.attempt, rank=host.rank.rank, ready=True, reason="training begins"
            )
        )
        host.begin(position.step)

    def begin_unless_awaited(self) -> None:
        """Begin, unless the first step that is logged is to say where."""
        if not self.says_first:
            self.begin()

    def go_on_after(self, step: int | None) -> None:
        """Go on after a step of which the script has a checkpoint of its own. None: the first step it logs says it."""
        if step is None:
            self.says_first = True
        else:
            self._host.launch.snapshot_id = ""
            position = self._progress.position
            self._go_on_from(Boundary(step, position.epoch, position.batch))

    def restore(self, map_location: Any, into: Callable[[], dict[str, Any]] | None) -> dict[str, Any] | None:
        """Load the state to go on from; see `Trial.restore`."""
        self._check_snapshot_is_known()
        launch = self._host.launch
        if not launch.snapshot_id:
            self.begin_unless_awaited()
            if launch.initialize_from_uri:
                committed = launch.initialize_from_manifest_sha256
                weights = load_weights(launch.initialize_from_uri, self._staging(), committed, map_location, into)
                return {"initialize_from": weights}
            return None
        self._check_snapshot_is_here()
        rank = self._host.rank.rank
        restored = load(launch.snapshot_uri, rank, self._staging(), launch.manifest_sha256, map_location, into)
        self._go_on_from(self._boundary_of(restored))
        return restored.state

    def _boundary_of(self, restored: Restored) -> Boundary:
        """Return where a snapshot goes on, and say why that may not be exact."""
        host, boundary, writers = self._host, restored.boundary, self._host.rank.writers
        if restored.manifest.world_size != writers:
            self._inexact = (
                f"the snapshot is of {restored.manifest.world_size} ranks and restored with {writers}: "
                "the state is the same, the order of data and random numbers need not be"
            )
            host.warn("world_size", self._inexact)
        self._progress.data.restore(restored.data)
        if restored.data.known:
            return boundary
        self._inexact = _DATA_UNKNOWN
        host.warn("resume", f"resumed at step {boundary.step:,}, but {_DATA_UNKNOWN}")
        if boundary.random is not None:
            rng.restore(boundary.random)
        return replace(boundary, batch=0)

    def restored_checkpoint(self) -> Path | None:
        """Return the checkpoint of another library to go on from; see `Trial.restored_checkpoint`."""
        self._check_snapshot_is_known()
        launch = self._host.launch
        if not launch.snapshot_id:
            self.begin_unless_awaited()
            return None
        self._check_snapshot_is_here()
        folder = fetch(launch.snapshot_uri, self._staging(), launch.manifest_sha256)
        manifest = read_manifest(folder_of(str(folder)), launch.manifest_sha256)
        self._go_on_from(Boundary(manifest.step, manifest.epoch, manifest.batch, tokens=manifest.tokens))
        return folder / ADOPTED

    def _go_on_from(self, boundary: Boundary) -> None:
        self._progress.go_on_from(boundary)
        launch = self._host.launch
        self._restored_snapshot = launch.snapshot_id
        if launch.snapshot_id:
            self._progress.to_pass_over = launch.skip_batches
            self._inexact = launch.inexact or self._inexact
        self.begin()

    def _staging(self) -> Path:
        """Return where this rank keeps what is on its way from a storage that is elsewhere."""
        return staging_folder(self._host.launch) / f"rank-{self._host.rank.rank}"

    def _join_group(self, at_step: bool) -> None:
        """Find the processes that train with this one. Their group may be made after the trial."""
        if not self._joined:
            self._joined = self._host.join(at_step)

    def _check_snapshot_is_known(self) -> None:
        self._join_group(at_step=False)
        if not self._host.knows_snapshot:
            raise FailedPrecondition(
                f"this process is rank {self._host.rank.rank} of a group and cannot know yet what the run goes on from: restore "
                "after the process group is made (init_process_group), or start the processes with torchrun",
                reason="GROUP_UNKNOWN",
            )

    def _check_snapshot_is_here(self) -> None:
        """Check that a process of a script's group sees the folder in which the one of rank 0 keeps its snapshots.

        Raises:
            SnapshotInvalid: it does not; says what to do.
        """
        launch, rank = self._host.launch, self._host.rank
        path = local_path(launch.snapshot_uri)
        if rank.rank > 0 and not rank.led and path is not None and not path.exists():
            raise SnapshotInvalid(
                f"{launch.snapshot_id} is at {path} on the machine of rank 0, which this process, rank {rank.rank} on "
                f"{socket.gethostname()}, does not see: give all machines one data folder, MILEPOST_DATA_DIR on a file system "
                "that they share"
            )
