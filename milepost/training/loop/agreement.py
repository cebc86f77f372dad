"""How the loops of several ranks halt after the same step, without a collective and without a wait in between.

A stop, or a snapshot by the clock, is decided while the ranks run on, and one of them may be a step ahead. So each is
asked to hold: it names the earliest boundary that it has not passed yet, and waits there. The latest of what all ranks
name is the step that is agreed on; every rank can reach it, because none has passed it. Whether the ranks meet in a
collective in every step does not matter: the answer comes from a thread beside the loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from milepost.api.training.v1.training_pb2 import InstanceReport, StopProposal

# What was decided does not come: the driver is gone then, and this process with it.
MAX_HOLD_SECONDS = 3600.0


class Agreement:
    """One rank's side. `pass_boundary` belongs to the loop, `hold` and `release` to the background thread."""

    def __init__(self, send: Callable[[InstanceReport], None]) -> None:
        self._send = send
        # The last boundary that the loop went past; before the first one there is none.
        self._passed = -1
        self._hold: int | None = None
        self._released = threading.Event()
        self._snapshot_step = -1
        # Somebody asked for that snapshot.
        self.is_requested = False

    # --- in the loop

    def pass_boundary(self, step: int) -> None:
        """Go past the boundary after a step, or wait there for what all ranks agree on."""
        # In this order: the other thread writes its hold first and then reads what was passed, so one of the two
        # sees the other.
        self._passed = step
        hold = self._hold
        if hold is not None and step >= hold:
            self._released.wait(MAX_HOLD_SECONDS)

    def reopen(self, step: int) -> None:
        """Say that the loop waits for data at this boundary and will ask again before it goes on."""
        self._passed = step - 1

    def wants_snapshot(self, step: int) -> bool:
        """Return whether a snapshot after this step was agreed on. True once."""
        if step != self._snapshot_step:
            return False
        self._snapshot_step = -1
        return True

    # --- in the background

    def hold(self, number: int) -> None:
        """Have the loop wait at the next boundary that it can, and say which one that is."""
        self._released.clear()
        self._hold = hold = self._passed + 1
        while self._passed >= hold:
            self._hold = hold = self._passed + 1
        self._send(InstanceReport(stop_proposal=StopProposal(step=hold, hold=number)))

    def release(self, snapshot_step: int = -1, requested: bool = False) -> None:
        """Let the loop go on: it knows now after which step it halts, or takes a snapshot."""
        if snapshot_step >= 0:
            self._snapshot_step, self.is_requested = snapshot_step, requested
        self._hold = None
        self._released.set()
