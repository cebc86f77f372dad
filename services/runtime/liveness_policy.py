"""Who is alive, seen from heartbeats: health first, and only after the grace is an attempt lost. Pure.

Times are seconds of one monotonic clock of the observer. Silence counts only while the observer could have heard.
"""

from __future__ import annotations

from dataclasses import dataclass

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat

# A beat is late when it is overdue by this much, and a silence when by this much more.
LATE_SECONDS = 4.0
SILENT_SECONDS = 10.0
# Health gets better only when beats came in time for this long: no flapping.
STEADY_SECONDS = 6.0
# A process that has not beaten yet: it may import for long, or wait for a group of workers.
FIRST_BEAT_SECONDS = 300.0
# Nobody may announce a longer silence than this.
LONGEST_ANNOUNCED_SECONDS = 3_600.0
# No step for so many times the usual step time, and for at least so long, is no progress.
STALL_FACTOR = 10.0
SHORTEST_STALL_SECONDS = 30.0
# A snapshot is written in one go, and a large one takes its time.
SHORTEST_SNAPSHOT_STALL_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Instance:
    """What is known of one instance by its beats."""

    # When it was last heard, or when listening for it began.
    heard: float
    beat: Heartbeat | None = None
    # Since when its beats have come in time; None: they do not.
    steady_since: float | None = None


def hear(known: Instance | None, beat: Heartbeat, now: float) -> Instance:
    """Take in a beat."""
    in_time = known is not None and known.beat is not None and overdue(known, now) < LATE_SECONDS
    since = known.steady_since if known is not None and in_time and known.steady_since is not None else now
    return Instance(now, beat, since)


def listen_anew(known: Instance, now: float) -> Instance:
    """Begin to listen again after a time in which nothing could be heard."""
    return Instance(now, known.beat, known.steady_since)


def overdue(known: Instance, now: float) -> float:
    """Return for how many seconds a beat is overdue; negative: it is not yet due."""
    if known.beat is None:
        return now - known.heard - FIRST_BEAT_SECONDS
    announced = min(max(known.beat.next_beat_ms, 0) / 1_000.0, LONGEST_ANNOUNCED_SECONDS)
    return now - known.heard - announced


def is_lost(known: Instance, grace_seconds: float, now: float) -> bool:
    return overdue(known, now) > grace_seconds


def health(known: Instance, previous: common.Health, now: float) -> tuple[common.Health, str]:
    """Judge an instance. Worse at once, better only after a while."""
    if known.beat is None:
        return previous, ""
    late = overdue(known, now)
    silence = now - known.heard
    if late > SILENT_SECONDS:
        return common.HEALTH_UNHEALTHY, f"no contact for {silence:.0f} s"
    if late > LATE_SECONDS:
        worse = common.HEALTH_UNHEALTHY if previous == common.HEALTH_UNHEALTHY else common.HEALTH_DEGRADED
        return worse, f"its heartbeat is {late:.0f} s late"
    stalled = stall(known, now)
    if stalled:
        return common.HEALTH_DEGRADED, stalled
    steady = known.steady_since is not None and now - known.steady_since >= STEADY_SECONDS
    if previous in (common.HEALTH_UNSPECIFIED, common.HEALTH_HEALTHY) or steady:
        return common.HEALTH_HEALTHY, "its heartbeats come in time"
    return previous, ""


def stall(known: Instance, now: float) -> str:
    """Say that an instance is alive and does nothing. Empty: it does."""
    beat = known.beat
    if beat is None or beat.step_ms <= 0 or beat.phase in ("starting", "finishing"):
        return ""
    idle = beat.idle_ms / 1_000.0
    shortest = SHORTEST_SNAPSHOT_STALL_SECONDS if beat.phase == "snapshotting" else SHORTEST_STALL_SECONDS
    if idle > max(STALL_FACTOR * beat.step_ms / 1_000.0, shortest):
        usual = beat.step_ms / 1_000.0
        return f"alive, but no step for {idle:.0f} s; a step usually takes {usual:.3g} s"
    return ""
