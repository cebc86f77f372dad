"""What every detector of a series shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the condition holds at a point, and the bound that the value was compared with."""

    holds: bool
    threshold: float | None = None
    # Points that the bound follows from; 0: it is fixed.
    window: int = 0
    # Follows the value in a sentence: "above 5".
    words: str = ""


# The condition does not hold: nothing more is asked of it.
QUIET = Verdict(False)


class SeriesDetector(Protocol):
    """Looks at the points of one series, in the order of their steps."""

    def wants(self, key: str) -> bool:
        """Return whether it looks at a series."""
        ...

    def fresh(self) -> Any:
        """Return the state before the first point."""
        ...

    def judge(self, state: Any, step: int, value: float) -> Verdict | None:
        """Take in a point, and say whether the condition holds there; None: this point says nothing."""
        ...

    def is_quiet(self, values: Sequence[float]) -> bool:
        """Tell, at once for many, that the condition holds at no point and that no state depends on them."""
        ...

    def cut(self, state: Any, step: int) -> Any:
        """Return the state without what came after a step."""
        ...


@dataclass(slots=True)
class Nothing:
    """The state of a detector that looks at each point by itself."""
