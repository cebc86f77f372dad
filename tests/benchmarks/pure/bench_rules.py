"""What rules cost: processor time of the fold under 50,000 points a second, and of one rule over a million points.

Without streams and the decoding of messages, which the metric service has too: what comes from rules alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from milepost.api.config.v1 import rule_pb2 as rules
from services.rules.decoding import points
from services.rules.evaluation.fold import Evaluation
from services.rules.evaluation.inputs import Points
from services.rules.evaluation.states import SetRule
from tests.benchmarks.parts.figures import report
from tests.unit.rules.given import RUN, Run, apply, rule

RULES, SERIES = 1_000, 100
STEPS_PER_MESSAGE = 100
MESSAGES = 50
POINTS_PER_SECOND = 50_000
POINTS = 1_000_000
KEY = "train/loss"
KINDS: dict[str, dict[str, Any]] = {
    "threshold": {"threshold": rules.Threshold(series=KEY, comparison=rules.COMPARISON_ABOVE, value=50.0)},
    "change": {"change": rules.Change(series=KEY)},
    "plateau": {"plateau": rules.Plateau(series=KEY)},
    "exploding gradient": {"exploding_gradient": rules.ExplodingGradient(series=KEY)},
}


def evaluation_of(*made: SetRule) -> tuple[Evaluation, int]:
    """Return a fold that watches a run, and the time by which the run has begun."""
    evaluation, run = Evaluation(), Run().requested().begins()
    for one in made:
        evaluation.set_rule(one)
    for message in run.what:
        apply(evaluation, message)
    return evaluation, run.now_ms


def messages(now_ms: int, count: int, keys: list[str], steps: int) -> Iterator[Points]:
    """Yield messages with so many steps of each series."""
    chance = random.Random(1)
    for number in range(count):
        first = number * steps + 1
        rows = {key: [(first + index, now_ms, 1.0 + chance.random()) for index in range(steps)] for key in keys}
        yield points((RUN, 1, 1), number + 1, now_ms, rows)


def seconds_of(evaluation: Evaluation, made: list[Points]) -> float:
    """Return the processor time that messages take."""
    began = time.process_time()
    for message in made:
        evaluation.apply_points(message)
    return time.process_time() - began


def main() -> None:
    bound = {"comparison": rules.COMPARISON_ABOVE, "value": 50.0}
    many = [
        rule(rule_id=f"r{number}", threshold=rules.Threshold(series=f"train/s{number % SERIES}", **bound))  # type: ignore[arg-type]
        for number in range(RULES)
    ]
    evaluation, now_ms = evaluation_of(*many)
    made = list(messages(now_ms, MESSAGES, [f"train/s{number}" for number in range(SERIES)], STEPS_PER_MESSAGE))
    seconds = seconds_of(evaluation, made)
    cores = seconds * POINTS_PER_SECOND / (MESSAGES * SERIES * STEPS_PER_MESSAGE)
    report("rules.1,000 rules over 50,000 points/s", cores, "core", "<= 0.35")
    for name, detector in KINDS.items():
        evaluation, now_ms = evaluation_of(rule(**detector))
        made = list(messages(now_ms, POINTS // 1_000, [KEY], 1_000))
        report(f"rules.one rule over 1M points: {name}", seconds_of(evaluation, made), "s", "<= 2")


if __name__ == "__main__":
    main()
