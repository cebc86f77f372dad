"""Attacks on a default installation: who can reach it, hostile calls by the hundred, and it lives on unchanged."""

from __future__ import annotations

import os
import random
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import psutil
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc

from milepost.api.event.v1 import options_pb2
from milepost.api.event.v1.recorded_event_pb2 import RecordedEvent
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from tests.e2e.stack import StackProcess
from tests.integration.security.secured import all_methods, path_of
from tests.support.faults.hostile import fill
from tests.support.servers.listening import beyond_loopback, listening

CALLS = int(os.environ.get("MILEPOST_FUZZ_CALLS", "500"))
SEED = int(os.environ.get("MILEPOST_FUZZ_SEED", "20260101"))
CALL_SECONDS = 30.0
STREAM_SECONDS = 1.0

CLAIM_LAUNCH = "milepost.api.training.v1.LaunchService.ClaimLaunch"

# What a client did wrong, or what it asked for is not there. Never INTERNAL, UNKNOWN or DATA_LOSS.
EXPECTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.UNIMPLEMENTED,
    # Streams that wait for what comes are ended by the caller.
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


def hostile_request(method: Any, chance: random.Random) -> bytes:
    """A request that fits the contract and means harm, one cut short, or plain noise."""
    message = message_factory.GetMessageClass(method.input_type)()
    fill(message, chance)
    content = message.SerializeToString()
    kind = chance.random()
    if kind < 0.1:
        return chance.randbytes(chance.randrange(300))
    if kind < 0.2 and content:
        cut = bytearray(content)
        cut[chance.randrange(len(cut))] ^= 1 << chance.randrange(8)
        return bytes(cut[: chance.randrange(1, len(cut) + 1)])
    return content


def hostile_calls(stack: StackProcess, count: int) -> Iterator[tuple[str, grpc.StatusCode, str]]:
    """Make hostile calls to all services in turn. Yields RPC, code and words of each answer."""
    chance = random.Random(SEED)
    addresses = {
        "runtime": stack.endpoints.runtime,
        "audit": stack.endpoints.runtime,
        "access": stack.endpoints.runtime,
        "training": stack.endpoints.runtime,
        "trial": stack.endpoints.trials,
        "metric": stack.endpoints.metrics,
        "log": stack.endpoints.metrics,
    }
    # MLflow's calls are answered in the gateway here, where they speak HTTP (tests/integration/security/test_mlflow_access.py).
    methods = [method for method in all_methods() if method.full_name.split(".")[2] in addresses]
    channels = {address: grpc.insecure_channel(address) for address in set(addresses.values())}
    for number in range(count):
        method = methods[number % len(methods)]
        channel = channels[addresses[method.full_name.split(".")[2]]]
        make = channel.unary_stream if method.server_streaming else channel.unary_unary
        call: Any = make(path_of(method), lambda content: content, lambda content: content)
        try:
            request = hostile_request(method, chance)
            if method.server_streaming:
                for _ in call(request, timeout=STREAM_SECONDS):
                    pass
            else:
                call(request, timeout=CALL_SECONDS)
            yield method.full_name, grpc.StatusCode.OK, ""
        except grpc.RpcError as error:
            yield method.full_name, error.code(), error.details() or ""
    for channel in channels.values():
        channel.close()


def is_bad(rpc: str, code: grpc.StatusCode, words: str, streaming: set[str]) -> bool:
    shown = any(mark in words for mark in ("Traceback", 'File "', "Error(", "/site-packages/"))
    late = code is grpc.StatusCode.DEADLINE_EXCEEDED and rpc not in streaming
    # It was asked to be as new as a position that is far ahead.
    ahead = code is grpc.StatusCode.UNAVAILABLE and ("did not reach" in words or "have not reached" in words)
    # Nobody here is a job with the ticket of a launch.
    denied = code is grpc.StatusCode.PERMISSION_DENIED and rpc == CLAIM_LAUNCH
    return shown or late or (code not in EXPECTED and not ahead and not denied)


def test_hostile_calls_are_refused_change_nothing_and_end_nothing(stack: StackProcess) -> None:
    def runtimes() -> int:
        listed = stack.client.runtimes.ListRuntimes(runtime_api.ListRuntimesRequest(show_deleted=True))
        return int(listed.total_size)

    def newest() -> list[RecordedEvent]:
        request = runtime_api.ListEventsRequest(parent="runtimes/-", page_size=1_000, newest_first=True)
        return list(stack.client.runtimes.ListEvents(request).events)

    before, end = runtimes(), max((event.sequence for event in newest()), default=0)
    pids = {name: stack.part(name).pid for name in ("runtime", "trials", "metrics", "gateway")}
    streaming = {method.full_name for method in all_methods() if method.server_streaming}
    codes: Counter[str] = Counter()
    bad = []
    for rpc, code, words in hostile_calls(stack, CALLS):
        codes[code.name] += 1
        if is_bad(rpc, code, words, streaming):
            bad.append((rpc, code.name, words[:200]))
    assert not bad, bad[:20]
    assert codes["INVALID_ARGUMENT"] > CALLS // 10
    assert runtimes() == before
    # Facts of access alone have come, however many lay in the log before.
    appended = [event for event in newest() if event.sequence > end]
    assert not [event for event in appended if event.category != options_pb2.CATEGORY_ACCESS]
    assert {name: stack.part(name).pid for name in pids} == pids, "every service lives on"
    for address in (stack.endpoints.runtime, stack.endpoints.trials, stack.endpoints.metrics):
        with grpc.insecure_channel(address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_default_installation_listens_on_loopback_only(stack: StackProcess) -> None:
    assert stack.process is not None
    root = psutil.Process(stack.process.pid)
    found = listening([root, *root.children(recursive=True)])
    assert len(found) >= 6, "gateway, three services, NATS and its monitoring"
    assert not beyond_loopback(found)


def test_nothing_secret_is_on_a_command_line_or_readable_by_others(stack: StackProcess) -> None:
    assert stack.process is not None
    keys = {path: path.read_text().strip() for path in (stack.data_dir / "keys").iterdir()}
    secrets = [text for path, text in keys.items() if path.suffix in (".token", ".key")]
    assert secrets
    for child in psutil.Process(stack.process.pid).children(recursive=True):
        line = " ".join(child.cmdline())
        assert not any(secret in line for secret in secrets)
    for path in keys:
        assert path.stat().st_mode & 0o077 == 0, path
    for log_file in (stack.data_dir / "logs").iterdir():
        content = log_file.read_text(errors="replace")
        assert not any(secret in content for secret in secrets), log_file


def test_the_broker_lets_no_stranger_in(stack: StackProcess) -> None:
    host, _, port = stack.endpoints.nats.removeprefix("nats://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b'CONNECT {"verbose":true}\r\nPING\r\n')
        answer = b""
        while b"Authorization Violation" not in answer:
            received = connection.recv(4096)
            assert received, answer
            answer += received
