"""Growth 22: series whose names have 110 characters, 100, 1,000 and 10,000 of them in one step: the largest message."""

from __future__ import annotations

import time
from array import array

from milepost.api.telemetry.v1.telemetry_pb2 import Sender
from milepost.training.telemetry.batches import LastValues, Position, prepare
from milepost.training.telemetry.buffer import Columns
from tests.benchmarks.parts.growth import report_growth

SIZES = (100, 1_000, 10_000)
NAME_LENGTH = 110
SENDER = Sender(runtime_id="rt-bench", trial=1, attempt=1, source="rank-0")


def messages_of_one_step(series: int) -> list[int]:
    """Return the bytes of each message, headers included."""
    keys = tuple(f"{number}/".ljust(NAME_LENGTH, "x") for number in range(series))
    values = tuple(array("d", [1.0]) for _ in keys)
    columns = [Columns(keys, array("q", [1]), array("d", [time.time()]), values)]
    last = LastValues()
    last.take_in(columns)
    sizes = []
    for number, batch in enumerate(prepare(SENDER, columns, Position(step=1).headers(), 0, 0, last), 1):
        headers, body = batch.encode(number)
        sizes.append(len(body) + sum(len(name) + len(value) + 4 for name, value in headers.items()))
    return sizes


def main() -> None:
    sizes = {series: messages_of_one_step(series) for series in SIZES}
    largest = {series: float(max(found)) for series, found in sizes.items()}
    counts = {series: float(len(found)) for series, found in sizes.items()}
    name = "growth.22.one step of series with names of 110 characters"
    report_growth(f"{name}: largest message", largest, "bytes", "< 1048576", "over 1 MiB, refused for ever")
    report_growth(f"{name}: messages", counts, "messages", "")


if __name__ == "__main__":
    main()
