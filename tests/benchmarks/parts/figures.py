"""How benchmarks report: one JSON object a line on stdout."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence


def report(
    name: str,
    values: float | Sequence[float],
    unit: str,
    target: str,
    *,
    peer: str = "",
    peer_values: float | Sequence[float] = (),
) -> None:
    """Print a figure: the median of its runs, and its ratio to a peer measured in the same run.

    Args:
        name: `<number in docs/targets.md>.<what>`.
        values: one for each run.
        unit: `events/s`, `ms` ...
        target: as the page of targets has it; empty: none, for comparison only.
        peer: what else was measured beside it.
        peer_values: one for each run.
    """
    runs = list(values) if isinstance(values, Sequence) else [values]
    peers = list(peer_values) if isinstance(peer_values, Sequence) else [peer_values]
    value = statistics.median(runs)
    line: dict[str, object] = {"name": name, "value": _rounded(value), "unit": unit, "target": target}
    if peers:
        peer_value = statistics.median(peers)
        line |= {"peer": peer, "peer_value": _rounded(peer_value), "ratio": _rounded(value / peer_value)}
    if len(runs) > 1:
        line |= {"runs": [_rounded(run) for run in runs]}
    print(json.dumps(line), flush=True)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
