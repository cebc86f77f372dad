"""What a runtime leaves behind: bytes of EVENTS, TELEMETRY, ClickHouse and files for runs of 48 steps and of 1,080."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from milepost.eventlog import EVENTS, TELEMETRY
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.credentials import ADMIN, credentials_path
from milepost.eventlog.nats.streams import stream_state
from tests.benchmarks.parts.figures import report
from tests.e2e.runs import TINY, paced, small
from tests.e2e.stack import StackProcess, until

SHORT_RUNS = 6
LONG_EPOCHS = 9


async def stream_bytes(stack: StackProcess) -> dict[str, int]:
    credentials = credentials_path(stack.data_dir / "keys", ADMIN)
    async with await connect(stack.endpoints.nats, name="bench", credentials=credentials) as connection:
        found = {name: await stream_state(connection, name) for name in (EVENTS, TELEMETRY)}
    return {**{name: state.byte_count for name, state in found.items()}, "events": found[EVENTS].message_count}


def folder_bytes(folder: Path) -> int:
    """What is on disk below a folder. ClickHouse takes away parts meanwhile that it has merged."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(path) / name).stat().st_blocks * 512
    return total


def held(stack: StackProcess) -> dict[str, int]:
    found = asyncio.run(stream_bytes(stack))
    return {
        **found,
        "clickhouse": folder_bytes(stack.data_dir / "clickhouse"),
        "runtimes": folder_bytes(stack.data_dir / "runtimes"),
    }


def run(stack: StackProcess, configuration: str) -> str:
    started = stack.client.start_runtime(configuration)
    stack.wait_for_end(started.name)
    answer = stack.completeness
    until(lambda: answer(started.name).sent_points == answer(started.name).stored_points > 0, "stored")
    return started.name


def main() -> None:
    os.environ.setdefault("TMPDIR", tempfile.gettempdir())
    with tempfile.TemporaryDirectory() as folder:
        stack = StackProcess(Path(folder) / "data")
        try:
            stack.start()
            run(stack, paced("warm", 0.0))
            for kind, count, configuration in (
                ("48 steps", SHORT_RUNS, paced("short", 0.0)),
                ("1,080 steps", 1, small(name="long", parameters={**TINY, "epochs": LONG_EPOCHS})),
            ):
                before = held(stack)
                names = [run(stack, configuration) for _ in range(count)]
                after = held(stack)
                points = stack.completeness(names[-1]).stored_points
                for what in before:
                    unit = "events/run" if what == "events" else "bytes/run"
                    report(f"capacity.{what} ({kind}, {points} points)", (after[what] - before[what]) / count, unit, "")
        finally:
            stack.end()


if __name__ == "__main__":
    main()
