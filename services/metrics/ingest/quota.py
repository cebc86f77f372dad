"""How much log text each runtime has stored, against its quota."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from services.metrics.storage.batches import Line

# The logger of the line that says that lines are missing. Its text is completed when it is read.
MARKER_LOGGER = "milepost.quota"
# Of a runtime whose configuration the log does not have.
DEFAULT_BYTES = 512 * 1_000_000


@dataclass(slots=True)
class Usage:
    """What one runtime has stored: bytes of text, and the trials that have a marker."""

    bytes: int = 0
    marked_trials: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Admitted:
    """Which lines of a message are stored: their bytes, and how many are left out."""

    lines: list[Line]
    text_bytes: int
    over_quota: int


def admit(usage: Usage, trial: int, lines: Sequence[Line], quota_bytes: int, time_ms: int) -> Admitted:
    """Take lines until the quota is used up, and add one marker per trial where the first is left out."""
    admitted = []
    taken = 0
    for line in lines:
        size = len(line.text.encode()) + len(line.display.encode())
        if usage.bytes + taken + size <= quota_bytes:
            admitted.append(line)
            taken += size
    left_out = len(lines) - len(admitted)
    if left_out and trial not in usage.marked_trials:
        usage.marked_trials.add(trial)
        step = lines[-1].step
        admitted.append(
            Line(
                index=len(lines),
                time_ms=lines[-1].time_ms if lines else time_ms,
                level=telemetry.LOG_LEVEL_WARNING,
                rank=0,
                stream=telemetry.LOG_STREAM_MILEPOST,
                step=step,
                logger=MARKER_LOGGER,
                text=marker_text(quota_bytes),
                display="",
            )
        )
    usage.bytes += taken
    return Admitted(admitted, taken, left_out)


def marker_text(quota_bytes: int, left_out: int | None = None) -> str:
    """Say that lines are missing, and, once it is known, how many. What is searched has the words that are shown."""
    used_up = f"the log quota of {quota_bytes / 1e6:,.0f} MB of this runtime is used up"
    return (
        f"{left_out:,} lines dropped: {used_up}" if left_out is not None else f"lines dropped from here on: {used_up}"
    )
