"""Access over HTTP: every route without and with a token, sessions of browsers, other sites, sizes, slow clients."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.security.tokens import Role, TokenStore
from services.access.authentication import Result
from services.access.authorization import RULES
from services.edge import bodies
from services.edge.contract import method_of
from services.gateway import authentication, connections, middleware, routes
from services.gateway.authentication import COOKIE, MAX_STREAMS_PER_SESSION, OPEN_PATHS
from tests.integration.security.certificates import make_certificates
from tests.integration.security.secured import path_of
from tests.integration.security.web import CSRF, Web, running_web

RANKS = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}
SECURITY_HEADERS = ("content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that belongs to a route."""

    method: str
    path: str
    rpc: str = ""

    @property
    def id(self) -> str:
        return f"{self.method} {self.path}"


def every_route() -> list[Asked]:
    """One request for each route of the gateway."""

    def filled(path: str) -> str:
        return path.replace("{runtime}", "rt-a").replace("{trial}", "1").replace("{rule}", "r")

    table = [Asked(route.method, filled(route.path), route.rpc) for route in routes.ROUTES]
    others = ["/openapi.json", "/metrics", "/", "/runtimes/rt-a", "/static/app.js", "/api/v1/session", "/nothing"]
    streams = [filled(routes.RUNTIME_STREAM), routes.PLATFORM_STREAM]
    return table + [Asked("GET", path) for path in others + streams] + [Asked("DELETE", "/api/v1/session")]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    async with running_web(tmp_path, authentication="required") as web:
        yield web


@pytest.fixture
async def client(web: Web) -> AsyncIterator[httpx.AsyncClient]:
    async with web.client() as client:
        yield client


