"""Trainers that log known values while the writer, NATS and they themselves are killed: stored must be sent.

The trainers are processes with the real buffer, spool and sender; each has some of the trials. One that is killed is
replaced by the next attempt, which goes on from the last snapshot and sends what the spools of the one before held.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from milepost.api.log.v1 import log_service_pb2 as log_pb
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from tests.support.servers.metrics_service import ROOT, MetricsClient, MetricsProcess, metrics_client, start_attempt
from tests.support.servers.servers import NatsServer, running_nats, wait_until
from tests.support.trainers.telemetry_trainer import KEYS, LINE_EVERY, SAMPLE_EVERY, Orders, completions, value

RUNTIME = "rt-crash"
TRIALS = 20
TRIALS_PER_TRAINER = 10
DRAIN_SECONDS = 300.0


@dataclass
class Attempt:
    """One attempt of one trial, as far as it is known from outside.

    Attributes:
        last_step: the last step it logged; None: it was killed, and nobody knows.
        spooled: kind -> the highest number of a batch that its spool had when it was killed.
    """

    first_step: int
    last_step: int | None = None
    spooled: dict[str, int] = field(default_factory=dict)


@dataclass
class Trainer:
    """A process that trains some trials; its attempts, oldest first."""

    folder: Path
    nats_url: str
    trials: list[int]
    attempts: dict[int, list[Attempt]] = field(default_factory=dict)
    number: int = 0
    process: subprocess.Popen[bytes] | None = None
    # Of its log; none: `folder`.
    log_folder: Path | None = None

    @property
    def orders(self) -> Orders:
        steps = {str(trial): self.attempts[trial][-1].first_step - 1 for trial in self.trials}
        return Orders(self.nats_url, str(self.folder), RUNTIME, self.number, steps)

    @property
    def log_path(self) -> Path:
        return (self.log_folder or self.folder) / f"trainer-{self.trials[0]}.log"

    def has_begun(self) -> bool:
        """Whether each of its trials has something in its spool."""
        return all(any(self.orders.directory(trial).glob("spool-*.sqlite")) for trial in self.trials)

    async def start(self, log: JetStreamLog, step_seconds: float = 0.02) -> None:
        """Begin the next attempt of each trial, from its last snapshot."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.number += 1
        for trial in self.trials:
            restored = 0
            if self.number > 1:
                file = self.folder / f"trial-{trial}" / f"attempt-{self.number - 1}" / "snapshot"
                restored = int(file.read_text()) if file.exists() else self.attempts[trial][-1].first_step - 1
            self.attempts.setdefault(trial, []).append(Attempt(restored + 1))
            await start_attempt(log, RUNTIME, self.number, restored, trial)
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.trainers.telemetry_trainer", replace(self.orders,
                step_seconds=step_seconds).text()], cwd=ROOT, stdout=subprocess.PIPE, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def kill(self) -> None:
        """`kill -9`, and note what its spools have."""
        if self.process is None:
            return
        self.process.kill()
        self.process.communicate()
        self.process = None
        for trial in self.trials:
            for path in self.orders.directory(trial).glob("spool-*.sqlite"):
                database = sqlite3.connect(path)
                self.attempts[trial][-1].spooled = dict(database.execute("SELECT kind, last FROM numbers"))
                database.close()

    def finish(self) -> None:
        """Have it send what is left, and note the last steps."""
        assert self.process is not None
        # Before that it does not know what to do when it is asked to end.
        begun = self.orders.directory(self.trials[0])
        wait_until(begun.exists, f"{begun} is there", DRAIN_SECONDS)
        self.process.terminate()
        told, _ = self.process.communicate(timeout=DRAIN_SECONDS)
        assert self.process.returncode == 0, self.log_path.read_text()[-4000:]
        self.process = None
        for trial, last in json.loads(told).items():
            self.attempts[int(trial)][-1].last_step = last


async def crash_rounds(folder: Path, rounds: int, seed: int) -> str:
    """Kill the writer `rounds` times, every third time NATS and every second time a trainer; then compare."""
    chance = random.Random(seed)
    with running_nats(folder / "nats") as nats:
        process = MetricsProcess(folder / "data", nats.url)
        process.start()
        trainers = [
            Trainer(folder / "trials", nats.url, list(range(first, first + TRIALS_PER_TRAINER)))
            for first in range(1, TRIALS + 1, TRIALS_PER_TRAINER)
        ]
        try:
            async with await connect(nats.url, name="crashes") as connection:
                await ensure_streams(connection)
                log = JetStreamLog(connection)
                for trainer in trainers:
                    await trainer.start(log)
                for number in range(rounds):
                    await asyncio.sleep(chance.uniform(0.05, 1.5))
                    await _kill_some(number, chance, process, nats, trainers, log)
                await asyncio.to_thread(wait_serving, process)
                for trainer in trainers:
                    await asyncio.to_thread(trainer.finish)
                async with metrics_client(process.address) as client:
                    return await compare(client, trainers)
        finally:
            for trainer in trainers:
                trainer.kill()
            process.kill()


async def _kill_some(
    number: int,
    chance: random.Random,
    process: MetricsProcess,
    nats: NatsServer,
    trainers: list[Trainer],
    log: JetStreamLog,
) -> None:
    await asyncio.to_thread(process.kill)
    victim = chance.choice(trainers) if number % 2 else None
    if victim is not None:
        await asyncio.to_thread(victim.kill)
    if number % 3 == 2:
        await asyncio.to_thread(nats.kill)
        await asyncio.to_thread(nats.restart)
    await asyncio.to_thread(process.start, wait_serving=False)
    if victim is not None:
        await victim.start(log)
    # Half of the time it is killed again before it has caught up.
    if chance.random() < 0.5:
        await asyncio.to_thread(wait_serving, process)


