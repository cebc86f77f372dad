"""A trailing window of points, with its median and its median absolute deviation."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field

# By which the MAD of a normal distribution is its standard deviation (Rousseeuw and Croux 1993).
NORMAL = 1.4826
# The same for the mean absolute deviation: the root of pi / 2.
NORMAL_MEAN = 1.2533


@dataclass(slots=True)
class Window:
    """The newest points: steps and values in the order of steps, and the values by size."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    ordered: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: int, value: float, size: int) -> None:
        """Take in a finite value, and let go of the oldest where there are more than `size`. Costs O(size) moves."""
        self.steps.append(step)
        self.values.append(value)
        bisect.insort(self.ordered, value)
        if len(self.steps) > size:
            del self.steps[0]
            del self.ordered[bisect.bisect_left(self.ordered, self.values.pop(0))]

    def median(self) -> float:
        return median(self.ordered)

    def may_be_beyond(self, middle: float, distance: float) -> bool:
        """Return whether `deviation` may be below a distance. False is certain; it costs two binary searches."""
        reach = distance / NORMAL
        # Those that are as far count too, for what rounding may do.
        nearer = bisect.bisect_right(self.ordered, middle + reach) - bisect.bisect_left(self.ordered, middle - reach)
        # Where fewer than half of the values are nearer, the median of the distances is not nearer either.
        return nearer >= len(self.ordered) // 2

    def deviation(self, middle: float) -> float:
        """Return the median distance from a value, scaled to a standard deviation. Costs O(size log size).

        Where more than half of the values are the same it is the mean distance (Iglewicz and Hoaglin 1993).
        """
        distances = sorted(abs(value - middle) for value in self.ordered)
        return NORMAL * median(distances) or NORMAL_MEAN * math.fsum(distances) / len(distances)

    def cut(self, step: int) -> Window:
        """Return the window without what came after a step."""
        kept = bisect.bisect_right(self.steps, step)
        return Window(self.steps[:kept], self.values[:kept], sorted(self.values[:kept]))


def median(ordered: list[float]) -> float:
    """Return the median of values by size, of which there is at least one."""
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    # Halved before they are added: two large ones do not become infinite.
    return ordered[half - 1] / 2 + ordered[half] / 2
