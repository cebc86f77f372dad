"""What people may change of a framework's training while it runs: values that its callback declares and carries out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from milepost.training.loop.steering.steerable import Steerable
from milepost.training.loop.trial import Trial

LEARNING_RATE = "learning_rate"
EARLY_STOP = "early_stop"
EVALUATION_INTERVAL = "evaluation_interval"
SNAPSHOT_INTERVAL = "snapshot_interval"
# Of a parameter group: what schedules reckon with.
_RATES = ("lr", "initial_lr", "max_lr", "min_lr")


class Steered:
    """The steerable values of one training. Every process has one, and all of them carry out at the same step."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._values: list[tuple[Steerable[Any], list[Any], Callable[[Any], None]]] = []

    def add(
        self,
        name: str,
        value: Any,
        become: Callable[[Any], None],
        *,
        minimum: float | None = None,
        maximum: float | None = None,
        from_now_on: bool = False,
    ) -> None:
        """Declare a value, and have it be what it was changed to before.

        Args:
            value: what the framework has now.
            become: has the framework go on with another value.
            from_now_on: what it was changed to before does not count.
        """
        one = self._trial.steerable(name, value, minimum=minimum, maximum=maximum)
        self._values.append((one, [one.value if from_now_on else value], become))
        self.carry_out()

    def carry_out(self) -> None:
        """Have the framework go on with what was changed. Called behind each step, once the trial has passed its boundary."""
        for one, last, become in self._values:
            if one.value != last[0]:
                last[0] = one.value
                become(one.value)


class Rates:
    """The learning rate of an optimizer before its schedule: that of its first parameter group; the others keep their ratio.

    Args:
        optimizer: anything with parameter groups.
        schedules: those that reckon with base rates of their own.
    """

    def __init__(self, optimizer: Any, schedules: Iterable[Any]) -> None:
        self._groups: list[dict[str, Any]] = optimizer.param_groups
        self._schedules = [one for one in schedules if hasattr(one, "base_lrs")]

    @property
    def base(self) -> float:
        """What it is now. Behind a schedule that has begun the optimizer keeps it as `initial_lr`."""
        group = self._groups[0]
        return float(group.get("initial_lr", group["lr"]))

    def become(self, rate: float) -> None:
        """Have another one from the next step on. One that is 0 has no ratio to keep: all groups get the new rate."""
        before = self.base
        for group in self._groups:
            for key in _RATES:
                if key in group:
                    group[key] = group[key] * (rate / before) if before else rate
        # What later attempts compare with is exact.
        self._groups[0]["initial_lr" if "initial_lr" in self._groups[0] else "lr"] = rate
        for schedule in self._schedules:
            schedule.base_lrs = [base * (rate / before) if before else rate for base in schedule.base_lrs]
            if hasattr(schedule, "_last_lr"):
                # What is logged as the rate of the next step.
                schedule._last_lr = [group["lr"] for group in self._groups]


def rates_of(optimizer: Any, schedules: Iterable[Any]) -> Rates | None:
    """Return the learning rate of an optimizer. None: a schedule that looks at a metric leaves no base to compare with."""
    schedules = list(schedules)
    if optimizer is None or any(type(one).__name__ == "ReduceLROnPlateau" for one in schedules):
        return None
    return Rates(optimizer, schedules)
