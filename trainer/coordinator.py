"""Has all ranks of a group halt after the same step: the driver's side of `milepost.training.loop.agreement`."""

from __future__ import annotations

from collections.abc import Callable

from milepost.api.training.v1.training_pb2 import (
    EvaluateInstruction,
    HoldInstruction,
    InstanceInstruction,
    SnapshotInstruction,
    SteerInstruction,
    StopInstruction,
    StopProposal,
)

Send = Callable[[int, InstanceInstruction], None]


class AgreementCoordinator:
    """One hold at a time; a stop that comes during another waits for it, and nothing else is needed then.

    Ranks join as they connect. A hold begins when all are there, and goes on without those that have ended.
    """

    def __init__(self, world_size: int, send: Send) -> None:
        self._world_size = world_size
        self._send = send
        self._present: set[int] = set()
        self._left: set[int] = set()
        self._number = 0
        self._offers: dict[int, int] | None = None
        # Ranks whose offer is still to come.
        self._missing: set[int] = set()
        self._stop: StopInstruction | None = None
        self._stopping = False
        self._snapshot = False
        # Somebody asked for it.
        self._requested = False
        self._steers: list[SteerInstruction] = []
        self._evaluate = False

    def join(self, rank: int) -> None:
        """A rank is there."""
        self._present.add(rank)
        self._begin()

    def leave(self, rank: int) -> None:
        """A rank has ended, or is about to: nothing more comes from it."""
        self._left.add(rank)
        self._missing.discard(rank)
        self._decide()

    def stop(self, order: StopInstruction) -> None:
        """Have all ranks stop."""
        self._stop = order
        self._begin()

    def snapshot(self, requested: bool = False) -> None:
        """Have all ranks take a snapshot."""
        self._snapshot = True
        self._requested |= requested
        self._begin()

    def steer(self, order: SteerInstruction) -> None:
        """Have all ranks change values."""
        self._steers.append(order)
        self._begin()

    def evaluate(self) -> None:
        """Have all ranks evaluate."""
        self._evaluate = True
        self._begin()

    def offer(self, rank: int, proposal: StopProposal) -> None:
        """A rank names the step after which it can halt, and waits."""
        if self._offers is not None and proposal.hold == self._number:
            self._offers[rank] = proposal.step
            self._missing.discard(rank)
            self._decide()

    def _running(self) -> set[int]:
        return self._present - self._left

    def _begin(self) -> None:
        asked = self._snapshot or (not self._stopping and (self._stop is not None or self._steers or self._evaluate))
        if not asked or self._offers is not None or len(self._present) < self._world_size:
            return
        self._number += 1
        self._offers = {}
        self._missing = self._running()
        for rank in self._running():
            self._send(rank, InstanceInstruction(hold=HoldInstruction(number=self._number)))

    def _decide(self) -> None:
        if self._offers is None or self._missing:
            return
        step = max(self._offers.values(), default=0)
        self._offers = None
        if self._stop is not None and not self._stopping:
            # What else was asked for is not needed any more, or is done by the next attempt.
            self._stopping, self._snapshot, self._requested = True, False, False
            self._evaluate = False
            order = InstanceInstruction(stop=StopInstruction(step=step, deadline_ms=self._stop.deadline_ms))
        elif self._steers and not self._stopping:
            steer = self._steers.pop(0)
            # A rank may wait for data behind the boundary that it names: it has read the values that hold there.
            steer.step = step + 1
            order = InstanceInstruction(steer=steer)
        elif self._evaluate and not self._snapshot:
            self._evaluate = False
            # As with values: a rank may have passed the place of this step where it would evaluate.
            order = InstanceInstruction(evaluate=EvaluateInstruction(step=step + 1))
        else:
            order = InstanceInstruction(snapshot=SnapshotInstruction(step=step, requested=self._requested))
            self._snapshot = self._requested = False
        for rank in self._running():
            self._send(rank, order)
        self._begin()
