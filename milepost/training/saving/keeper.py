"""Who keeps the snapshots of one process, as its trial sees them, and what they ask of whoever records the attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import InstanceReport, SnapshotPart
from milepost.training.saving.adopted import Adopted
from milepost.training.saving.snapshots import Boundary, DataState
from milepost.training.telemetry.batches import Position

# How long the end of an attempt that failed waits for a commit that is under way.
COMMIT_SECONDS = 600.0

State = Callable[[], Mapping[str, Any]]


class Record(Protocol):
    """What becomes of an attempt is recorded here: facts, lines, and the values that were logged."""

    @property
    def position(self) -> Position: ...

    @property
    def last_values(self) -> Mapping[str, float]:
        """The last value of each series, as far as batches were cut."""
        ...

    def report(self, payload: Message) -> None:
        """Hand over a fact about the attempt. Only rank 0 speaks for it."""
        ...

    def send(self, report: InstanceReport) -> None:
        """Hand something to the driver."""
        ...

    def say(self, what: str, values: Mapping[str, float]) -> None:
        """Write a line about progress into the trial's log."""
        ...

    def warn(self, problem: str, text: str) -> None:
        """Say a problem, once."""
        ...

    def wait_stored(self, seconds: float) -> bool:
        """Wait until everything that was logged so far is stored."""
        ...

    def copy_unstored(self, path: Path) -> int:
        """Write what is not known to be stored into a spool of its own. Returns how many batches that are."""
        ...


class Keeper(Protocol):
    """Knows when a snapshot is due, and takes it."""

    @property
    def gives_state(self) -> bool:
        """Whether a function gives the state."""
        ...

    def refuse(self, step: int, detail: str) -> None:
        """Say why none is taken that was asked for."""
        ...

    def register(self, state: State, sharded: bool = False) -> None:
        """Remember the function that gives the state, and whether each rank writes a part of it."""
        ...

    def restored(self, boundary: Boundary) -> None: ...

    def epoch_ended(self) -> None: ...

    def evaluated(self, values: Mapping[str, float]) -> None: ...

    def due(self, step: int) -> bool:
        """Return whether an interval has ended."""
        ...

    def due_by_count(self, step: int) -> bool:
        """Return whether an interval in steps or epochs has ended, on every rank the same."""
        ...

    def can_snapshot(self, step: int) -> bool:
        """Return whether there is anything new to save, and a function that gives it."""
        ...

    def take(self, boundary: Boundary, data: DataState, reason: facts.SnapshotReason) -> None:
        """Write a snapshot, and have it committed beside the loop."""
        ...

    def adopt(self, checkpoint: Adopted, boundary: Boundary, reason: facts.SnapshotReason) -> None:
        """Have a checkpoint that another library wrote committed as a snapshot, beside the loop."""
        ...

    def receive_part(self, part: SnapshotPart) -> None:
        """Take in that another rank has written its part."""
        ...

    def raise_refusal(self) -> None:
        """Raise what was refused at the last try, if that is so."""
        ...

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the commit that is under way. None: however long it takes."""
        ...

    def close(self) -> None:
        """Take no more snapshots."""
        ...


class NoSnapshots:
    """Takes none: that is left to the process that records."""

    @property
    def gives_state(self) -> bool:
        return False

    def refuse(self, step: int, detail: str) -> None:
        """Leave it to the process that records."""

    def register(self, state: State, sharded: bool = False) -> None:
        """Nobody asks for the state."""

    def restored(self, boundary: Boundary) -> None:
        """No interval begins."""

    def epoch_ended(self) -> None:
        """No interval ends."""

    def evaluated(self, values: Mapping[str, float]) -> None:
        """No snapshot is the best."""

    def due(self, step: int) -> bool:
        return False

    def due_by_count(self, step: int) -> bool:
        return False

    def can_snapshot(self, step: int) -> bool:
        return False

    def take(self, boundary: Boundary, data: DataState, reason: facts.SnapshotReason) -> None:
        """Leave it to the process that records."""

    def adopt(self, checkpoint: Adopted, boundary: Boundary, reason: facts.SnapshotReason) -> None:
        """Leave it to the process that records."""

    def receive_part(self, part: SnapshotPart) -> None:
        """No rank writes one."""

    def raise_refusal(self) -> None:
        """Nothing was refused."""

    def wait(self, seconds: float | None = None) -> None:
        """No commit is under way."""

    def close(self) -> None:
        """There are none as it is."""
