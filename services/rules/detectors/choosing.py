"""The detector of a rule, by what the rule says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from milepost.api.config.v1 import rule_pb2 as rules
from services.rules.detectors.changes import Change, Multiple, Plateau
from services.rules.detectors.levels import DISK, GPU, Baseline, Level, NotFinite, Vanishing
from services.rules.detectors.paces import EstimatedEnd, Silence
from services.rules.detectors.verdicts import SeriesDetector


def _change(given: rules.Change) -> Change:
    up, down = given.direction != rules.DIRECTION_DOWN, given.direction != rules.DIRECTION_UP
    return Change(given.series, given.window, given.deviations, up, down)


def _baseline(given: rules.Baseline) -> Baseline:
    above = given.direction != rules.DIRECTION_DOWN
    return Baseline(given.series, tuple(given.steps), tuple(given.values), given.tolerance, above)


# Those that look at the points of a series, by the member of the closed set.
SERIES: dict[str, Callable[[Any], SeriesDetector]] = {
    "threshold": lambda given: Level(given.series, given.comparison == rules.COMPARISON_ABOVE, given.value),
    "change": _change,
    "baseline": _baseline,
    "plateau": lambda given: Plateau(
        given.series, given.window, given.min_improvement, given.direction == rules.DIRECTION_UP
    ),
    "exploding_gradient": lambda given: Multiple(given.series, given.window, given.factor, above=True),
    "vanishing_gradient": lambda given: Vanishing(given.series, given.below, given.points),
    "not_finite": lambda given: NotFinite(given.series),
    "throughput_drop": lambda given: Multiple(given.series, given.window, given.share, above=False),
    "gpu_idle": lambda given: Level(GPU, False, given.below_percent),
    "disk_filling": lambda given: Level(DISK, True, given.above_percent),
}
# What the others look at: the times of points, lines, events.
OTHERS = frozenset({"silence", "estimated_end", "log_pattern", "event", "state", "retries"})


def series_detector(detector: rules.Detector) -> SeriesDetector | None:
    """Make what looks at the points of a series; None: the rule looks at something else."""
    kind = detector.WhichOneof("kind") or ""
    return SERIES[kind](getattr(detector, kind)) if kind in SERIES else None


def silence(detector: rules.Detector) -> Silence | None:
    if not detector.HasField("silence"):
        return None
    return Silence(detector.silence.factor, int(detector.silence.min_seconds * 1_000))


def estimated_end(detector: rules.Detector) -> EstimatedEnd | None:
    if not detector.HasField("estimated_end"):
        return None
    given = detector.estimated_end
    by_ms = given.time.ToMilliseconds() if given.HasField("time") else 0
    return EstimatedEnd(by_ms, int(given.after_seconds * 1_000))
