"""When steerable values become others: after one step on all ranks, and after the same steps again when they are done again.

What an attempt does anew is put by three things, in this order: what the code declares, what earlier attempts have
changed up to the step, and what was asked for. A change is recorded before any snapshot that has it in it, so whatever
is killed, the next attempt either finds the change recorded or still asked for.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from typing import Any

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import SteerInstruction
from milepost.domain.steering import MAX_STEERABLES, Change
from milepost.errors import InvalidArgument, Violation
from milepost.training.loop.host import Host
from milepost.training.loop.steering.steerable import Steerable, read_declaration

_NOT_AGREED = "the processes of this group could not be told to change it together"


class Steering:
    """The steerable values of one loop. `order` may come from any thread; everything else is the loop's."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._position = host.position
        self._steerables: dict[str, Steerable[Any]] = {}
        # By step: what earlier attempts have changed, and this one.
        self._changes: list[Change] = []
        # What is asked for, in order, and the numbers of all that was ever asked of this process.
        self._orders: deque[SteerInstruction] = deque()
        self._heard: set[int] = set()
        self._has_begun = False
        # The last step whose boundary was passed: what has run since may have read the values.
        self._passed = 0
        # The step after which there is something to do; 0: at the next boundary.
        self.next_step: float = math.inf

    # --- from any thread

    def order(self, order: SteerInstruction) -> None:
        """Change values after the step that the order names, or at the next boundary. Repeats do nothing."""
        known = order.number in self._heard or any(one.number == order.number for one in self._host.launch.steers)
        if not known:
            self._heard.add(order.number)
            self._orders.append(order)
            self.next_step = 0

    # --- in the loop

    def declare(
        self, name: str, value: Any, minimum: Any, maximum: Any, choices: Collection[str] | None
    ) -> Steerable[Any]:
        """Have a value that may be changed; see `Trial.steerable`."""
        declared = read_declaration(name, value, minimum, maximum, choices)
        if name not in self._steerables and len(self._steerables) >= MAX_STEERABLES:
            raise InvalidArgument([Violation("name", f"{name}: a loop has at most {MAX_STEERABLES} steerable values")])
        one = self._steerables.setdefault(name, Steerable(declared))
        one.declare_again(declared)
        self._host.report(
            facts.SteerableDeclared(
                attempt=self._host.launch.attempt,
                name=name,
                kind=declared.kind,  # type: ignore[arg-type]
                value=declared.value,
                minimum=declared.minimum,
                maximum=declared.maximum,
                choices=declared.choices,
            )
        )
        if self._has_begun:
            self._put(one, self._position.step)
        else:
            self._foresee()
        return one

    def begin(self) -> None:
        """Put the values that hold where training begins, with what was asked for before it."""
        if self._has_begun:
            return
        launch, step = self._host.launch, self._position.step
        self._has_begun, self._passed = True, step
        self._changes = [Change(one.step, one.name, one.value) for one in launch.steered]
        for one in self._steerables.values():
            self._put(one, step)
        for order in launch.steers:
            if self._knows(order):
                self._carry_out(order, step)
            else:
                self._orders.append(order)
        self._look_ahead()

    def pass_boundary(self) -> None:
        """Change what is to be changed after the last step. Only the first call after a step does."""
        step = self._position.step
        before, self._passed = self._passed, max(step, self._passed)
        if not (self._has_begun and before < step and self.next_step <= step):
            return
        for name in {one.name for one in self._changes if before < one.step <= step}:
            if name in self._steerables:
                self._put(self._steerables[name], step)
        for order in list(self._orders):
            if order.step <= step and self._knows(order) and self._is_agreed(order, step):
                self._orders.remove(order)
                self._carry_out(order, step)
        self._look_ahead()

    # --- what holds

    def _foresee(self) -> None:
        """Put what will hold where training begins, as far as that is known: the first step may be under way already."""
        launch = self._host.launch
        self._changes = [Change(one.step, one.name, one.value) for one in launch.steered]
        step = launch.snapshot_step if launch.snapshot_id else self._position.step
        for one in self._steerables.values():
            self._put(one, step)
        for order in launch.steers:
            if self._knows(order) and not self._problems(order):
                for name, text in order.parameters.items():
                    self._steerables[name].become(text)

    def _put(self, one: Steerable[Any], step: int) -> None:
        """Give a value what holds after a step."""
        texts = [change.value for change in self._changes if change.name == one.name and change.step <= step]
        kept, problem = one.fitting(texts[-1]) if texts else (one.declared.value, "")
        if problem:
            self._host.warn(
                f"steering:{one.name}", f"{one.name} was changed to {texts[-1]} and {problem} now: it is as declared"
            )
        one.become(kept or one.declared.value)

    def _knows(self, order: SteerInstruction) -> bool:
        """Return whether the loop has declared everything that is to be changed."""
        return all(name in self._steerables for name in order.parameters)

    def _problems(self, order: SteerInstruction) -> str:
        """Say why values cannot be what they are to be; empty: they can."""
        found = [(name, self._steerables[name].fitting(text)[1]) for name, text in sorted(order.parameters.items())]
        return "; ".join(f"{name} {problem}" for name, problem in found if problem)

    def _is_agreed(self, order: SteerInstruction, step: int) -> bool:
        """Return whether an order is carried out here. The processes of a group that nobody leads agree on a step first."""
        agree = self._host.agree_to_steer
        if agree is None or order.step:
            return True
        # Another process may be a step ahead of this one, never two: each step takes both of them.
        order.step = step + 2
        if not agree(order):
            self._orders.remove(order)
            self._refuse(order, step, _NOT_AGREED)
        return False

    def _carry_out(self, order: SteerInstruction, step: int) -> None:
        problem = self._problems(order)
        if problem:
            self._refuse(order, step, problem)
            return
        changes = []
        for name, text in sorted(order.parameters.items()):
            one = self._steerables[name]
            changes.append(facts.ParameterChange(name=name, old=one.text, new=one.fitting(text)[0]))
            one.become(changes[-1].new)
            # What was changed at later steps, by attempts that are given up, does not come again.
            self._changes = [past for past in self._changes if past.name != name or past.step <= step]
            self._changes.append(Change(step, name, one.text))
        self._changes.sort(key=lambda change: change.step)
        self._host.report(
            facts.ParametersChanged(
                attempt=self._host.launch.attempt, step=step, changes=changes, number=order.number, actor=order.actor
            )
        )
        self._host.say(", ".join(f"{one.name} {one.new} in place of {one.old}" for one in changes), {})

    def _refuse(self, order: SteerInstruction, step: int, detail: str) -> None:
        attempt = self._host.launch.attempt
        self._host.report(facts.ParametersNotChanged(attempt=attempt, step=step, number=order.number, detail=detail))

    def _look_ahead(self) -> None:
        self.next_step = min((one.step for one in self._changes if one.step > self._passed), default=math.inf)
        if self._orders:
            # Also one that has come meanwhile.
            self.next_step = 0
