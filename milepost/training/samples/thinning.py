"""Which steps of a long series of rows are kept. The rule is a function of steps alone, so a resume keeps the same.

Up to step 4,095 every step is kept. From there on, of each stretch of 2 steps the first that is logged; from step 8,192 on
of each 4 steps, and so on: some 2,048 steps for each doubling. A series that is logged less often than that loses nothing.
"""

from __future__ import annotations

# As a power of two: the steps of which all are kept.
DENSE_BITS = 12


def stretch(step: int) -> int:
    """Return how many steps the stretch of a step has, of which one is kept: a power of two."""
    return 1 << max(0, step.bit_length() - DENSE_BITS)


def is_kept(step: int, last_kept: int | None) -> bool:
    """Return whether the rows of a step are kept, after those of another one; None: it is the first."""
    if last_kept is None or step == last_kept:
        return True
    width = stretch(step)
    return step // width != last_kept // width
