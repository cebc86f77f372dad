"""A gateway with the real authentication before services of which every RPC answers UNIMPLEMENTED to whom it lets in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import httpx

from milepost.api.mlflow.v1.mlflow_service_pb2_grpc import add_MlflowServiceServicer_to_server
from milepost.installation.settings import Settings
from milepost.security.transport import ClientTls, open_aio_channel
from services.access.authentication import Observer
from services.access.channels import service_metadata
from services.access.guard import open_access
from services.edge.calls import CHANNEL_OPTIONS, Calls
from services.edge.spread import OWN_CONNECTION
from services.gateway.__main__ import trusted_proxies
from services.gateway.app import Gateway, Services, Telemetry, create_app
from services.gateway.application import WEB, bind, http_server
from services.gateway.mlflow import Forwarded, Mlflow
from services.mlflow.application import NAME, Tracking
from services.mlflow.recorder import Recorder
from services.mlflow.service import MlflowService
from services.server import Server
from tests.integration.security.secured import SecuredServer, running_secured, settings_of

CSRF = {"x-milepost-csrf": "1"}


@dataclass
class Web:
    """A running gateway, and what its authentication and that of the services saw."""

    base: str
    secured: SecuredServer
    observed: SecuredServer
    settings: Settings
    # Of MLflow clients; it is not running.
    recorder: Recorder

    def client(self, **more: object) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.base, timeout=20, trust_env=False, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def serving_mlflow(tracking: Tracking, settings: Settings, observer: Observer) -> AsyncIterator[Mlflow]:
    """Have clients of MLflow answered by a server and an authentication of its own, as `python -m services.mlflow` has them."""
    service = MlflowService(tracking.answer)

    async def healthy() -> str | None:
        return None

    access = open_access(settings, "mlflow", observer)
    server = Server(
        access.listen, partial(add_MlflowServiceServicer_to_server, service), [NAME], healthy, access=access
    )
    address, tls = f"127.0.0.1:{await server.start()}", ClientTls.of(settings)
    forwarded = Forwarded(lambda: open_aio_channel(address, tls, [*CHANNEL_OPTIONS, OWN_CONNECTION]))
    keeping = asyncio.create_task(forwarded.run())
    try:
        yield forwarded
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await server.stop()
        await service.close()


@asynccontextmanager
async def running_web(data_dir: Path, nats_url: str = "", **changes: Any) -> AsyncIterator[Web]:
    """Serve the gateway on a free port of loopback. `changes` are settings, `behaviours` of RPCs, or `mlflow_apart`.

    With that it passes on what clients of MLflow send, and does not answer them itself.
    """
    mlflow_apart = changes.pop("mlflow_apart", False)
    async with AsyncExitStack() as parts:
        of_server = {k: v for k, v in changes.items() if not k.startswith("gateway_")}
        secured = await parts.enter_async_context(running_secured(data_dir, **of_server))
        changes.pop("behaviours", None)
        settings = settings_of(data_dir, **{"gateway_listen": "127.0.0.1:0", "mlflow_listen": "127.0.0.1:0", **changes})
        observed = SecuredServer("", data_dir)
        access = open_access(settings, "gateway", observed)
        listener = bind(access.listen)
        tls = ClientTls.of(settings)
        channels: dict[str, grpc.aio.Channel] = {
            name: open_aio_channel(secured.address, tls, CHANNEL_OPTIONS)
            for name in ("runtime", "trials", "metrics", "rules")
        }
        services = Services(channels, service_metadata(settings.keys_dir, "gateway"))
        tracking = Tracking(Calls(channels) if mlflow_apart else services, observed, data_dir, nats_url, None)
        mlflow: Mlflow = tracking
        if mlflow_apart:
            mlflow = await parts.enter_async_context(serving_mlflow(tracking, settings, observed))
        gateway = Gateway(services, Telemetry(), WEB, "test", mlflow=mlflow)
        proxies = trusted_proxies(settings)
        app = create_app(gateway, {"127.0.0.1", "localhost"}, access, observed, proxies)
        server = http_server(app, access.tls, proxies)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        scheme = "http" if access.tls is None else "https"
        try:
            base = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
            yield Web(base, secured, observed, settings, tracking.recorder)
        finally:
            gateway.end_streams()
            server.should_exit = True
            await serving
            await asyncio.gather(*(channel.close(None) for channel in channels.values()))
