"""TARGET 17: how far estimates of the end are off from a fifth of a run on, beside tqdm's; `--table` prints the table."""

from __future__ import annotations

import statistics
import sys

from tests.benchmarks.figures import report
from tests.benchmarks.run_shapes import SHAPES, Run, Shape

SEEDS = range(5)


def measure(shape: Shape) -> tuple[list[float], list[float], list[bool]]:
    """Return the errors of our estimates and of tqdm's, in percent of what was really left, and which ranges held."""
    ours: list[float] = []
    peer: list[float] = []
    within: list[bool] = []
    for seed in SEEDS:
        judged = Run(shape, seed).play()
        ours += judged.errors(judged.ours)
        peer += judged.errors(judged.tqdm)
        within += judged.within
    return ours, peer, within


def main(arguments: list[str]) -> None:
    as_table = "--table" in arguments
    if as_table:
        print("| shape | median | worst | tqdm median | tqdm worst | range held |\n|---|---|---|---|---|---|")
    all_ours: list[float] = []
    all_peer: list[float] = []
    for shape in SHAPES:
        ours, peer, within = measure(shape)
        all_ours += ours
        all_peer += peer
        middle, worst = statistics.median(ours), max(ours)
        peer_middle, peer_worst = statistics.median(peer), max(peer)
        if as_table:
            held = 100 * sum(within) / len(within)
            print(
                f"| {shape.name} | {middle:.1f} % | {worst:.1f} % | {peer_middle:.1f} % | {peer_worst:.0f} % | {held:.0f} % |"
            )
            continue
        name = f"17.eta error, {shape.name}"
        report(f"{name}, median", middle, "%", "<= 5", peer="tqdm", peer_values=peer_middle)
        report(f"{name}, worst", worst, "%", "<= 15", peer="tqdm", peer_values=peer_worst)
    if not as_table:
        peer_middle = statistics.median(all_peer)
        report(
            "17.eta error, all, median", statistics.median(all_ours), "%", "<= 5", peer="tqdm", peer_values=peer_middle
        )
        report("17.eta error, all, worst", max(all_ours), "%", "<= 15", peer="tqdm", peer_values=max(all_peer))


if __name__ == "__main__":
    main(sys.argv[1:])
