"""Figure 17: how far estimates of the end are off from a fifth of a run on, beside tqdm's; `--table` prints the table.

Simulated shapes of run, and recordings of real ones, which the constants were not chosen by.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Iterator

from tests.benchmarks.parts.figures import report
from tests.benchmarks.parts.recorded_runs import Recording, recordings
from tests.benchmarks.parts.run_shapes import SHAPES, Judged, Run, Shape

SEEDS = range(5)

# Errors of our estimates and of tqdm's, in percent of what was really left, and which ranges held.
Errors = tuple[list[float], list[float], list[bool]]


def errors_of(runs: Iterable[Judged]) -> Errors:
    ours: list[float] = []
    peer: list[float] = []
    within: list[bool] = []
    for judged in runs:
        ours += judged.errors(judged.ours)
        peer += judged.errors(judged.tqdm)
        within += judged.within
    return ours, peer, within


def measure(shape: Shape) -> Errors:
    return errors_of(Run(shape, seed).play() for seed in SEEDS)


def all_runs() -> Iterator[tuple[str, Errors]]:
    """Yield the name and the errors of each shape, then of each recorded run."""
    for shape in SHAPES:
        yield shape.name, measure(shape)
    for path in recordings():
        yield f"recorded: {path.stem.replace('-', ' ')}", errors_of([Recording(path).play()])


def print_table() -> None:
    print("| shape | median | worst | tqdm median | tqdm worst | range held |\n|---|---|---|---|---|---|")
    for name, (ours, peer, within) in all_runs():
        middle, worst, held = statistics.median(ours), max(ours), 100 * sum(within) / len(within)
        peer_middle, peer_worst = statistics.median(peer), max(peer)
        print(f"| {name} | {middle:.1f} % | {worst:.1f} % | {peer_middle:.1f} % | {peer_worst:.0f} % | {held:.0f} % |")


def report_all() -> None:
    all_ours: list[float] = []
    all_peer: list[float] = []
    for name, (ours, peer, _) in all_runs():
        all_ours += ours
        all_peer += peer
        _report(name, ours, peer)
    _report("all", all_ours, all_peer)


def _report(name: str, ours: list[float], peer: list[float]) -> None:
    title = f"17.eta error, {name}"
    middle = statistics.median(peer)
    report(f"{title}, median", statistics.median(ours), "%", "<= 5", peer="tqdm", peer_values=middle)
    report(f"{title}, worst", max(ours), "%", "<= 15", peer="tqdm", peer_values=max(peer))


def main(arguments: list[str]) -> None:
    if "--table" in arguments:
        print_table()
    else:
        report_all()


if __name__ == "__main__":
    main(sys.argv[1:])
