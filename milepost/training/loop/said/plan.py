"""What a run is going to do, as far as its loop says so, and how far it came with it."""

from __future__ import annotations

from typing import Any

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.numbers import MAX_NUMBER
from milepost.training.loop.host import Host
from milepost.training.user_code import given


class Plan:
    """The last plan that was said. Every part of it may be unknown."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._said = facts.PlanDeclared(attempt=host.launch.attempt)
        # Why a framework ends training before the last step.
        self._end_reason = ""

    @property
    def total_steps(self) -> int | None:
        """Steps in the whole training. None: that is not known."""
        return self._said.total_steps or None

    def say(
        self,
        total_steps: Any,
        steps_per_epoch: Any,
        epochs: Any,
        eval_every: Any,
        batches_per_epoch: Any,
        eval_every_epochs: Any,
    ) -> None:
        """Record a plan in place of the last one; see `Trial.plan`."""
        if self._host.rank.rank != 0:
            return
        every, gives_state = self._host.launch.configuration.snapshots, self._said.gives_state
        self._said = facts.PlanDeclared(
            attempt=self._host.launch.attempt,
            total_steps=self._total("total_steps", total_steps),
            steps_per_epoch=self._total("steps_per_epoch", steps_per_epoch),
            epochs=self._total("epochs", epochs),
            eval_every_steps=self._total("eval_every", eval_every),
            batches_per_epoch=self._total("batches_per_epoch", batches_per_epoch),
            eval_every_epochs=self._total("eval_every_epochs", eval_every_epochs),
            snapshot_every_steps=every.every_steps if every.HasField("every_steps") else None,
        )
        if gives_state:
            self._said.gives_state = True
        self._host.expect(self.total_steps)
        self._host.report(self._said)

    def _total(self, name: str, value: Any) -> int | None:
        """Read how many there are to be, as far as that is a number."""
        if value is None:
            return None
        found = given.total(value)
        if found is not None and found > MAX_NUMBER:
            found = None
        if found is None:
            text = f"{name}={given.line(value)[:60]} is no number above 0: it counts as unknown"
            self._host.warn(f"plan:{name}", text)
        return found

    def note_state_is_given(self) -> None:
        """Let those who think of a stop know that it loses nothing."""
        if not self._said.gives_state:
            self._said.gives_state = True
            self._host.report(self._said)

    def explain_end(self, reason: str) -> None:
        """Keep why a framework ends training before the last step."""
        self._end_reason = reason

    def early_end(self, step: int, counts_from_zero: bool) -> str:
        """Say that the loop has left after a step that is not the last one. Empty: it is, or there is no plan."""
        total = self.total_steps
        if total is None or step + counts_from_zero >= total:
            return ""
        why = f": {self._end_reason}" if self._end_reason else ""
        return f"ended early by the script at {step:,} of {total:,}{why}"
