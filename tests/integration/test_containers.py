"""The event log on a cluster of NATS containers, and the metric service on a real ClickHouse server."""

from __future__ import annotations

import asyncio
import inspect
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import StreamSettings, ensure_streams
from tests.integration.metrics import test_metrics_service
from tests.support.servers import containers
from tests.support.servers.metrics_service import MetricsProcess, metrics_client, start_attempt
from tests.support.servers.servers import NatsServer, wait_until

START_SECONDS = 120.0
needs_daemon = pytest.mark.skipif(containers.daemon()[0] is None, reason=containers.daemon()[1])
needs_clickhouse = pytest.mark.skipif(
    bool(containers.why_not(containers.CLICKHOUSE_IMAGE)), reason=containers.why_not(containers.CLICKHOUSE_IMAGE)
)


class NatsCluster:
    """Three containers on a network of their own, with the configuration that compose mounts into them."""

    def __init__(self, folder: Path) -> None:
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.network import Network

        configuration = Path("deploy/nats/nats.conf").resolve()
        (folder / "authorization.conf").write_text("# Everybody may connect.\n")
        self._network = Network()
        self._network.create()
        self.nodes: list[Any] = [
            DockerContainer(containers.build_nats_image())
            .with_network(self._network)
            .with_network_aliases(f"nats-{index}")
            .with_env("NODE", f"nats-{index}")
            .with_env("MAX_FILE_STORE", "20GB")
            .with_volume_mapping(str(configuration), "/etc/nats/nats.conf", "ro")
            .with_volume_mapping(str(folder / "authorization.conf"), "/etc/nats/authorization.conf", "ro")
            .with_exposed_ports(4222, 8222)
            .with_command("-c /etc/nats/nats.conf")
            for index in range(3)
        ]

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            wait_until(lambda node=node: is_healthy(node), "the node is healthy", START_SECONDS)  # type: ignore[misc]

    @property
    def url(self) -> str:
        return ",".join(f"nats://{node.get_container_host_ip()}:{node.get_exposed_port(4222)}" for node in self.nodes)

    def stop(self) -> None:
        for node in self.nodes:
            with suppress(Exception):  # what is gone is gone
                node.stop()
        self._network.remove()


def is_healthy(node: Any) -> bool:
    address = f"http://{node.get_container_host_ip()}:{node.get_exposed_port(8222)}/healthz"
    with suppress(OSError), urllib.request.urlopen(address, timeout=2) as answer:
        return bool(answer.status == 200)
    return False


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsCluster]:
    # Its reaper is one more image; what is started here is ended here.
    monkeypatch.setattr("testcontainers.core.config.testcontainers_config.ryuk_disabled", True)
    running = NatsCluster(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@needs_daemon
@pytest.mark.timeout(400)
async def test_a_cluster_of_containers_keeps_every_acknowledged_event(cluster: NatsCluster) -> None:
    """Each node is killed in turn while events are appended; what was acknowledged is there, chained, in order."""
    async with await connect(cluster.url, name="test", timeout_seconds=60) as connection:
        await ensure_streams(connection, StreamSettings(replicas=3))
        log = JetStreamLog(connection)
        acknowledged: list[int] = []
        for number, node in enumerate(cluster.nodes):
            acknowledged.append(await start_attempt(log, f"rt-before-{number}", 1))
            await asyncio.to_thread(node.get_wrapped_container().kill)
            for index in range(20):
                acknowledged.append(await start_attempt(log, f"rt-{number}-{index}", 1))
            await asyncio.to_thread(node.get_wrapped_container().start)
            await asyncio.to_thread(wait_until, lambda node=node: is_healthy(node), "it has caught up", START_SECONDS)  # type: ignore[misc]
        assert acknowledged == sorted(set(acknowledged))
        found = {event.sequence async for event in log.read()}
        assert set(acknowledged) <= found
        assert found == set(range(1, max(found) + 1))


@pytest.fixture
def clickhouse() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer

    container = (
        DockerContainer(containers.CLICKHOUSE_IMAGE)
        .with_env("CLICKHOUSE_SKIP_USER_SETUP", "1")
        .with_exposed_ports(8123)
    )
    container.start()
    try:
        url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(8123)}"
        wait_until(lambda: answers(f"{url}/ping"), "ClickHouse answers", START_SECONDS)
        yield url
    finally:
        container.stop()


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Connection]:
    async with await connect(nats_server.url, name="test") as connection:
        await ensure_streams(connection)
        yield connection


@needs_clickhouse
@pytest.mark.timeout(600)
async def test_the_metric_service_answers_the_same_on_a_real_clickhouse_server(
    clickhouse: str, connection: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Every test of the service that needs no more than a connection and a client."""
    process = MetricsProcess(tmp_path, nats_server.url, environment={"MILEPOST_CLICKHOUSE_URL": clickhouse})
    await asyncio.to_thread(process.start)
    try:
        ran = 0
        async with metrics_client(process.address) as client:
            for name, test in inspect.getmembers(test_metrics_service, inspect.iscoroutinefunction):
                if name.startswith("test_") and set(inspect.signature(test).parameters) == {"connection", "client"}:
                    await test(connection, client)
                    ran += 1
        assert ran > 5
    finally:
        await asyncio.to_thread(process.kill)
