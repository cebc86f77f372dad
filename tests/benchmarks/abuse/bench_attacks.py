"""What an attack by one caller costs the commands of others: their p99 with each attack, and without.

Each attack was once enough to hold up everybody: configurations that name a pipe, patterns of many wildcards, the history
of one point of a long series, exports, all the calls that one can open. They come as `bench_floods` has its floods: from
processes that run where nobody else wants to, and in turns with quiet times, which are the baseline beside each figure.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from milepost.api.audit.v1 import audit_service_pb2 as audit_api
from milepost.api.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.runtime.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from milepost.installation.endpoints import Endpoints
from services.access.authorization import RUNTIMES
from services.mlflow.names import runtime_id_of
from tests.benchmarks.abuse.bench_floods import command, compare, flooding
from tests.e2e.stack import StackProcess

# As anybody on this machine may call itself: rates and shares go by it.
ATTACKER = (("mp-actor", "local:attacker"),)
ROUNDS = 3
COMMANDS = 150
# Of the series whose history is asked for.
POINTS = 200_000
BATCH = 1_000
PIPES = 8
EXPORTS = 8
CALLS = 4_000
CONNECTIONS = 20
# What one program with one channel can open: as many as the server takes at once, and as many again that wait for these.
CALLS_OF_A_CHANNEL = 1_000
Attack = Callable[[Endpoints, Event], None]


def main() -> None:
    """Measure the stack with each attack, and between."""
    with tempfile.TemporaryDirectory(prefix="mp-attacks-") as folder:
        stack = StackProcess(Path(folder) / "data")
        try:
            stack.start()
            run_id = _long_run(stack)
            for _ in range(50):
                command(stack)
            pipe = Path(folder) / "code.tar.gz"
            os.mkfifo(pipe)
            attacks: dict[str, tuple[str, Attack]] = {
                "pipes": (f"{PIPES} validations of a pipe at once", partial(_validate, str(pipe))),
                "patterns": ("patterns of many wildcards", _search),
                "secrets": ("configurations that are long to look through", _configure),
                "history": (f"histories of one point of {POINTS:,}", partial(_ask_history, run_id)),
                "exports": (f"{EXPORTS} exports at once", partial(_export, _runtime_of(run_id))),
                "channel": (
                    f"{CALLS_OF_A_CHANNEL:,} calls of one channel opened and not asked",
                    partial(_open_calls, CALLS_OF_A_CHANNEL, 1),
                ),
                "calls": (
                    f"{CALLS:,} calls over {CONNECTIONS} connections opened and not asked",
                    partial(_open_calls, CALLS, CONNECTIONS),
                ),
            }
            for chosen in sys.argv[1:] or attacks:
                name, attack = attacks[chosen]
                compare(stack, name, partial(_attacked, attack), ROUNDS, COMMANDS)
        finally:
            stack.end()


@contextmanager
def _attacked(attack: Attack, stack: StackProcess) -> Iterator[None]:
    with flooding(attack, endpoints=stack.endpoints):
        yield


def _post(endpoints: Endpoints, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{endpoints.gateway}/mlflow/api/2.0/mlflow/{path}",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        read: dict[str, Any] = json.loads(answer.read())
    return read


def _long_run(stack: StackProcess) -> str:
    """Record a run with a long series, as an MLflow client does. Returns its MLflow id."""
    run = _post(
        stack.endpoints,
        "runs/create",
        {"experiment_id": "0", "run_name": "long", "start_time": time.time_ns() // 1_000_000},
    )["run"]
    run_id = str(run["info"]["run_id"])
    began = time.time_ns() // 1_000_000
    for first in range(0, POINTS, BATCH):
        metrics = [
            {"key": "loss", "value": 1 / (step + 1), "timestamp": began + step, "step": step}
            for step in range(first, first + BATCH)
        ]
        _post(stack.endpoints, "runs/log-batch", {"run_id": run_id, "metrics": metrics})
    _post(stack.endpoints, "runs/set-tag", {"run_id": run_id, "key": "note", "value": "a" * 2_000})
    _post(stack.endpoints, "runs/update", {"run_id": run_id, "status": "FINISHED"})
    stack.wait_for_end(_runtime_of(run_id))
    return run_id


def _runtime_of(run_id: str) -> str:
    return f"runtimes/{runtime_id_of(run_id)}"


def _stub(endpoints: Endpoints) -> Any:
    return RuntimeServiceStub(grpc.insecure_channel(endpoints.runtime))


def _validate(pipe: str, endpoints: Endpoints, stop: Event) -> None:
    stub = _stub(endpoints)
    configuration = {
        "name": "piped",
        "entrypoint": "train.py:train",
        "code": {"uri": Path(pipe).as_uri(), "digest": "sha256:" + "0" * 64},
    }
    request = api.StartRuntimeRequest(configuration_text=json.dumps(configuration), validate_only=True)
    while not stop.is_set():
        asked = [stub.StartRuntime.future(request, metadata=ATTACKER, timeout=60) for _ in range(PIPES)]
        _wait(asked, stop)


def _configure(endpoints: Endpoints, stop: Event) -> None:
    stub = _stub(endpoints)
    parameters = {f"p{number}": "a-" * 30_000 for number in range(4)}
    text = json.dumps({"name": "long", "launcher": "external", "parameters": parameters})
    request = api.StartRuntimeRequest(configuration_text=text, validate_only=True)
    while not stop.is_set():
        _wait([stub.StartRuntime.future(request, metadata=ATTACKER, timeout=60)], stop)


def _wait(asked: list[Any], stop: Event) -> None:
    for call in asked:
        while not call.done() and not stop.is_set():
            time.sleep(0.01)
        call.cancel()


def _search(endpoints: Endpoints, stop: Event) -> None:
    pattern = "%a" * 12 + "b"
    body = {"experiment_ids": ["0"], "filter": f"tags.note LIKE '{pattern}'"}
    while not stop.is_set():
        with suppress(urllib.error.URLError, TimeoutError):
            _post(endpoints, "runs/search", body)


def _ask_history(run_id: str, endpoints: Endpoints, stop: Event) -> None:
    address = (
        f"{endpoints.gateway}/mlflow/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=loss&max_results=1"
    )
    while not stop.is_set():
        with suppress(urllib.error.URLError, TimeoutError):
            urllib.request.urlopen(address, timeout=60).close()


def _export(name: str, endpoints: Endpoints, stop: Event) -> None:
    audit: Any = AuditServiceStub(grpc.insecure_channel(endpoints.runtime))
    going: list[Iterator[Any]] = []
    while not stop.is_set():
        going += [
            iter(audit.ExportBundle(audit_api.ExportBundleRequest(name=name), metadata=ATTACKER))
            for _ in range(EXPORTS - len(going))
        ]
        for one in list(going):
            try:
                next(one)
            except (StopIteration, grpc.RpcError):
                going.remove(one)


def _open_calls(calls: int, connections: int, endpoints: Endpoints, stop: Event) -> None:
    asyncio.run(_hold_calls(calls, connections, endpoints, stop))


async def _hold_calls(calls: int, connections: int, endpoints: Endpoints, stop: Event) -> None:
    """Open calls over some connections: half of them are streams that stay, the other half never send a request."""
    channels = [
        grpc.aio.insecure_channel(endpoints.runtime, [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(connections)
    ]
    kept: list[Any] = []
    asking: list[asyncio.Task[None]] = []
    for number in range(calls):
        method = "GetRuntime" if number % 2 else "WatchRuntimes"
        opening: Any = channels[number % connections].stream_stream(f"{RUNTIMES}{method}", bytes, bytes)
        kept.append(opening(metadata=ATTACKER))
        if number % 2 == 0:
            # Beyond what the server takes of a connection, a request waits for another call to end.
            asking.append(asyncio.create_task(_ask_to_watch(kept[-1])))
        if number % connections == 0:
            await asyncio.sleep(0)
        if stop.is_set():
            break
    while not stop.is_set():
        await asyncio.sleep(0.1)
    for call in kept:
        call.cancel()
    await asyncio.gather(*asking)


async def _ask_to_watch(call: Any) -> None:
    with suppress(grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError):
        await call.write(api.WatchRuntimesRequest(name="runtimes/-").SerializeToString())


if __name__ == "__main__":
    main()
