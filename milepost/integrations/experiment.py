"""What modules find as `self.logger.experiment`: the trial, with the calls of TensorBoard's writer on it.

Modules are written for the logger that their author had. A call that means values is recorded, one that means pictures, texts
or graphs is said once to be kept nowhere, and neither ends training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from milepost.training.loop.trial import Trial
from milepost.training.user_code import given

# What other writers are told besides values; `add_...` and `log_...` are all of them.
_NOT_KEPT = ("add_", "log_")
_NOTHING_TO_DO = ("flush", "close", "reopen")


class Experiment:
    """A trial, and what else a logger's experiment is asked for.

    Args:
        trial: what values are recorded in, and what everything else is asked of.
        place: for a step as the library counts, that of the trial, or None for the one under way; and whether the values end
            it.
    """

    def __init__(self, trial: Trial, place: Callable[[int | None], tuple[int | None, bool]]) -> None:
        self._trial = trial
        self._place = place

    def add_scalar(self, tag: Any, scalar_value: Any, global_step: Any = None, *more: Any, **named: Any) -> None:
        """Record a value."""
        self._record({tag: scalar_value}, global_step)

    def add_scalars(
        self, main_tag: Any, tag_scalar_dict: Any, global_step: Any = None, *more: Any, **named: Any
    ) -> None:
        """Record several values, as series below the same name."""
        self._record({main_tag: given.group(tag_scalar_dict) or {}}, global_step)

    def add_hparams(self, hparam_dict: Any, metric_dict: Any = None, *more: Any, **named: Any) -> None:
        """Declare parameters, and record values."""
        self._trial.declare(hparam_dict)
        self._record(metric_dict or {}, named.get("global_step"))

    def log_metric(self, key: Any, value: Any, *more: Any, step: Any = None, **named: Any) -> None:
        """Record a value."""
        self._record({key: value}, step)

    def log_metrics(self, metrics: Any, *more: Any, step: Any = None, **named: Any) -> None:
        """Record several values."""
        self._record(metrics, step)

    def log(self, values: Any, step: Any = None, commit: bool = True, **named: Any) -> None:
        """Record values; what is no number is said to be left out."""
        self._record(values, step)

    def _record(self, values: Any, step: Any) -> None:
        group: Mapping[Any, Any] | None = given.group(values)
        if group is None:
            self._trial.warn("experiment:values", f"values are named numbers, not {type(values).__name__}")
        elif group:
            place, ends = self._place(given.whole(step))
            self._trial.log(group, step=place, commit=ends)

    def __getattr__(self, name: str) -> Any:
        """Ask the trial, and take what no trial has for a call that keeps nothing."""
        if hasattr(type(self._trial), name) or name in vars(self._trial):
            return getattr(self._trial, name)
        if name in _NOTHING_TO_DO:
            return lambda *arguments, **named: None
        if name.startswith(_NOT_KEPT):
            return self._not_kept(name)
        raise AttributeError(f"{name} is neither of a Milepost trial nor of a TensorBoard writer")

    def _not_kept(self, name: str) -> Callable[..., None]:
        def ignore(*arguments: Any, **named: Any) -> None:
            self._trial.warn(f"experiment:{name}", f"{name}: numbers are recorded, this is not kept")

        return ignore
