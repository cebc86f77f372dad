"""What every request passes before it is routed: host, origin, forgery, content type; and the headers of every answer."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import grpc
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.edge.bodies import MAX_PROGRAM_BODY_BYTES
from services.edge.problems import Problem, refusal
from services.gateway.mlflow import FILES_PREFIX, PROGRAMS_PREFIX
from services.gateway.problems import problem_response

log = logging.getLogger(__name__)

CSRF_HEADER = "x-milepost-csrf"
MAX_BODY_BYTES = 1 << 20
# A client that takes nothing for so long is cut off. Live streams have a shorter patience of their own.
SEND_SECONDS = 60.0
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
# A policy governs documents. The dozens of modules of the page are none: short headers, a tenth of the page's weight.
STATIC_PREFIX = "/static/"
STATIC_HEADERS = {
    "content-security-policy": "default-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def headers_of(path: str) -> dict[str, str]:
    """Return the headers that every answer to a path has."""
    return STATIC_HEADERS if path.startswith(STATIC_PREFIX) else SECURITY_HEADERS


def host_name(authority: str) -> str:
    """Return the host of a `host:port`, lower-case, without brackets; empty where there is none."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def client_address(scope: Scope) -> str:
    """Return the address a request came from; empty where the transport has none."""
    client = scope.get("client")
    return str(client[0]) if client else ""


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies whose word counts for where a request came from: addresses and networks."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def of(cls, text: str) -> Self:
        """Read addresses and networks that commas join.

        Raises:
            ValueError: one of them is none; the message says which.
        """
        return cls(tuple(ipaddress.ip_network(one.strip()) for one in text.split(",") if one.strip()))

    def trust(self, address: str) -> bool:
        """Return whether an address is that of such a proxy."""
        found = _address_of(address)
        return found is not None and any(found in network for network in self.networks)

    def client_of(self, peer: str, forwarded: Sequence[str]) -> str:
        """Return the address that a request came from, of the peer of its connection and its `X-Forwarded-For` headers.

        Each proxy writes the address of its own peer behind what it was told. So the last one that is no proxy of ours is
        the client, whatever stands before it.
        """
        hops = [hop.strip() for header in forwarded for hop in header.split(",")]
        client = peer
        while hops and self.trust(client):
            hop = _address_of(hops.pop())
            if hop is None:
                break
            client = str(hop)
        return client


NO_PROXIES = Proxies()


def _address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    # What a socket of both families calls an address of IPv4.
    return getattr(found, "ipv4_mapped", None) or found


class ProtectionMiddleware:
    """ASGI middleware, outermost. Also hands the transport to those who must cut a client off.

    Args:
        hosts: the names it answers to.
        proxies: those whose `X-Forwarded-For` counts; everybody else's says nothing.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], proxies: Proxies = NO_PROXIES) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1002})
            return
        self._find_client(scope)
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is not None:
            scope["milepost.transport"] = transport

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in headers_of(scope["path"]).items():
                    headers.setdefault(name, value)
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await send(message)
            except TimeoutError:
                log.warning("http.cut_off", extra={"path": scope["path"], "client": client_address(scope)})
                if transport is not None:
                    transport.abort()
                raise

        problem = self._refuse(scope)
        if problem is not None:
            await problem_response(problem, scope["path"])(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _find_client(self, scope: Scope) -> None:
        peer = client_address(scope)
        if self._proxies.trust(peer):
            client = self._proxies.client_of(peer, Headers(scope=scope).getlist("x-forwarded-for"))
            scope["client"] = (client, 0)

    def _refuse(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host_name(host) not in self._hosts:
            return refusal(
                grpc.StatusCode.INVALID_ARGUMENT, f"this server is not {host or 'nameless'}", "WRONG_HOST", 421
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit_netloc(origin) != host.lower():
            return refusal(grpc.StatusCode.PERMISSION_DENIED, "requests from other sites are refused", "FOREIGN_ORIGIN")
        if scope["path"].startswith(PROGRAMS_PREFIX) and scope["path"] != PROGRAMS_PREFIX:
            # A client of MLflow cannot be told to send our header. A browser always says that it is one.
            if origin is not None or "sec-fetch-site" in headers:
                return refusal(grpc.StatusCode.PERMISSION_DENIED, "this address is not for browsers", "FOREIGN_ORIGIN")
            if scope["method"] == "PUT" and scope["path"].startswith(FILES_PREFIX):
                # A file of any type and size: it is read, and not kept.
                return None
            return None if scope["method"] in SAFE_METHODS else _refuse_body(headers, MAX_PROGRAM_BODY_BYTES)
        if scope["method"] in SAFE_METHODS:
            return None
        if headers.get(CSRF_HEADER) != "1":
            text = f"requests that change something need the header {CSRF_HEADER}: 1"
            return refusal(grpc.StatusCode.PERMISSION_DENIED, text, "CSRF_HEADER_MISSING")
        return _refuse_body(headers)


def _refuse_body(headers: Headers, limit: int = MAX_BODY_BYTES) -> Problem | None:
    length = headers.get("content-length", "0")
    has_body = length != "0" or "transfer-encoding" in headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if (has_body or media_type) and media_type != "application/json":
        return refusal(grpc.StatusCode.INVALID_ARGUMENT, "the body must be application/json", "NOT_JSON", 415)
    if length.isdigit() and int(length) > limit:
        text = f"the body must not be larger than {limit} bytes"
        return refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text, "BODY_TOO_LARGE", 413)
    return None


def urlsplit_netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
