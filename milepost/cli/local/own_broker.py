"""The NATS server of a data directory, for a command that needs it while nothing runs."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from milepost.cli.local import checks, ports
from milepost.eventlog import LogUnavailable
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.credentials import ADMIN, credentials_path, open_authority, write_service_credentials
from milepost.eventlog.nats.server import nats_server_binary, write_nats_config
from milepost.installation.settings import LOOPBACK, Settings

START_SECONDS = 60.0
STOP_SECONDS = 20.0


@asynccontextmanager
async def own_broker(settings: Settings, data_dir: Path, command: str) -> AsyncIterator[Connection]:
    """Have the NATS server of a data directory run for the length of a block. The caller holds the directory.

    Args:
        command: for whom; names the log of the server.

    Raises:
        LogUnavailable: it does not start.
        NatsServerNotFound: there is no program for it.
    """
    authority = open_authority(settings.keys_dir, data_dir / "nats")
    write_service_credentials(settings.keys_dir)
    chosen = ports.choose([ports.Wanted(name, LOOPBACK, 0, False, 0) for name in ("nats", "monitoring")], True)
    configuration = write_nats_config(
        data_dir / "nats.conf",
        store_directory=data_dir / "nats",
        port=chosen["nats"],
        monitoring_port=chosen["monitoring"],
        authority=authority,
    )
    log_path = data_dir / f"{command}.log"
    server = _start(configuration, log_path)
    try:
        await _until(checks.http_ok(LOOPBACK, chosen["monitoring"], "/healthz?js-enabled-only=true"), log_path)
        credentials = credentials_path(settings.keys_dir, ADMIN)
        url = f"nats://{LOOPBACK}:{chosen['nats']}"
        async with await connect(url, name=f"milepost {command}", credentials=credentials) as nats:
            yield nats
    finally:
        server.terminate()
        try:
            await asyncio.to_thread(server.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()


def _start(configuration: Path, log_path: Path) -> subprocess.Popen[bytes]:
    with log_path.open("ab") as output:
        command = [str(nats_server_binary()), "-c", str(configuration)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


async def _until(check: Callable[[], Any], log_path: Path) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while not await check():
        if asyncio.get_running_loop().time() > deadline:
            raise LogUnavailable(f"nats-server did not start within {START_SECONDS:g} s; see {log_path}")
        await asyncio.sleep(0.05)
