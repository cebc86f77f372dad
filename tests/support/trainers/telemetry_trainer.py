"""A process that trains nothing but logs known values for some trials, through what runs beside a real training loop.

`python -m tests.support.trainers.telemetry_trainer JSON`: see `Orders`. It logs until SIGTERM, then sends what is left
and prints the last step of each trial. Killed at any instant, it leaves its spools to the process of the next attempt.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.training.v1.training_pb2 import Finished, InstanceInstruction, InstanceReport
from milepost.eventlog.nats.connection import connect
from milepost.training.process.worker import quiet_libraries
from milepost.training.spooling.recovery import send_earlier_attempts
from milepost.training.telemetry.addresses import Addresses
from milepost.training.telemetry.background import Background
from milepost.training.telemetry.batches import TRAINING, Position

KEYS = ("train/loss", "train/grad_norm")
LINE_EVERY = 10
SAMPLE_EVERY = 4
SNAPSHOT_SECONDS = 0.5
DRAIN_SECONDS = 120.0


@dataclass(frozen=True)
class Orders:
    """What a process is to do: trials, and the attempt and first step of each."""

    nats_url: str
    folder: str
    runtime_id: str
    attempt: int
    # trial -> the step it goes on from.
    trials: dict[str, int]
    step_seconds: float = 0.02

    def directory(self, trial: str | int) -> Path:
        return Path(self.folder) / f"trial-{trial}" / f"attempt-{self.attempt}"

    def text(self) -> str:
        return json.dumps(asdict(self))


def value(trial: int, attempt: int, step: int, key: str) -> float:
    """The value that is logged there: any bits, NaN and infinities too."""
    for every, odd in ((17, math.nan), (19, math.inf), (23, -math.inf)):
        if step % every == 0:
            return odd
    return math.sin(trial * 1_000_003 + attempt * 7_919 + step) * (1.0 if key == KEYS[0] else -1e-30)


def completions(trial: int, step: int) -> list[str]:
    """What the samples at a step say, whichever attempt logs them."""
    return [f"{step} {member} {value(trial, 0, step, KEYS[0])!r} " + "x" * 300 for member in range(3)]


class _NobodyToTell:
    """A channel whose other side needs no reports."""

    async def run(self, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        await asyncio.Event().wait()

    async def send(self, report: InstanceReport) -> None:
        """Nobody asks."""

    async def close(self, seconds: float) -> None:
        """Nothing waits."""


class LoggingTrial:
    """One trial of this process."""

    def __init__(self, orders: Orders, trial: int, first: int) -> None:
        self.trial, self.attempt, self.step = trial, orders.attempt, first
        self.directory = orders.directory(trial)
        self.directory.mkdir(parents=True, exist_ok=True)
        sender = telemetry.Sender(runtime_id=orders.runtime_id, trial=trial, attempt=orders.attempt, source="rank-0")
        self.position = Position(step=first, phase=TRAINING)
        self.background = Background(
            sender, 0, self.directory, Addresses(orders.nats_url), _NobodyToTell(), self.position
        )
        self.background.start(lambda instruction: None)

    def log(self) -> None:
        step = self.step + 1
        self.position.step = step
        values = {key: value(self.trial, self.attempt, step, key) for key in KEYS}
        self.background.buffer.append(step, time.time(), values)
        if step % SAMPLE_EVERY == 0:
            rows = [{"prompt": "p", "completion": one} for one in completions(self.trial, step)]
            self.background.samples.append(step, time.time(), "eval/samples", telemetry.ROW_FORM_SAMPLE, rows)
        if step % LINE_EVERY == 0:
            now = int(time.time() * 1000)
            self.background.log_line(telemetry.LogLine(time_ms=now, step=step, text=f"step {step} of {self.attempt}"))
        self.step = step

    def snapshot(self) -> None:
        """Commit a snapshot, as a real one: not before everything up to its step is stored."""
        step = self.step
        if self.background.wait_stored(0.2):
            temporary = self.directory / "snapshot.new"
            # A disk without room fails the snapshot, not the training.
            with suppress(OSError):
                temporary.write_text(str(step))
                temporary.rename(self.directory / "snapshot")

    def finish(self) -> None:
        self.background.wait_stored(DRAIN_SECONDS)
        self.background.finish(InstanceReport(finished=Finished()), DRAIN_SECONDS)


async def _send_what_was_left(orders: Orders) -> None:
    async with await connect(orders.nats_url, name="recovery", timeout_seconds=DRAIN_SECONDS) as connection:
        await asyncio.gather(*(send_earlier_attempts(connection, orders.directory(trial)) for trial in orders.trials))


def main() -> None:
    orders = Orders(**json.loads(sys.argv[1]))
    quiet_libraries()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    trials = [LoggingTrial(orders, int(trial), first) for trial, first in orders.trials.items()]
    recovering = threading.Thread(target=lambda: asyncio.run(_send_what_was_left(orders)))
    recovering.start()

    def keep_snapshots() -> None:
        while not stopping.wait(SNAPSHOT_SECONDS):
            for trial in trials:
                trial.snapshot()

    snapshots = threading.Thread(target=keep_snapshots)
    snapshots.start()
    while not stopping.is_set():
        for trial in trials:
            trial.log()
        time.sleep(orders.step_seconds)
    snapshots.join()
    for trial in trials:
        trial.finish()
    recovering.join()
    print(json.dumps({trial.trial: trial.step for trial in trials}), flush=True)


if __name__ == "__main__":
    main()
