"""A gateway with the real doors before services of which every RPC answers UNIMPLEMENTED to whom it lets in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import uvicorn

from milepost.settings import Settings
from milepost.transport import ClientTls, open_aio_channel
from services.access import open_access
from services.gateway.__main__ import CHANNEL_OPTIONS, WEB, bind, tls_options
from services.gateway.app import Gateway, Services, Telemetry, create_app
from services.gateway.connections import MAXIMUM_HEAD_BYTES, BoundedProtocol
from services.gateway.mlflow.api import MlflowApi
from services.gateway.mlflow.recorder import Recorder
from tests.integration.security.doors import Doors, running_doors, settings_of

CSRF = {"x-milepost-csrf": "1"}


@dataclass
class Web:
    """A running gateway, and what its doors and those of the services saw."""

    base: str
    doors: Doors
    observed: Doors
    settings: Settings

    def client(self, **more: object) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.base, timeout=20, trust_env=False, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def running_web(data_dir: Path, **changes: Any) -> AsyncIterator[Web]:
    """Serve the gateway on a free port of loopback. `changes` are settings."""
    async with running_doors(data_dir, **{k: v for k, v in changes.items() if not k.startswith("gateway_")}) as doors:
        settings = settings_of(data_dir, **{"gateway_listen": "127.0.0.1:0", **changes})
        observed = Doors("", data_dir)
        access = open_access(settings, "gateway", observed)
        listener = bind(access.listen)
        tls = ClientTls.of(settings)
        channels: dict[str, grpc.aio.Channel] = {
            name: open_aio_channel(doors.address, tls, CHANNEL_OPTIONS) for name in ("runtime", "trials", "metrics")
        }
        services = Services(channels)
        mlflow = MlflowApi(services, Recorder(data_dir / "mlflow", "", None), data_dir / "experiments.sqlite", observed)
        gateway = Gateway(services, Telemetry(), WEB, "test", mlflow=mlflow)
        app = create_app(gateway, {"127.0.0.1", "localhost"}, access, observed)
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1, http=BoundedProtocol,
            h11_max_incomplete_event_size=MAXIMUM_HEAD_BYTES, proxy_headers=False, **tls_options(access.tls),
        )  # fmt: skip
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        scheme = "http" if access.tls is None else "https"
        try:
            yield Web(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", doors, observed, settings)
        finally:
            server.should_exit = True
            await serving
            await asyncio.gather(*(channel.close(None) for channel in channels.values()))
