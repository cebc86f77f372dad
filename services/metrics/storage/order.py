"""In which order the values of a series stand: by step, and at one step the newest is the last.

The newest of several values of a step is the one with the latest time; of those with the same millisecond, the one that
was logged last: batches have numbers, and within a batch `batches.places` numbers the values. Every read that
has a last value, or a sequence of values, takes it from here. The roll-ups in `schema/1_points.sql` spell out the same.
"""

from __future__ import annotations

# After the columns that tell series apart.
ORDER = "step, attempt, time_ms, number, items"

_STEP_AND_TIME = "bitOr(bitShiftLeft(toUInt128(step), 64), toUInt128(toUInt64(time_ms)))"
# A number that grows in that order within an attempt: the argument of `argMax`.
NEWEST = (
    f"bitOr(bitShiftLeft(toUInt256({_STEP_AND_TIME}), 128),"
    " bitOr(bitShiftLeft(toUInt256(number), 64), toUInt256(toUInt64(items))))"
)
NEWEST_VALUE = f"argMax(value, {NEWEST})"
NEWEST_TIME_MS = f"toInt64(bitAnd(max({_STEP_AND_TIME}), 18446744073709551615))"
