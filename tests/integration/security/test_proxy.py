"""Behind the nginx that deploy/ delivers, with TLS: signing in, live streams, gRPC, and a rate for each client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.security.tokens import Role
from milepost.security.transport import ClientTls, open_aio_channel
from services.access.authorization import RULES
from services.gateway.authentication import LOGIN_RATE
from tests.integration.security.certificates import Certificates, make_certificates
from tests.integration.security.secured import all_methods, call, path_of, request_of
from tests.integration.security.web import CSRF, Web, running_web
from tests.support.servers import nginx

pytestmark = pytest.mark.skipif(nginx.BINARY is None, reason="nginx is not installed")

PROXY = "127.0.0.1"
ANN, BOB = "127.0.0.2", "127.0.0.3"
# What only the gateway calls, with its own token.
# For the gateway alone.
INTERNAL = ("milepost.api.access.v1", "milepost.api.mlflow.v1")
PEOPLE = {Role.VIEWER, Role.OPERATOR, Role.ADMIN}


async def watch(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
    runtime = runtime_api.Runtime(name="runtimes/rt-a", sequence=1)
    yield runtime_api.WatchRuntimesResponse(runtime=runtime, sequence=1, caught_up=True)
    # It stays open: what a proxy holds back never comes.
    await asyncio.Event().wait()


@dataclass
class Proxied:
    """A gateway and services behind the proxy."""

    web: Web
    port: int
    certificates: Certificates

    def client(self, address: str) -> httpx.AsyncClient:
        """A browser at another address, which knows the proxy by the name `localhost`."""
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        transport = httpx.AsyncHTTPTransport(verify=context, local_address=address)
        base = f"https://localhost:{self.port}"
        return httpx.AsyncClient(base_url=base, transport=transport, timeout=20, headers={"origin": base})

    async def sign_in(self, client: httpx.AsyncClient, token: str) -> httpx.Response:
        return await client.post("/api/v1/session", json={"token": token}, headers=CSRF)


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[Proxied]:
    certificates = make_certificates(tmp_path / "certificates")
    settings = {"authentication": "required", "trusted_proxies": PROXY, "tls_ca": str(certificates.ca)}
    async with running_web(tmp_path, behaviours={"WatchRuntimes": watch}, **settings, **certificates.settings) as web:
        upstreams = dict.fromkeys(("runtime", "trials", "metrics", "rules"), web.secured.address)
        upstreams["gateway"] = web.base.removeprefix("https://")
        with nginx.running_nginx(tmp_path / "nginx", upstreams, certificates) as port:
            yield Proxied(web, port, certificates)


async def test_a_browser_signs_in_and_follows_a_live_stream(proxied: Proxied) -> None:
    async with proxied.client(ANN) as ann:
        answer = await proxied.sign_in(ann, proxied.web.secured.token(Role.VIEWER, "ann"))
        assert answer.status_code == 200, answer.text
        async with ann.stream("GET", "/api/v1/stream?topics=runtimes") as stream:
            assert stream.status_code == 200
            lines = stream.aiter_lines()
            assert "event: runtimes" in [await anext(lines) for _ in range(4)]
    assert {seen.peer for seen in proxied.web.observed.observations} == {ANN}


async def test_each_client_has_its_own_rate_whatever_it_claims(proxied: Proxied) -> None:
    """One who guesses tokens keeps nobody else from signing in, and cannot pretend to be many."""
    async with proxied.client(ANN) as ann, proxied.client(BOB) as bob:
        statuses = []
        for number in range(int(LOGIN_RATE.burst) + 2):
            ann.headers["x-forwarded-for"] = f"10.0.0.{number}"
            statuses.append((await proxied.sign_in(ann, "mp_x_y")).status_code)
        assert set(statuses) == {401, 429} and statuses[-1] == 429
        assert (await proxied.sign_in(bob, proxied.web.secured.token(Role.VIEWER, "bob"))).status_code == 200


async def test_every_service_is_reached_by_its_name_and_hears_of_the_client(proxied: Proxied) -> None:
    token = proxied.web.secured.token(Role.ADMIN, "root")
    address = f"localhost:{proxied.port}"
    async with open_aio_channel(address, ClientTls(proxied.certificates.ca), []) as channel:
        for method in all_methods():
            if method.containing_service.file.package in INTERNAL or method.name == "WatchRuntimes":
                continue
            code = await call(channel, method, request_of(method, "runtimes/rt-a"), token, mp_peer="10.9.8.7")
            open_to_people = RULES[path_of(method)].role in PEOPLE
            expected = grpc.StatusCode.UNIMPLEMENTED if open_to_people else grpc.StatusCode.PERMISSION_DENIED
            assert code is expected, path_of(method)
    assert {seen.peer for seen in proxied.web.secured.observations} == {f"{PROXY} for {PROXY}"}
