"""How a stop that was asked for ends a loop: at a boundary, with a snapshot, also where the loop waits for data."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import InstanceInstruction
from milepost.backoff import Backoff
from milepost.training.loop.host import Host
from milepost.training.loop.progress import Progress
from milepost.training.loop.saving import Saving
from milepost.training.loop.steering.steering import Steering
from milepost.training.loop.stop import Gate, StopOrder, Stopped
from milepost.training.user_code.forks import rest_in_children

# Exit status of a process whose attempt may write nothing more.
STALE = 3
# A loop that waits for one batch longer than this when a stop comes is not waited for.
_DATA_WAIT_SECONDS = 0.3
# Between tries of the snapshot of a stop, and how long before the deadline none is begun any more.
_FIRST_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 30.0
_LEAVE_SECONDS = 5.0


class Stopping:
    """Carries out the stop of one loop. `request` and `obey` may come from any thread; everything else is the loop's."""

    def __init__(self, host: Host, progress: Progress, saving: Saving, steering: Steering) -> None:
        self._host = host
        self._progress = progress
        self._saving = saving
        self._steering = steering
        self.order: StopOrder | None = None
        # The loop waits for data between `enter` and `leave`.
        self.gate = Gate()
        # Whether the loop was told of a stop by `should_stop`.
        self.loop_was_told = False
        # The processes of a group have agreed on the step.
        self._is_agreed = False
        # The loop asks by itself, and is not interrupted.
        self._loop_asks = False
        self._is_over = False
        rest_in_children(self)

    def rest_in_child(self) -> None:
        """Have a child that was forked off, such as a worker of a data loader, go on."""
        self.order = None
        self.gate = Gate()

    # --- from any thread

    def obey(self, instruction: InstanceInstruction) -> None:
        """Take an instruction of the driver."""
        kind, agreement = instruction.WhichOneof("instruction"), self._host.agreement
        if kind == "fenced":
            # Nothing this process does counts any more, and another attempt may want its GPU.
            os._exit(STALE)
        if kind == "stop":
            self.request(StopOrder(instruction.stop.step, instruction.stop.deadline_ms))
        elif kind == "snapshot_part":
            self._host.keeper.receive_part(instruction.snapshot_part)
        elif kind == "values":
            self._host.receive_values(instruction.values)
        elif kind == "snapshot" and instruction.snapshot.requested:
            self._saving.ask_for(alone=agreement is None)
        elif kind == "steer":
            self._steering.order(instruction.steer)
        if agreement is None:
            return
        if kind == "hold":
            agreement.hold(instruction.hold.number)
        elif kind in ("stop", "steer", "evaluate"):
            agreement.release()
        elif kind == "snapshot":
            agreement.release(instruction.snapshot.step, instruction.snapshot.requested)

    def request(self, order: StopOrder) -> None:
        """Stop at the next boundary, or after the step that the order names."""
        first = self.order is None
        self.order = order
        # Processes that no driver leads cannot be ended one by one: the others would wait for it.
        if first and (self._host.rank.world_size == 1 or self._host.agreement is not None):
            threading.Thread(target=self._stop_waiting_loop, name="milepost-stop", daemon=True).start()

    def _stop_waiting_loop(self) -> None:
        """Carry out a stop for a loop that waits for data."""
        position = self._progress.position
        waited_batch, since = -1, time.monotonic()
        while not self._is_over:
            time.sleep(0.05)
            if not self.gate.waiting or position.batch != waited_batch:
                waited_batch, since = position.batch, time.monotonic()
            elif time.monotonic() - since > _DATA_WAIT_SECONDS and self.is_here() and self._progress.at_boundary:
                if self.gate.take_over(self.save):
                    self._host.leave_waiting_loop()
                    return

    # --- in the loop

    def pass_boundary(self) -> None:
        """Go past a boundary, or wait there for what all ranks agree on. Steerable values change here."""
        if self._host.agreement is not None:
            self._host.agreement.pass_boundary(self._progress.position.step)
        self._steering.pass_boundary()

    def is_here(self) -> bool:
        """Return whether the loop is to stop at this step. The processes of a group agree on one first."""
        order = self.order
        if order is None:
            return False
        step, agree = self._progress.position.step, self._host.agree_to_stop
        if agree is not None and not self._is_agreed:
            # Another process may be a step ahead of this one, never two: each step takes both of them.
            order = replace(order, step=step + 2)
            self._is_agreed = True
            if not agree(order.step):
                self.order, self._is_agreed = None, False
                return False
            self.order = order
        return step >= order.step

    def ask(self) -> bool:
        """Tell a loop whether to stop, which is not interrupted then; see `Trial.should_stop`."""
        self._loop_asks = True
        if self._progress.at_boundary:
            self.pass_boundary()
        self.loop_was_told = self.is_here()
        return self.loop_was_told

    def stop_at_boundary(self) -> None:
        """Stop a loop that is at a boundary, if that is due; of several ranks all do it, or none."""
        self.pass_boundary()
        if self.is_here():
            self.stop_now()

    def halt_if_due(self) -> None:
        """Stop between two batches, or take a snapshot, if that is due; of several ranks all do it, or none."""
        self.pass_boundary()
        if (self._host.agreement is not None or not self._loop_asks) and self.is_here():
            self.stop_now()
        self._saving.take_if_due()

    def stop_in_log(self) -> None:
        """Stop a loop that has no better place for it than the end of `log`."""
        if not (self._progress.uses_batches or self._saving.by_interval or self._loop_asks):
            self.stop_at_boundary()

    def stop_in_evaluation(self) -> None:
        """Stop within an evaluation. Several ranks may be at different batches of it, or in a collective: they stop after it."""
        if self._host.agreement is None and not self._loop_asks and self.is_here():
            raise Stopped(f"stopped in the evaluation at step {self._progress.position.step}")

    def stop_now(self) -> None:
        """Save, and leave the loop.

        Raises:
            Stopped: always.
        """
        self.save()
        raise Stopped(f"stopped after step {self._progress.position.step}")

    def save(self) -> None:
        """Commit a snapshot of the last boundary, unless there is one.

        One that fails, for example because the disk is full, is tried again until shortly before the deadline of the
        stop: somebody may make room. Only a single process does so; a group would have to try again together.
        """
        pauses, saving = Backoff(_FIRST_RETRY_SECONDS, _MAX_RETRY_SECONDS), self._saving
        self._host.keeper.wait()
        while saving.has_news:
            saving.take(facts.SNAPSHOT_REASON_STOP)
            self._host.keeper.wait()
            pause = next(pauses)
            left = self.order.deadline_ms / 1000 - time.time() - _LEAVE_SECONDS if self.order is not None else 0.0
            if self._host.rank.world_size > 1 or not saving.has_news or left < pause:
                return
            time.sleep(pause)

    def end(self) -> None:
        """Note that the loop is over: nothing waits for it any more."""
        self._is_over = True
