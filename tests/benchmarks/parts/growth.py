"""How a cost grows: measured at several sizes, reported as one figure with its exponent and its ratio."""

from __future__ import annotations

import asyncio
import json
import math
import os
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass


def exponent_of(measured: Mapping[int, float]) -> float:
    """Return the slope of the least-squares line through the logarithms: 0 flat, 1 in proportion, 2 as the square."""
    points = [(math.log(size), math.log(max(value, 1e-9))) for size, value in measured.items()]
    x, y = statistics.mean(p[0] for p in points), statistics.mean(p[1] for p in points)
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def report_growth(name: str, measured: Mapping[int, float], unit: str, target: str, before: str = "") -> None:
    """Print how a figure grows: one JSON object on one line.

    Args:
        name: `growth.<number in docs/targets.md>.<what>`.
        measured: the figure by size, two sizes at least; the last is the one that the target is about.
        unit: `s`, `ms`, `bytes` ...
        target: of the largest size; empty: none.
        before: what the build before this row was mended took at the largest size.
    """
    sizes = sorted(measured)
    least, most = measured[sizes[0]], measured[sizes[-1]]
    line = {
        "name": name,
        "sizes": sizes,
        "values": [float(f"{measured[size]:.4g}") for size in sizes],
        "unit": unit,
        "exponent": round(exponent_of(measured), 2),
        "ratio": float(f"{most / least:.4g}") if least else None,
        "target": target,
        "load": round(os.getloadavg()[0], 1),
    }
    if before:
        line["before"] = before
    print(json.dumps(line), flush=True)


@dataclass
class Pauses:
    """The longest time in which the event loop did nothing else, in seconds."""

    longest: float = 0.0


@asynccontextmanager
async def pauses() -> AsyncIterator[Pauses]:
    """Watch the event loop for the length of a block."""
    found = Pauses()

    async def look() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0)
            found.longest = max(found.longest, time.perf_counter() - began)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)
    try:
        yield found
    finally:
        looking.cancel()