def wait_serving(process: MetricsProcess) -> None:
    """Wait until the metric service is healthy."""
    deadline = time.monotonic() + 60
    while not process.is_serving():
        assert time.monotonic() < deadline, process.log_path.read_text()[-4000:]
        time.sleep(0.1)


async def compare(client: MetricsClient, trainers: list[Trainer]) -> str:
    """Fail unless what is stored is what the trainers logged; returns the proof in words."""
    attempts = {
        (trial, number): attempt
        for trainer in trainers
        for trial, of_trial in trainer.attempts.items()
        for number, attempt in enumerate(of_trial, 1)
    }
    points = lines = samples = 0
    for trial in sorted({trial for trial, _ in attempts}):
        of_trial = {number: attempt for (t, number), attempt in attempts.items() if t == trial}
        points += await _compare_points(client, trial, of_trial)
        lines += await _compare_lines(client, trial, of_trial)
        samples += await _compare_samples(client, trial, of_trial)
    completeness = await client.metrics.GetCompleteness(pb.GetCompletenessRequest(parent=f"runtimes/{RUNTIME}"))
    assert completeness.gap_count == 0, completeness.message
    assert completeness.sent_points == completeness.stored_points == points
    assert sum(s.stored_items for s in completeness.senders if s.kind == "logs") == lines
    sent = {(s.trial, s.attempt, s.kind): s for s in completeness.senders}
    for (trial, number), attempt in attempts.items():
        for kind, last in attempt.spooled.items():
            if last:
                said = sent[trial, number, kind]
                # Who sends what was left adds that nothing follows.
                assert said.sent_batches in (last, last + said.ended), f"trial {trial} attempt {number}: {kind}"
    verified = await client.metrics.VerifyStored(pb.VerifyStoredRequest())
    assert verified.difference_count == 0, list(verified.differences)
    duplicates = sum(s.duplicate_batches for s in completeness.senders)
    return (
        f"{completeness.message}; {samples:,} samples; {len(attempts)} attempts, {duplicates} repeated batches dropped"
    )


async def _compare_points(client: MetricsClient, trial: int, attempts: dict[int, Attempt]) -> int:
    """Each attempt: every step from its first on, once, bit by bit; the lineage: every step once. Returns the points."""
    parent = f"runtimes/{RUNTIME}/trials/{trial}"
    request = pb.ExportSeriesRequest(parents=[parent], include_superseded=True)
    chunks = [message.arrow async for message in client.metrics.ExportSeries(request)]
    rows = pa.ipc.open_stream(io.BytesIO(b"".join(chunks))).read_all()
    for key in KEYS:
        of_key = rows.filter(pc.equal(rows["key"], key))
        for number, attempt in attempts.items():
            own = of_key.filter(pc.equal(of_key["attempt"], number)).sort_by("step")
            steps = own["step"].to_pylist()
            where = f"{parent} attempt {number} {key}"
            assert steps == list(range(attempt.first_step, attempt.first_step + len(steps))), where
            last = attempt.first_step + len(steps) - 1
            assert attempt.last_step is None or last == attempt.last_step, f"{where}: {last}, not {attempt.last_step}"
            expected = np.array([value(trial, number, step, key) for step in steps])
            assert own["value"].to_numpy().tobytes() == expected.tobytes(), where
        owned = sorted(of_key.filter(pc.invert(of_key["superseded"]))["step"].to_pylist())
        assert owned == list(range(1, len(owned) + 1)), f"{parent} {key}"
    return rows.num_rows


async def _compare_lines(client: MetricsClient, trial: int, attempts: dict[int, Attempt]) -> int:
    parent = f"runtimes/{RUNTIME}/trials/{trial}"
    texts: list[str] = []
    request = log_pb.StreamLogsRequest(parent=parent, filter=log_pb.LogFilter(include_superseded=True))
    async for response in client.logs.StreamLogs(request):
        texts += [entry.text for entry in response.entries]
        if response.caught_up:
            break
    told = [text for text in texts if text.startswith("step ")]
    assert len(set(told)) == len(told), parent
    for number, attempt in attempts.items():
        steps = sorted(int(text.split()[1]) for text in told if text.endswith(f" of {number}"))
        first = -(-attempt.first_step // LINE_EVERY) * LINE_EVERY
        assert steps == list(range(first, first + LINE_EVERY * len(steps), LINE_EVERY)), f"{parent} attempt {number}"
    return len(texts)


async def _compare_samples(client: MetricsClient, trial: int, attempts: dict[int, Attempt]) -> int:
    """Each attempt: every sample from its first step on, once; what counts: that of a trainer that nobody kills."""
    parent = f"runtimes/{RUNTIME}/trials/{trial}"
    request = pb.ListSamplesRequest(parents=[parent], include_superseded=True, oldest_first=True, page_size=1_000)
    samples: list[pb.Sample] = []
    while True:
        answer = await client.metrics.ListSamples(request)
        samples += answer.samples
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token

    def wanted(first: int, of: list[pb.Sample]) -> list[str]:
        first = -(-first // SAMPLE_EVERY) * SAMPLE_EVERY
        steps = range(first, (of[-1].row.step if of else 0) + 1, SAMPLE_EVERY)
        return [completion for step in steps for completion in completions(trial, step)]

    for number, attempt in attempts.items():
        own = [one for one in samples if one.attempt == number]
        assert [one.row.completion for one in own] == wanted(attempt.first_step, own), f"{parent} attempt {number}"
    owned = [one for one in samples if not one.superseded]
    assert [one.row.completion for one in owned] == wanted(1, owned), parent
    return len(samples)
