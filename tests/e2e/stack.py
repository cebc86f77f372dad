"""A whole stack as a user starts it, in a folder of its own, and what the tests ask of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import psutil

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli.runs.following import ENDED
from milepost.client import Client
from milepost.installation import endpoints
from milepost.installation.endpoints import Endpoints

ROOT = Path(__file__).resolve().parents[2]
FREE_PORTS = [
    "--gateway-listen=127.0.0.1:0",
    "--runtime-listen=127.0.0.1:0",
    "--trials-listen=127.0.0.1:0",
    "--metrics-listen=127.0.0.1:0",
    "--rules-listen=127.0.0.1:0",
    "--nats-url=nats://127.0.0.1:0",
]
# Generous: other things may run on the machine.
START_SECONDS = 90.0
RUN_SECONDS = 180.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05

Answer = TypeVar("Answer")


def until(ask: Callable[[], Answer | None], what: str, seconds: float = RUN_SECONDS) -> Answer:
    """Ask again and again until the answer is neither None nor False; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(POLL_SECONDS)


class StackProcess:
    """`milepost up` as a child process."""

    def __init__(self, data_dir: Path, arguments: Iterable[str] = FREE_PORTS) -> None:
        self.data_dir = data_dir
        self.output = data_dir.with_name(f"{data_dir.name}.log")
        self._arguments = list(arguments)
        self.process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None

    @property
    def endpoints(self) -> Endpoints:
        found = endpoints.read(self.data_dir)
        assert found is not None, "the stack has started"
        return found

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.endpoints)
        return self._client

    def start(self) -> StackProcess:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "milepost", "up", f"--data-dir={self.data_dir}", *self._arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        until(self._is_up, "the stack serves", START_SECONDS)
        return self

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the stack ended:\n{self.tail()}"
        found = endpoints.read(self.data_dir)
        return found is not None and found.pid == self.process.pid

    def tail(self) -> str:
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-80:])

    def part(self, name: str) -> psutil.Process:
        """Find the process of a part: `nats` or a service."""
        assert self.process is not None
        mark = "nats-server" if name == "nats" else f"services.{name}"

        def find() -> psutil.Process | None:
            for child in psutil.Process(self.process.pid).children():  # type: ignore[union-attr]
                try:
                    if any(mark in word for word in child.cmdline()):
                        return child
                except psutil.NoSuchProcess:
                    continue
            return None

        return until(find, f"{name} runs", START_SECONDS)

    def kill(self, name: str) -> None:
        """Kill a part as a crash would."""
        self.part(name).kill()

    def stop(self) -> tuple[int, float]:
        """Press Ctrl-C. Returns the exit status and the seconds it took."""
        assert self.process is not None
        if self._client is not None:
            self._client.close()
            self._client = None
        started = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(STOP_SECONDS)
        self.process = None
        return status, time.monotonic() - started

    def end(self) -> None:
        """End whatever is left, trainers included."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self._client is not None:
            self._client.close()
        for trainer in self.trainers():
            trainer.kill()

    def trainers(self) -> list[psutil.Process]:
        """Processes that train for this stack: their working data is below its folder."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                variables = process.environ()
            except psutil.Error:
                continue
            trains = any(word in ("trainer", "milepost.training.process.worker") for word in words)
            mine = str(self.data_dir) in " ".join([*words, variables.get("MILEPOST_ATTEMPT_DIRECTORY", "")])
            if trains and mine:
                found.append(process)
        return found

    def milepost(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line against this stack."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(self.data_dir)}
        return subprocess.run(
            [sys.executable, "-m", "milepost", *arguments],
            capture_output=True, text=True, timeout=RUN_SECONDS, cwd=ROOT, env=environment, check=False, **options,
        )  # fmt: skip

    def runtime(self, name: str) -> runtime_api.Runtime:
        return self.client.get_runtime(name)

    def trial(self, name: str, number: int = 1) -> trial_api.Trial:
        return self.client.trials.GetTrial(trial_api.GetTrialRequest(name=f"{name}/trials/{number}")).trial

    def wait_for_end(self, name: str, seconds: float = RUN_SECONDS) -> runtime_api.Runtime:
        """Wait until nothing of a runtime runs any more."""

        def ended() -> runtime_api.Runtime | None:
            runtime = self.runtime(name)
            return runtime if runtime.phase in ENDED else None

        return until(ended, f"{name} ends", seconds)

    def wait_for_step(self, name: str, step: int) -> None:
        """Wait until a trial has done a step. Fails if the runtime ends before."""

        def reached() -> bool:
            if self.trial(name).progress.step >= step:
                return True
            runtime = self.runtime(name)
            if runtime.phase not in ENDED:
                return False
            # The trial service may not have read the end yet, when it has just been started again.
            request = trial_api.GetTrialRequest(name=f"{name}/trials/1", min_sequence=runtime.sequence)
            done = self.client.trials.GetTrial(request).trial.progress.step
            assert done >= step, f"{name} ended at step {done}"
            return True

        until(reached, f"{name} is at step {step}")

    def series(self, name: str, key: str, trial: int = 1) -> dict[int, float]:
        """Read a series as stored: every point of the lineage by its step. Fails if a step comes twice."""
        request = metric_api.QuerySeriesRequest(parents=[f"{name}/trials/{trial}"], keys=[key], bucket_count=10_000)
        points: dict[int, float] = {}
        for series in self.client.metrics.QuerySeries(request).series:
            assert series.raw, "there are few enough points to see each of them"
            for step, value in zip(series.first_steps, series.lasts, strict=True):
                assert step not in points, f"step {step} of {key} comes twice"
                points[step] = value
        return points

    def completeness(self, name: str) -> metric_api.GetCompletenessResponse:
        return self.client.metrics.GetCompleteness(metric_api.GetCompletenessRequest(parent=name))

    def events(self, name: str) -> list[Any]:
        """Read every event of a runtime, oldest first."""
        found: list[Any] = []
        token = ""
        while True:
            request = runtime_api.ListEventsRequest(parent=name, page_size=1_000, page_token=token)
            answer = self.client.runtimes.ListEvents(request)
            found += answer.events
            token = answer.next_page_token
            if not token:
                return found


def broken_links(events: Iterable[Any]) -> list[str]:
    """List where the chain of a runtime, of a trial or of its rules is broken: a version or a hash that does not follow."""
    heads: dict[int | str, tuple[int, str]] = {}
    broken = []
    for event in events:
        # What rules found is a chain of its own, whatever trial it is about.
        chain = "rules" if event.type.startswith("milepost.rule.") else event.trial
        version, previous = heads.get(chain, (0, ""))
        if (event.version, event.previous_hash) != (version + 1, previous):
            broken.append(f"event {event.sequence} ({event.type}) of trial {event.trial}")
        heads[chain] = (event.version, event.hash)
    return broken
