"""A script that is killed, cut off and suspended at random instants: nothing lost, one value a step, the status right."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.training.script.resume import runtime_id_of
from tests.e2e.stack import ROOT, StackProcess, until
from tests.support.servers.proxy import TcpProxy

# Values say which attempt logged them: 1,000,000 times its number, and the step. Arguments: id, file that ends it.
SCRIPT = """
import pathlib, sys, time
import milepost

trial = milepost.init(name="faulty", id=sys.argv[1], resume="allow", snapshots={"every_steps": 20})
state = trial.restore()
step = state["step"] if state else 0
print("attempt", trial.attempt, flush=True)
ends = False
while not ends:
    # Also told to end before it has begun it does a step: each attempt has one.
    ends = pathlib.Path(sys.argv[2]).exists()
    time.sleep(0.02)
    step += 1
    milepost.log({"train/loss": 1e6 * trial.attempt + step})
    trial.maybe_snapshot(lambda: {"step": step})
"""
FAULTS = ("kill", "cut", "suspend", "kill while cut")
# The longest of a cut or a suspend, and of those that are to outlast the grace.
SHORT_SECONDS, LONG_SECONDS = 2.0, 40.0


class Network:
    """What lies between the script and the services."""

    def __init__(self, ports: list[int]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.proxies = [TcpProxy(port) for port in ports]

    def __enter__(self) -> Network:
        self._thread.start()
        for proxy in self.proxies:
            asyncio.run_coroutine_threadsafe(proxy.start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in self.proxies:
            asyncio.run_coroutine_threadsafe(proxy.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Let nothing pass for the length of a block; then connections are reset and new ones pass."""
        for proxy in self.proxies:
            proxy.is_silent = True
        try:
            yield
        finally:
            for proxy in self.proxies:
                proxy.is_silent = False
                self._loop.call_soon_threadsafe(proxy.reset)


class FaultyScript:
    """The script, started again after each kill as a job scheduler does."""

    def __init__(self, stack: StackProcess, network: Network, name: str, folder: Path) -> None:
        nats, runtime = (f"127.0.0.1:{proxy.port}" for proxy in network.proxies)
        self._environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(stack.data_dir),
            "MILEPOST_NATS_URL": f"nats://{nats}", "MILEPOST_RUNTIME_ADDRESS": runtime,
        }  # fmt: skip
        self._arguments = [name, str(folder / "end")]
        self._folder = folder
        self.network = network
        self.kills = 0
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it has its attempt."""
        with (self._folder / "errors").open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, *self._arguments],
                env=self._environment, cwd=self._folder, text=True, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said == f"attempt {self.kills + 1}\n", (said, self.errors())

    def errors(self) -> str:
        return (self._folder / "errors").read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()
        self.kills += 1

    def kill_and_start(self, seconds: float) -> None:
        self.kill()
        self.start()

    def cut(self, seconds: float) -> None:
        with self.network.cut():
            time.sleep(seconds)

    def kill_while_cut(self, seconds: float) -> None:
        with self.network.cut():
            time.sleep(seconds)
            self.kill()
        self.start()

    def suspend(self, seconds: float) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Let it come to its end."""
        assert self.process is not None
        (self._folder / "end").touch()
        self.process.communicate(timeout=120)
        assert self.process.returncode == 0, self.errors()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def make(self, fault: str, seconds: float) -> None:
        made: dict[str, Callable[[float], None]] = {
            "kill": self.kill_and_start,
            "cut": self.cut,
            "suspend": self.suspend,
            "kill while cut": self.kill_while_cut,
        }
        made[fault](seconds)


@pytest.mark.parametrize(
    ("rounds", "long_ones"),
    [(4, 0), pytest.param(50, 3, marks=[pytest.mark.faults, pytest.mark.timeout(2400)])],
)
def test_a_script_that_faults_befall_loses_nothing_and_doubles_nothing(
    stack: StackProcess, tmp_path: Path, rounds: int, long_ones: int
) -> None:
    """Sent is stored, a step has one value, and only a known death ends an attempt."""
    seed = int(os.environ.get("MILEPOST_SEED", "19"))
    chance = random.Random(seed)
    # Each kind comes as often as the others.
    faults = [FAULTS[number % len(FAULTS)] for number in range(rounds)]
    chance.shuffle(faults)
    name = f"runtimes/{runtime_id_of(f'faulty {rounds}')}"
    ports = [urlparse(stack.endpoints.nats).port or 0, int(stack.endpoints.runtime.rpartition(":")[2])]
    with Network(ports) as network:
        script = FaultyScript(stack, network, f"faulty {rounds}", tmp_path)
        try:
            for fault in faults:
                time.sleep(chance.uniform(0.1, 1.5))
                script.make(fault, chance.uniform(0.1, SHORT_SECONDS))
            for fault in ("cut", "suspend", "cut")[:long_ones]:
                script.make(fault, LONG_SECONDS)
                assert stack.runtime(name).status == runtime_api.RUNTIME_STATUS_STARTED
            script.end()
        finally:
            script.close()
    check_record(stack, name, script.kills, f"seed {seed}, faults {faults}\n{script.errors()}")


def check_record(stack: StackProcess, name: str, kills: int, story: str) -> None:
    """Check what is stored of a script that was killed so often, and has come to its end."""
    ended = stack.wait_for_end(name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, f"{ended.reason}; {story}"
    until(lambda: not stack.completeness(name).unfinished, f"all that was left is sent; {story}")
    known = stack.completeness(name)
    assert (known.gap_count, known.waiting_batches, known.still_writing) == (0, 0, False), story
    assert known.sent_points == known.stored_points, f"{known.message}; {story}"
    points = stack.series(name, "train/loss")
    assert list(points) == list(range(1, len(points) + 1)), story
    owners = [int(value // 1e6) for value in points.values()]
    assert owners == sorted(owners), f"an attempt goes on where the one before was cut; {story}"
    assert [value % 1e6 for value in points.values()] == list(points), story
    assert owners[-1] == kills + 1, story
    payloads = [event.trial_event for event in stack.events(name) if event.trial]
    fences = [payload.attempt_fenced for payload in payloads if payload.HasField("attempt_fenced")]
    assert all(fence.reason == facts.FENCE_REASON_EXITED for fence in fences), story
    started = [payload for payload in payloads if payload.HasField("attempt_started")]
    assert len(started) <= kills + 1, story
