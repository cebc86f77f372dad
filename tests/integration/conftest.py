"""Real servers for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from tests.support.servers.servers import NatsServer, running_nats


@pytest.fixture(scope="session")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A nats-server that all tests share. It is never killed, and holds what other tests have left."""
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server of one test, to be killed and started again."""
    with running_nats(tmp_path) as server:
        yield server


@pytest.fixture
async def connection(shared_nats: NatsServer) -> AsyncIterator[Connection]:
    """A connection to the shared server, with the streams made."""
    async with await connect(shared_nats.url, name="test") as connection:
        await ensure_streams(connection)
        yield connection
