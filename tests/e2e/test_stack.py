"""The stack as a whole: it ends within its time, leaves nothing, and finds its data again."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from milepost.eventlog import EVENTS, TELEMETRY
from milepost.eventlog.connection import connect
from milepost.eventlog.credentials import ADMIN, find_credentials
from milepost.eventlog.streams import stream_configuration
from milepost.tokens import Role, TokenStore
from tests.e2e.runs import small
from tests.e2e.stack import FREE_PORTS, StackProcess, until
from tests.integration.security.certificates import make_certificates

pytestmark = pytest.mark.timeout(300)


def test_a_stack_ends_on_one_ctrl_c_and_the_next_one_finds_its_data(own_stack: StackProcess) -> None:
    own_stack.start()
    with urllib.request.urlopen(own_stack.endpoints.gateway, timeout=10) as page:
        assert page.status == 200
    started = own_stack.client.start_runtime(small(name="kept"))
    own_stack.wait_for_step(started.name, 1)
    own_stack.client.stop_runtime(started.name, mode=common.STOP_MODE_ABRUPT)
    own_stack.wait_for_end(started.name)
    events, ports = own_stack.events(started.name), own_stack.endpoints.gateway

    status, seconds = own_stack.stop()
    assert status == 0
    assert seconds < 10
    assert own_stack.trainers() == []

    own_stack.start()
    assert own_stack.endpoints.gateway == ports, "the address stays as it was"
    kept = own_stack.runtime(started.name)
    assert kept.status == runtime_api.RUNTIME_STATUS_ABORTED
    assert [event.hash for event in own_stack.events(started.name)] == [event.hash for event in events]


def test_trainers_outlive_the_stack_and_are_adopted_by_the_next_one(own_stack: StackProcess) -> None:
    own_stack.start()
    started = own_stack.client.start_runtime(small(name="outlives"))
    own_stack.wait_for_step(started.name, 5)
    before = {process.pid for process in own_stack.trainers()}

    own_stack.stop()
    assert {process.pid for process in own_stack.trainers()} == before

    own_stack.start()
    ended = own_stack.wait_for_end(started.name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    assert own_stack.trial(started.name).attempt_count == 1
    until(lambda: not own_stack.trainers(), "the trainers have left", 30)


def test_stop_trainers_ends_them_with_the_stack(tmp_path_factory: pytest.TempPathFactory) -> None:
    stack = StackProcess(tmp_path_factory.mktemp("stop") / "data", [*FREE_PORTS, "--stop-trainers"])
    try:
        stack.start()
        started = stack.client.start_runtime(small(name="ends with the stack"))
        stack.wait_for_step(started.name, 1)

        status, seconds = stack.stop()

        assert status == 0
        assert seconds < 15
        until(lambda: not stack.trainers(), "the trainers have left", 10)
    finally:
        stack.end()


def test_a_supervisor_outlives_a_connection_that_breaks(own_stack: StackProcess) -> None:
    """SIGPIPE, which writing to a closed connection brings, ends nothing."""
    own_stack.start()
    assert own_stack.process is not None
    own_stack.process.send_signal(signal.SIGPIPE)
    assert own_stack.milepost("runtime", "list").returncode == Exit.OK
    assert own_stack.process.poll() is None


async def test_the_log_comes_to_a_limit_of_its_own_before_the_server_comes_to_its(stack: StackProcess) -> None:
    """At the server's limit, decisions of several events would not be all or nothing."""
    credentials = find_credentials(stack.data_dir / "keys", ADMIN)
    async with await connect(stack.endpoints.nats, credentials=credentials) as connection:
        limits = [(await stream_configuration(connection, name) or {})["max_bytes"] for name in (EVENTS, TELEMETRY)]
    settings = (stack.data_dir / "nats.conf").read_text()
    server = next(int(line.split()[1]) for line in settings.splitlines() if "max_file_store" in line)
    assert min(limits) > 0
    assert sum(limits) < server


def test_a_gateway_for_others_speaks_tls_and_the_services_behind_it_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of docs/security.md; each service answers Prometheus on a port of its own."""
    certificates = make_certificates(tmp_path / "certificates")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monitoring = probe.getsockname()[1]
    arguments = [argument for argument in FREE_PORTS if not argument.startswith("--gateway")]
    arguments += [
        "--gateway-listen=0.0.0.0:0",
        f"--tls-certificate={certificates.server.certificate}",
        f"--tls-key={certificates.server.key}",
        f"--monitoring-listen=127.0.0.1:{monitoring}",
    ]
    stack = StackProcess(tmp_path / "data", arguments)
    _, token = TokenStore(stack.data_dir / "tokens.json").create("ann", Role.ADMIN, created_by="local:test")
    try:
        stack.start()
        assert stack.endpoints.gateway.startswith("https://127.0.0.1:")
        request = urllib.request.Request(
            f"{stack.endpoints.gateway}/api/v1/runtimes", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(
            request, context=ssl.create_default_context(cafile=certificates.ca), timeout=30
        ) as answer:
            assert json.load(answer) is not None
        for index in range(4):
            with urllib.request.urlopen(f"http://127.0.0.1:{monitoring + index}/metrics", timeout=30) as answer:
                assert b"process_cpu_seconds_total" in answer.read()
    finally:
        stack.end()
