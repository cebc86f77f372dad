"""Who is alive, seen from heartbeats: health first, and only after the grace is an attempt lost. Pure.

Times are seconds of one monotonic clock of the observer. Silence counts only while the observer could have heard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat
from milepost.domain import stalls
from milepost.numbers import MAX_NUMBER

# A beat is late when it is overdue by this much, and a silence when by this much more.
LATE_SECONDS = 4.0
SILENT_SECONDS = 10.0
# Health gets better only when beats came in time for this long: no flapping.
STEADY_SECONDS = 6.0
# A process that has not beaten yet: it may import for long, or wait for a group of workers.
FIRST_BEAT_SECONDS = 300.0
# The next beat of an attempt that trains already, when listening to it begins: a snapshot may be under way.
NEXT_BEAT_SECONDS = 30.0
# Nobody may announce a longer silence than this.
MAX_ANNOUNCED_SECONDS = 3_600.0
# Where one instance makes no progress, so long the others may take to say where they are.
ANSWER_SECONDS = 15.0
NO_CONTACT = "no contact"


@dataclass(frozen=True, slots=True)
class Instance:
    """What is known of one instance by its beats."""

    # When it was last heard, or when listening for it began.
    heard: float
    beat: Heartbeat | None = None
    # Since when its beats have come in time; None: they do not.
    steady_since: float | None = None
    # How long its first beat may take.
    first_beat_seconds: float = FIRST_BEAT_SECONDS


def is_plausible(beat: Heartbeat) -> bool:
    """Return whether a process can mean what its beat says. What is no number of anything is no sign of life either."""
    counts = (
        *(beat.step, beat.next_beat_ms, beat.idle_ms, beat.spooled_batches, beat.spooled_bytes),
        *(beat.looks, beat.waiting_looks, beat.looks - beat.waiting_looks),
    )
    return all(0 <= count <= MAX_NUMBER for count in counts) and math.isfinite(beat.step_ms)


def hear(known: Instance | None, beat: Heartbeat, now: float) -> Instance:
    """Take in a beat."""
    in_time = known is not None and known.beat is not None and overdue(known, now) < LATE_SECONDS
    since = known.steady_since if known is not None and in_time and known.steady_since is not None else now
    return Instance(now, beat, since)


def listen_anew(known: Instance, now: float) -> Instance:
    """Begin to listen again after a time in which nothing could be heard."""
    return Instance(now, known.beat, known.steady_since, known.first_beat_seconds)


def overdue(known: Instance, now: float) -> float:
    """Return for how many seconds a beat is overdue; negative: it is not yet due."""
    if known.beat is None:
        return now - known.heard - known.first_beat_seconds
    announced = min(max(known.beat.next_beat_ms, 0) / 1_000.0, MAX_ANNOUNCED_SECONDS)
    return now - known.heard - announced


def first_beat_seconds(*, trains: bool, grace_seconds: float) -> float:
    """Return how long a beat may take when listening begins: of an attempt that trains already, or not yet."""
    if not trains:
        return FIRST_BEAT_SECONDS
    # Whose silence is patiently borne announces long ones.
    return min(max(NEXT_BEAT_SECONDS, grace_seconds), MAX_ANNOUNCED_SECONDS)


def is_quiet(known: Instance, now: float) -> bool:
    return overdue(known, now) > 0 if known.beat is not None else now - known.heard > SILENT_SECONDS


def is_silent(known: Instance, now: float) -> bool:
    return overdue(known, now) > SILENT_SECONDS


def is_lost(known: Instance, grace_seconds: float, now: float) -> bool:
    return overdue(known, now) > grace_seconds


def health(
    known: Instance, previous: common.Health, now: float, stall_seconds: float = stalls.MIN_STALL_SECONDS
) -> tuple[common.Health, str]:
    """Judge an instance. Worse at once, better only after a while."""
    late = overdue(known, now)
    if is_silent(known, now):
        return common.HEALTH_UNHEALTHY, NO_CONTACT
    if known.beat is None:
        return previous, ""
    if late > LATE_SECONDS:
        worse = common.HEALTH_UNHEALTHY if previous == common.HEALTH_UNHEALTHY else common.HEALTH_DEGRADED
        return worse, f"its heartbeat is {late:.0f} s late"
    stalled = stall(known, now, stall_seconds)
    if stalled:
        return common.HEALTH_DEGRADED, stalled
    steady = known.steady_since is not None and now - known.steady_since >= STEADY_SECONDS
    if previous in (common.HEALTH_UNSPECIFIED, common.HEALTH_HEALTHY) or steady:
        return common.HEALTH_HEALTHY, "its heartbeats come in time"
    return previous, ""


def stall(known: Instance, now: float, least_seconds: float = stalls.MIN_STALL_SECONDS) -> str:
    """Say that an instance is alive and does nothing. Empty: it does.

    Args:
        least_seconds: a shorter pause is no stall.
    """
    beat = known.beat
    if beat is None:
        return ""
    usual, idle = beat.step_ms / 1_000.0, beat.idle_ms / 1_000.0
    if not stalls.is_stalled(usual, idle, beat.phase, least_seconds):
        return ""
    if usual <= 0:
        return f"alive, but no step for {idle:.0f} s, and few were done before"
    return f"alive, but no step for {idle:.0f} s; a step usually takes {usual:.3g} s"