async def sign_in(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/api/v1/session", json={"token": token}, headers=CSRF)


async def test_no_route_answers_without_a_token(web: Web, client: httpx.AsyncClient) -> None:
    for asked in every_route():
        response = await client.request(asked.method, asked.path, headers=CSRF)
        assert response.status_code == 401, asked.id
        assert response.json()["code"] == "UNAUTHENTICATED"
        assert "Traceback" not in response.text
    assert {seen.result for seen in web.observed.observations} == {Result.UNAUTHENTICATED}
    assert not web.secured.observations, "nothing reached the services"


async def test_no_route_answers_a_token_that_is_not_valid(client: httpx.AsyncClient) -> None:
    for value in ("Bearer mp_x_y", "Bearer", "Basic YTpi", "mp_x_y", "Bearer mpw_a.b", "Bearer \x7f"):
        for asked in every_route():
            response = await client.request(asked.method, asked.path, headers={**CSRF, "authorization": value})
            assert response.status_code == 401, (asked.id, value)
            assert value.startswith("Bearer") or "Authorization: Bearer TOKEN" in response.json()["detail"], value


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
async def test_a_role_opens_the_routes_of_its_rpcs(web: Web, client: httpx.AsyncClient, role: Role) -> None:
    token = web.secured.token(role)
    for asked in (asked for asked in every_route() if asked.rpc):
        needed = RULES[path_of(method_of(asked.rpc))].role
        response = await client.request(asked.method, asked.path, headers={**CSRF, **bearer(token)})
        may = needed in RANKS and RANKS[role] >= RANKS[needed]
        assert response.status_code == (501 if may else 403), (asked.id, response.text)


async def test_tokens_of_programs_do_not_open_the_gateway(web: Web, client: httpx.AsyncClient) -> None:
    for token in (web.secured.trainer_token("rt-a"), web.secured.service_token()):
        for path in ("/", "/metrics", "/api/v1/runtimes/rt-a", "/api/v1/session"):
            assert (await client.get(path, headers=bearer(token))).status_code == 401
        assert (await sign_in(client, token)).status_code == 401


async def test_what_is_open_is_health_and_the_way_in(client: httpx.AsyncClient) -> None:
    for path in sorted(OPEN_PATHS):
        response = await client.get(path)
        assert response.status_code in (200, 301), path
        assert set(SECURITY_HEADERS) <= set(response.headers)
    for path in ("/login/", "/livez/x", "/static/css/app.css", "/static/app.js", "/Login"):
        assert (await client.get(path)).status_code in (401, 404), path


async def test_a_browser_is_shown_the_way_in_and_comes_back(web: Web, client: httpx.AsyncClient) -> None:
    response = await client.get("/runtimes/rt-a?tab=logs", headers={"accept": "text/html"})
    assert response.status_code == 303
    assert response.headers["location"] == "/login?next=%2Fruntimes%2Frt-a%3Ftab%3Dlogs"
    assert (await client.get("/login")).status_code == 200

    signed_in = await sign_in(client, web.secured.token(Role.VIEWER, "ann"))
    assert signed_in.json() == {"actor": "ann", "role": "viewer", "verified": True}
    cookie = signed_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "mp_" not in cookie, "the token itself stays out of the browser"
    assert (await client.get("/")).status_code == 200
    assert (await client.get("/api/v1/session")).json()["actor"] == "ann"
    assert (await client.get("/api/v1/runtimes/rt-a")).status_code == 501, "the service lets the session in"
    assert (await client.post("/api/v1/runtimes/rt-a:stop", headers=CSRF, json={})).status_code == 403

    assert (await client.delete("/api/v1/session", headers=CSRF)).status_code == 204
    assert (await client.get("/api/v1/session")).status_code == 401


async def test_a_session_ends_when_its_token_is_revoked(web: Web, client: httpx.AsyncClient) -> None:
    await sign_in(client, web.secured.token(Role.VIEWER, "ann"))
    assert (await client.get("/api/v1/session")).status_code == 200
    TokenStore(web.secured.data_dir / "tokens.json").revoke("ann")
    assert (await client.get("/api/v1/session")).status_code == 401


async def test_a_session_cannot_be_prolonged_by_itself(web: Web, client: httpx.AsyncClient) -> None:
    await sign_in(client, web.secured.token(Role.VIEWER))
    assert (await sign_in(client, client.cookies[COOKIE])).status_code == 401


async def test_guessing_tokens_is_slowed_down(client: httpx.AsyncClient) -> None:
    answers = [(await sign_in(client, f"mp_x_{number}")).status_code for number in range(15)]
    assert set(answers) == {401, 429}
    assert answers[-1] == 429


async def test_bad_bodies_of_signing_in_are_refused(client: httpx.AsyncClient) -> None:
    headers = {**CSRF, "content-type": "application/json"}
    for content in (b"", b"{", b"[]", b'{"token": 1}', b'{"token": "\\u0000"}', b'"x"', b'{"token": NaN}', b"\xff"):
        assert (await client.post("/api/v1/session", content=content, headers=headers)).status_code == 400, content


async def test_other_sites_and_other_names_are_refused_on_every_route(web: Web, client: httpx.AsyncClient) -> None:
    shown = bearer(web.secured.token(Role.ADMIN))
    for asked in every_route():
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
            headers = {**CSRF, **shown, "origin": origin}
            assert (await client.request(asked.method, asked.path, headers=headers)).status_code == 403, asked.id
        for host in ("evil.example", "127.0.0.1.evil.example", "", "127.0.0.1@evil.example"):
            headers = {**CSRF, **shown, "host": host}
            assert (await client.request(asked.method, asked.path, headers=headers)).status_code in (400, 421), asked.id
        if asked.method != "GET":
            assert (await client.request(asked.method, asked.path, headers=shown)).status_code == 403, asked.id
    assert not web.secured.observations, "nothing reached the services"


async def test_only_json_is_taken_and_not_too_much_of_it(web: Web, client: httpx.AsyncClient) -> None:
    headers = {**CSRF, **bearer(web.secured.token(Role.ADMIN))}
    for asked in (asked for asked in every_route() if asked.method == "POST"):
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            typed = {**headers, "content-type": media_type}
            response = await client.request(asked.method, asked.path, headers=typed, content=b"{}")
            assert response.status_code == 415, (asked.id, media_type)
        typed = {**headers, "content-type": "application/json"}
        for content, status in (
            (b'{"x": NaN}', 400),
            (b"{" * 100_000, 400),
            (b" " * (middleware.MAX_BODY_BYTES + 1), 413),
        ):
            response = await client.request(asked.method, asked.path, headers=typed, content=content)
            assert response.status_code == status, asked.id


async def test_no_path_leads_out_of_the_page(web: Web, client: httpx.AsyncClient) -> None:
    shown = bearer(web.secured.token(Role.ADMIN))
    for path in (
        "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/%2e%2e%2f%2e%2e%2f__main__.py",
        "/static//etc/passwd", "/static/..\\app.py", "/static/%00", "/static/" + "a/" * 500,
        "/api/v1/runtimes/..%2f..%2fetc", "/api/v1/runtimes/%2e%2e", "/api/v1/runtimes/rt-a%00", "/api/v1/runtimes/*",
        "/runtimes/../../etc/passwd",
    ):  # fmt: skip
        response = await raw_get(web, path, shown)
        assert response.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501", b"HTTP/1.1 200")), path
        if response.startswith(b"HTTP/1.1 200"):
            assert b'<div id="app">' in response, path
        assert b"Traceback" not in response
        assert b"import" not in response.partition(b"\r\n\r\n")[2][:4000] or b"<!doctype" in response, path


async def raw_get(web: Web, path: str, headers: dict[str, str]) -> bytes:
    """Ask for exactly this path: a client library would tidy it up."""
    host, _, port = web.base.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"GET {path} HTTP/1.1", f"host: {host}:{port}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("by_session", [True, False])
async def test_streams_of_a_session_and_of_a_token_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_session: bool
) -> None:
    monkeypatch.setattr(authentication, "MAX_STREAMS_PER_TOKEN", MAX_STREAMS_PER_SESSION)
    async with running_web(tmp_path, authentication="required") as web, web.client() as client:
        token = web.secured.token(Role.VIEWER)
        if by_session:
            await sign_in(client, token)
        else:
            client.headers.update(bearer(token))
        opened = []
        for _ in range(MAX_STREAMS_PER_SESSION):
            request = client.build_request("GET", "/api/v1/stream?topics=runtimes")
            opened.append(await client.send(request, stream=True))
        assert {response.status_code for response in opened} == {200}
        refused = await client.get("/api/v1/stream?topics=runtimes")
        assert (refused.status_code, refused.json()["reason"]) == (429, "TOO_MANY_STREAMS")
        await opened.pop().aclose()
        for _ in range(100):
            request = client.build_request("GET", "/api/v1/stream?topics=runtimes")
            again = await client.send(request, stream=True)
            await again.aclose()
            if again.status_code == 200:
                break
            await asyncio.sleep(0.05)
        assert again.status_code == 200
        for response in opened:
            await response.aclose()


