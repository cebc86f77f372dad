"""Searches against a grid and against plain Optuna, on three public functions and the demo's language model, as tables.

ASHA plays over the trials of a grid, each of which is trained towards the value of a function: all begin at one value, some
learn fast and some slowly, and evaluations are noisy. Of the language model the curves are those of real trainings, which
`parts/record_curves.py` has recorded. TPE is the sampler of the runtime service, told one value at a time.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.configuration import resolve_pruner
from milepost.search.simulation import Evaluation, play
from services.runtime.searching.study import VERSION, Study
from tests.benchmarks.parts import record_curves
from tests.benchmarks.parts.figures import report

STEPS, EVERY = 81, 3
SEEDS = range(20)
# Of ASHA.
FACTORS = (2, 3)
TRIALS = 60
MIN = config.METRIC_MODE_MIN


@dataclass(frozen=True)
class Function:
    """A function to minimise, on a box."""

    name: str
    of: Callable[[Sequence[float]], float]
    bounds: tuple[tuple[float, float], ...]
    # Of the grid, in each dimension.
    points: int


def branin(x: Sequence[float]) -> float:
    a, b = x
    first = b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6
    return first**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


def rosenbrock(x: Sequence[float]) -> float:
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))


_ALPHA = (1.0, 1.2, 3.0, 3.2)
_A = ((10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14), (3, 3.5, 1.7, 10, 17, 8), (17, 8, 0.05, 10, 0.1, 14))
_P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def hartmann(x: Sequence[float]) -> float:
    """Hartmann's function of six dimensions; its minimum is -3.32237."""
    inner = (
        sum(a * (x_ - p) ** 2 for a, x_, p in zip(row, x, at, strict=True)) for row, at in zip(_A, _P, strict=True)
    )
    return -sum(alpha * math.exp(-one) for alpha, one in zip(_ALPHA, inner, strict=True))


FUNCTIONS = (
    Function("Branin", branin, ((-5, 10), (0, 15)), 9),
    Function("Rosenbrock", rosenbrock, ((-2, 2), (-1, 3)), 9),
    Function("Hartmann 6", hartmann, ((0, 1),) * 6, 2),
)


def grid_of(function: Function) -> list[tuple[float, ...]]:
    """Return the points of the grid, in the middle of equal parts."""
    axes = [
        [low + (high - low) * (2 * i + 1) / (2 * function.points) for i in range(function.points)]
        for low, high in function.bounds
    ]
    return list(itertools.product(*axes))


def share_of_asha(function: Function, seed: int, factor: int) -> tuple[float, float]:
    """Return the share of the grid's steps that ASHA takes, and how far its best is from the grid's, of all its values."""
    chance = random.Random(seed)
    grid = grid_of(function)
    chance.shuffle(grid)
    ends = [function.of(point) for point in grid]
    worst, spread = max(ends), max(ends) - min(ends)
    evaluations, values = [], {}
    for trial, end in enumerate(ends, 1):
        # How long it takes until two thirds are learned.
        pace = chance.uniform(0.05, 0.3) * STEPS
        for step in range(EVERY, STEPS + 1, EVERY):
            value = end + (worst - end) * math.exp(-step / pace) + chance.gauss(0, 0.005 * spread)
            evaluations.append(Evaluation(trial, step, value))
        values[trial] = end
    return _played(evaluations, values, STEPS, factor)


def share_over_curves(seed: int, factor: int) -> tuple[float, float]:
    """Return the same over the recorded curves of the language model, in an order that is drawn."""
    recorded = json.loads(record_curves.PATH.read_text(encoding="utf-8"))
    trials, made_with = recorded["trials"], recorded["made_with"]
    random.Random(seed).shuffle(trials)
    evaluations, values = [], {}
    for trial, one in enumerate(trials, 1):
        evaluations += [
            Evaluation(trial, place * made_with["every"], loss) for place, loss in enumerate(one["losses"], 1)
        ]
        values[trial] = min(one["losses"])
    return _played(evaluations, values, made_with["steps"], factor)


def _played(evaluations: list[Evaluation], values: dict[int, float], steps: int, factor: int) -> tuple[float, float]:
    pruner = resolve_pruner({"kind": "asha", "first_step": steps // 9, "reduction_factor": factor})
    found = play(pruner, MIN, evaluations, dict.fromkeys(values, steps), values)
    assert found.left_value is not None and found.winner_value is not None, "each trial has a value"
    spread = max(values.values()) - min(values.values())
    return found.spent / found.steps, (found.left_value - found.winner_value) / spread


def best_of_ours(function: Function, seed: int) -> float:
    space = {
        f"x{i}": {"minimum": float(low), "maximum": float(high), "log_scale": False, "integer": False}
        for i, (low, high) in enumerate(function.bounds)
    }
    study = Study(
        {"kind": "tpe", "seed": seed, "maximize": [False], "population_size": 0, "space": space, "points": []}
    )
    best = math.inf
    for trial in range(1, TRIALS + 1):
        point = dict(study.propose())
        value = function.of([json.loads(point[name]) for name in sorted(space)])
        best = min(best, value)
        study.extend([["suggested", trial, point], ["reported", trial, [value], []]])
    return best


def best_of_optuna(function: Function, seed: int) -> float:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))

    def objective(trial: optuna.Trial) -> float:
        return function.of([trial.suggest_float(f"x{i}", *bounds) for i, bounds in enumerate(function.bounds)])

    study.optimize(objective, TRIALS)
    return study.best_value


def table_of_asha() -> None:
    """Print how ASHA does, by function and factor."""
    print(
        "| trials | factor | share of the grid's steps, median (all) | at most 0.35 | the grid's best | else at most off by |"
    )
    print("|---|---|---|---|---|---|")
    for factor in FACTORS:
        played = {function.name: [share_of_asha(function, seed, factor) for seed in SEEDS] for function in FUNCTIONS}
        played["language model"] = [share_over_curves(seed, factor) for seed in SEEDS]
        for name, found in played.items():
            shares, gaps = [share for share, _ in found], [gap for _, gap in found]
            print(
                f"| {name} | {factor} | {statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}) | "
                f"{sum(1 for share in shares if share <= 0.35)} of {len(SEEDS)} | "
                f"{sum(1 for gap in gaps if gap <= 0)} of {len(SEEDS)} | {max(gaps):.2%} of the grid's values |"
            )
            report(f"search.asha_{factor}_{name.split()[0].lower()}", shares, "of the grid's steps", "<= 0.35")


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table_of_asha()
    print("| function | TPE, median of the best | Optuna |")
    print("|---|---|---|")
    for function in FUNCTIONS:
        ours = [best_of_ours(function, seed) for seed in SEEDS]
        theirs = [best_of_optuna(function, seed) for seed in SEEDS]
        not_worse = sum(1 for a, b in zip(ours, theirs, strict=True) if a <= b)
        print(
            f"| {function.name} | {statistics.median(ours):.4g} | "
            f"{statistics.median(theirs):.4g}; not worse in {not_worse} of {len(SEEDS)} |"
        )
        name = function.name.split()[0].lower()
        report(f"search.tpe_{name}", ours, "best of 60", "<= plain Optuna", peer=VERSION, peer_values=theirs)


if __name__ == "__main__":
    main()
