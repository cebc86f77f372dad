"""The stack as a whole: it ends within its time, leaves nothing, and finds its data again."""

from __future__ import annotations

import json
import re
import signal
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from milepost import errors
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from milepost.eventlog import EVENTS, TELEMETRY
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.credentials import ADMIN, find_credentials
from milepost.eventlog.nats.streams import stream_configuration
from milepost.security.tokens import Role, TokenStore
from tests.e2e.runs import small
from tests.e2e.stack import FREE_PORTS, StackProcess, until
from tests.integration.security.certificates import make_certificates
from tests.support.servers import prometheus
from tests.support.servers.ports import adjacent_ports

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


@dataclass(frozen=True)
class OpenStack:
    """A stack whose gateway others can reach, and each of whose services answers Prometheus."""

    stack: StackProcess
    token: str
    ca: Path
    monitoring: list[str]


@pytest.fixture(scope="module")
def open_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStack]:
    """Started by the command of docs/security.md."""
    folder = tmp_path_factory.mktemp("open")
    certificates = make_certificates(folder / "certificates")
    monitoring, *_ = adjacent_ports(5)
    arguments = [argument for argument in FREE_PORTS if not argument.startswith("--gateway")]
    arguments += [
        "--gateway-listen=0.0.0.0:0",
        f"--tls-certificate={certificates.server.certificate}",
        f"--tls-key={certificates.server.key}",
        f"--monitoring-listen=127.0.0.1:{monitoring}",
    ]
    stack = StackProcess(folder / "data", arguments)
    _, token = TokenStore(stack.data_dir / "tokens.json").create("ann", Role.ADMIN, created_by="local:test")
    try:
        stack.start()
        yield OpenStack(stack, token, certificates.ca, [f"127.0.0.1:{monitoring + index}" for index in range(5)])
    finally:
        stack.end()


def ask(open_stack: OpenStack, path: str) -> dict[str, Any]:
    url = f"{open_stack.stack.endpoints.gateway}{path}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {open_stack.token}"})
    context = ssl.create_default_context(cafile=open_stack.ca)
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        return dict(json.load(answer))


def metrics_of(address: str) -> bytes:
    """Read what a service tells Prometheus. Nobody waits for the rule service when a stack starts."""

    def read() -> bytes | None:
        try:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
                return bytes(answer.read())
        except urllib.error.URLError:
            return None

    return until(read, f"{address} answers", 60)


def test_a_gateway_for_others_speaks_tls_and_the_services_behind_it_stay_as_they_are(open_stack: OpenStack) -> None:
    """Each service answers Prometheus on a port of its own."""
    assert open_stack.stack.endpoints.gateway.startswith("https://127.0.0.1:")
    assert ask(open_stack, "/api/v1/runtimes") is not None
    for address in open_stack.monitoring:
        assert b"process_cpu_seconds_total" in metrics_of(address)


def test_where_others_reach_the_gateway_no_run_starts_beside_the_keys(open_stack: OpenStack) -> None:
    with pytest.raises(errors.FailedPrecondition, match="MILEPOST_LOCAL_USER") as refused:
        open_stack.stack.client.start_runtime(small(name="beside-the-keys"))
    assert refused.value.reason == "LAUNCHER_OFF"


@pytest.mark.skipif(prometheus.BINARY is None, reason="Prometheus is not installed")
def test_prometheus_reads_every_service_and_evaluates_every_rule(open_stack: OpenStack, tmp_path: Path) -> None:
    """What the rules ask for is there before anything has happened, counters at 0; none of them fires."""
    for address in open_stack.monitoring:
        told = prometheus.promtool("check", "metrics", given=metrics_of(address))
        # Counters and units are named by other conventions here and there; what it cannot read is an error.
        assert told.returncode in (0, 3), told.stderr.decode()
    text = prometheus.RULES.read_text()
    asked = set(re.findall(r"milepost_[a-z_]+", text)) - {"milepost_eventlog_append_duration_seconds_bucket"}
    with prometheus.running_prometheus(tmp_path / "prometheus", open_stack.monitoring) as server:
        until(lambda: server.values('sum(up{job="milepost"})') == [5.0], "all services are read", 60)
        for name in sorted(asked):
            until(lambda name=name: server.values(name) or None, f"{name} is told", 60)  # type: ignore[misc]
        until(lambda: all(rule["health"] != "unknown" for rule in server.rules()), "all rules were evaluated", 60)
        for rule in server.rules():
            assert rule["health"] == "ok" and rule["state"] != "firing", rule
        for counter in (name for name in asked if name.endswith("_total")):
            assert set(server.values(counter)) == {0.0}, counter