async def test_the_end_of_who_came_first_ends_no_stream_of_others(tmp_path: Path) -> None:
    async def watch(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
        for sequence in range(1, 10_000):
            runtime = runtime_api.Runtime(name="runtimes/rt-a", sequence=sequence)
            yield runtime_api.WatchRuntimesResponse(runtime=runtime, sequence=sequence, caught_up=sequence == 1)
            await asyncio.sleep(0.02)

    async def lines(client: httpx.AsyncClient, token: str) -> AsyncIterator[str]:
        async with client.stream("GET", "/api/v1/stream?topics=runtimes", headers=bearer(token)) as response:
            async for line in response.aiter_lines():
                if line.startswith(("event: ", "data: ")):
                    yield line

    async with (
        running_web(tmp_path, authentication="required", behaviours={"WatchRuntimes": watch}) as web,
        web.client() as client,
    ):
        first, second = (lines(client, web.secured.token(Role.VIEWER, name)) for name in ("ann", "bob"))
        await anext(first)
        await anext(second)
        TokenStore(web.secured.data_dir / "tokens.json").revoke("ann")
        ended = [line async for line in _until(first, "event: problem")]
        assert ended[-1] == "event: problem"
        after = [await anext(second) for _ in range(100)]
        assert {line for line in after if line.startswith("event: ")} == {"event: runtimes"}


async def _until(lines: AsyncIterator[str], last: str) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line == last:
            return


async def test_on_loopback_the_page_needs_no_token(tmp_path: Path) -> None:
    async with running_web(tmp_path) as web, web.client() as client:
        assert (await client.get("/")).status_code == 200
        session = (await client.get("/api/v1/session")).json()
        assert session == {"actor": "anonymous@loopback", "role": "local", "verified": False, "grpc_address": ""}
        assert (await client.get("/api/v1/session", headers=bearer("mp_x_y"))).status_code == 401
        await client.post("/api/v1/runtimes/rt-a:stop", headers=CSRF, json={})
        (seen,) = web.secured.observations
        assert (seen.actor, seen.peer) == ("anonymous@loopback", "127.0.0.1 for 127.0.0.1")


async def test_a_header_cannot_claim_another_address(web: Web, client: httpx.AsyncClient) -> None:
    await client.get("/metrics", headers={"x-forwarded-for": "10.9.8.7", "forwarded": "for=10.9.8.7"})
    assert [seen.peer for seen in web.observed.observations] == ["127.0.0.1"]


async def test_beyond_loopback_the_gateway_speaks_tls_and_sends_secure_cookies(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    token = TokenStore(tmp_path / "tokens.json").create("ann", Role.VIEWER, created_by="local:test")[1]
    settings = {
        "gateway_listen": "0.0.0.0:0",
        **certificates.settings,
    }
    async with running_web(tmp_path, **settings) as web:
        context = ssl.create_default_context(cafile=str(certificates.ca))
        async with web.client(verify=context) as client:
            assert (await client.get("/")).status_code == 401
            assert (await sign_in(client, token)).status_code == 200
            assert (await client.get("/")).status_code == 200
            named = {"host": f"localhost:{web.base.rpartition(':')[2]}"}
            assert (
                "Secure"
                not in (await client.post("/api/v1/session", json={"token": token}, headers={**CSRF, **named})).headers[
                    "set-cookie"
                ]
            )


async def test_a_connection_that_says_nothing_is_closed(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    host, _, port = web.base.removeprefix("http://").rpartition(":")
    for opening in (b"", b"GET / HTTP/1.1\r\nhost:"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(opening)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_connections_are_bounded(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 5)
    host, _, port = web.base.removeprefix("http://").rpartition(":")
    held = [await asyncio.open_connection(host, int(port)) for _ in range(5)]
    reader, writer = await asyncio.open_connection(host, int(port))
    with suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    for _, one in [*held, (reader, writer)]:
        one.close()


async def test_a_head_that_is_too_large_is_refused(web: Web) -> None:
    for headers in ({"x": "y" * 700_000}, {f"x{number}": "y" for number in range(100_000)}):
        response = await raw_get(web, "/livez", headers)
        assert response.startswith(b"HTTP/1.1 400") or response == b""


async def test_a_body_that_trickles_in_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    async with web.client() as client:
        headers = {**CSRF, "content-type": "application/json"}
        response = await client.post("/api/v1/session", content=slow(), headers=headers)
    assert response.status_code == 408
    assert json.loads(response.content)["reason"] == "BODY_TOO_SLOW"
