"""What a flood costs others: the p99 of commands and the memory of the services, with each flood and without.

Connections that never read, a log without end, requests as fast as they are answered; and, to compare, a process on each
core that computes and knows nothing of Milepost, as where trainings run. The floods come from processes that run only
where nobody else wants to: they stand for other machines, whose processors are not ours.

A disk that is slow for a minute changes a p99 more than a flood does. So each flood comes and goes several times, and is
compared with the times between: the figures are medians over its turns.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path
from urllib.parse import urlsplit

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.client import Client
from milepost.errors import MilepostError
from milepost.installation.endpoints import Endpoints
from tests.benchmarks.parts.figures import report
from tests.e2e.stack import StackProcess, until

ROUNDS = 5
# In each round with the flood, and as many without.
COMMANDS = 250
# Pauses between commands, as people and schedulers make them.
PAUSE_SECONDS = 0.02
CONNECTIONS = 10_000
REQUESTERS = 2
SETTLE_SECONDS = 3.0
ASSETS = Path(__file__).resolve().parents[2] / "assets"
PARTS = ("gateway", "runtime", "trials", "metrics", "nats")
Flood = Callable[[StackProcess], AbstractContextManager[None]]
SCRIPT = "{name: commanded, launcher: external}"


def main() -> None:
    """Measure the stack with each flood, and between."""
    with tempfile.TemporaryDirectory(prefix="mp-floods-") as folder:
        stack = StackProcess(Path(folder) / "data")
        try:
            stack.start()
            for _ in range(50):
                command(stack)
            for chosen in sys.argv[1:] or FLOODS:
                compare(stack, *FLOODS[chosen])
        finally:
            stack.end()


def compare(stack: StackProcess, name: str, flood: Flood, rounds: int = ROUNDS, commands: int = COMMANDS) -> None:
    """Measure with a flood and without, in turns."""
    usual: list[list[float]] = []
    flooded: list[list[float]] = []
    memory = memory_of(stack)
    grown = dict(memory)
    for _ in range(rounds):
        usual.append(measure(stack, commands))
        with flood(stack):
            time.sleep(SETTLE_SECONDS)
            flooded.append(measure(stack, commands))
            grown = {part: max(used, grown[part]) for part, used in memory_of(stack).items()}
        time.sleep(SETTLE_SECONDS)
    for kind, of, target in (("p99", p99, "< 2x"), ("median", statistics.median, "")):
        values, before = [of(took) for took in flooded], [of(took) for took in usual]
        report(f"6.StopRuntime {kind} under {name}", values, "ms", target, peer="without", peer_values=before)
    for part in PARTS:
        report(
            f"6.memory of {part} under {name}", grown[part], "MB", "bounded", peer="before", peer_values=memory[part]
        )


def command(stack: StackProcess) -> float:
    """Start a runtime and stop it. Returns how long the stop took, in milliseconds."""
    started = stack.client.runtimes.StartRuntime(api.StartRuntimeRequest(configuration_text=SCRIPT))
    began = time.perf_counter()
    stack.client.runtimes.StopRuntime(api.StopRuntimeRequest(name=started.runtime.name))
    return (time.perf_counter() - began) * 1_000


def measure(stack: StackProcess, commands: int) -> list[float]:
    """Return how long commands took, in milliseconds."""
    took = []
    for _ in range(commands):
        took.append(command(stack))
        time.sleep(PAUSE_SECONDS)
    return took


def p99(milliseconds: list[float]) -> float:
    return statistics.quantiles(milliseconds, n=100)[98]


def memory_of(stack: StackProcess) -> dict[str, float]:
    """Return the resident memory of each part, in MB."""
    return {name: stack.part(name).memory_info().rss / 1e6 for name in PARTS}


@contextmanager
def flooding(*targets: Callable[[Endpoints, Event], None], endpoints: Endpoints) -> Iterator[None]:
    """Run floods in processes of their own."""
    context = multiprocessing.get_context("spawn")
    stop, begun = context.Event(), context.Semaphore(0)
    floods = [context.Process(target=_flood, args=(target, endpoints, stop, begun)) for target in targets]
    for flood in floods:
        flood.start()
    try:
        # What they import costs as much as anything, and is no flood.
        for _ in floods:
            assert begun.acquire(timeout=120), "a flood has not begun"
        yield
    finally:
        stop.set()
        for flood in floods:
            flood.join(60)


def _flood(target: Callable[[Endpoints, Event], None], endpoints: Endpoints, stop: Event, begun: Semaphore) -> None:
    use_what_is_left()
    begun.release()
    target(endpoints, stop)


def never_reading(stack: StackProcess) -> AbstractContextManager[None]:
    return flooding(_open_streams, endpoints=stack.endpoints)


def computing(stack: StackProcess) -> AbstractContextManager[None]:
    return flooding(*[_compute] * (os.cpu_count() or 1), endpoints=stack.endpoints)


def asking(stack: StackProcess) -> AbstractContextManager[None]:
    return flooding(*[_ask] * REQUESTERS, _ask_web, endpoints=stack.endpoints)


@contextmanager
def talking(stack: StackProcess) -> Iterator[None]:
    """Run a trainer that fills its log, until it is stopped. What it has not sent by then goes with it, not afterwards."""
    started = stack.client.start_runtime(
        json.dumps(
            {
                "name": "talker",
                "entrypoint": "talker.py:train",
                "working_directory": str(ASSETS),
                "parameters": {"seconds": 600},
                "limits": {"log_megabytes": 256},
            }
        )
    )
    stack.wait_for_step(started.name, 1)
    until(stack.trainers, "the trainer runs")
    for trainer in stack.trainers():
        use_what_is_left(trainer.pid)
    try:
        yield
    finally:
        stack.client.stop_runtime(started.name, mode=common.STOP_MODE_ABRUPT)
        stack.wait_for_end(started.name)
        stack.client.runtimes.DeleteRuntime(api.DeleteRuntimeRequest(name=started.name))
        until(lambda: _is_gone(stack, started.name), "the talker is deleted")


def _is_gone(stack: StackProcess, name: str) -> bool:
    request = api.GetRuntimeRequest(name=name, show_deleted=True)
    return stack.client.runtimes.GetRuntime(request).runtime.phase == api.RUNTIME_PHASE_DELETED


def use_what_is_left(process_id: int = 0) -> None:
    """Have a process (0: this one) run where nobody else wants to: its processor stands for that of another machine."""
    os.sched_setscheduler(process_id, os.SCHED_IDLE, os.sched_param(0))


def _open_streams(endpoints: Endpoints, stop: Event) -> None:
    """Ask for live streams and never read them; a connection that is closed is replaced, at most once."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    web = urlsplit(endpoints.gateway)
    host, port = web.hostname or "", web.port or 0
    ask = f"GET /api/v1/stream?topics=runtimes HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    runtime_host, _, runtime_port = endpoints.runtime.rpartition(":")
    opened = []
    for number in range(CONNECTIONS):
        if stop.is_set():
            break
        # Every fifth goes to a gRPC port and says nothing at all.
        silent = number % 5 == 0 if "FLOOD" not in os.environ else os.environ["FLOOD"] == "grpc"
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(5)
        try:
            connection.connect((runtime_host, int(runtime_port)) if silent else (host, port))
            if not silent:
                connection.sendall(ask)
        except OSError:
            connection.close()
            continue
        opened.append(connection)
    stop.wait()
    for connection in opened:
        connection.close()


def _compute(endpoints: Endpoints, stop: Event) -> None:
    """Train, as far as the machine can tell."""
    while not stop.is_set():
        sum(range(100_000))


def _ask(endpoints: Endpoints, stop: Event) -> None:
    """List runtimes as fast as that is answered or refused."""
    with Client(endpoints) as client:
        while not stop.is_set():
            try:
                client.runtimes.ListRuntimes(api.ListRuntimesRequest(page_size=50))
            except MilepostError:
                continue


def _ask_web(endpoints: Endpoints, stop: Event) -> None:
    while not stop.is_set():
        try:
            urllib.request.urlopen(f"{endpoints.gateway}/api/v1/runtimes?page_size=50", timeout=30).close()
        except urllib.error.URLError:
            continue


# Arguments choose among them.
FLOODS: dict[str, tuple[str, Flood]] = {
    "computing": ("a computation on each core", computing),
    "connections": (f"{CONNECTIONS:,} connections that never read", never_reading),
    "log": ("a log flood", talking),
    "requests": ("a request flood", asking),
}

if __name__ == "__main__":
    main()
