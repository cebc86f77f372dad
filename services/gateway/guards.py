"""What every request passes before it is routed: host, origin, forgery, content type; and the headers of every answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from urllib.parse import urlsplit

import grpc
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.problems import Problem, problem_response, refusal

log = logging.getLogger(__name__)

CSRF_HEADER = "x-milepost-csrf"
MAXIMUM_BODY_BYTES = 1 << 20
BODY_SECONDS = 30.0
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
# Called by programs only, which know nothing of the header against forgery.
PROGRAMS_PREFIX = "/mlflow/"
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


async def read_body(request: Request, limit: int) -> bytes:
    """Read a whole body.

    Raises:
        Problem: it is larger than the limit, or does not come in time.
    """
    content = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limit:
                    text = f"the body must not be larger than {limit} bytes"
                    raise refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text, "BODY_TOO_LARGE", 413)
    except TimeoutError as error:
        text = f"the body did not come within {BODY_SECONDS:g} s"
        raise refusal(grpc.StatusCode.DEADLINE_EXCEEDED, text, "BODY_TOO_SLOW", 408) from error
    return content


class Guards:
    """ASGI middleware, outermost. Also hands the transport to those who must cut a client off."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1002})
            return
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
        if scope["path"].startswith(PROGRAMS_PREFIX):
            # A client of MLflow cannot be told to send our header. A browser always says that it is one.
            if origin is not None or "sec-fetch-site" in headers:
                return refusal(grpc.StatusCode.PERMISSION_DENIED, "this address is not for browsers", "FOREIGN_ORIGIN")
            return None if scope["method"] in SAFE_METHODS else _refuse_body(headers)
        if scope["method"] in SAFE_METHODS:
            return None
        if headers.get(CSRF_HEADER) != "1":
            text = f"requests that change something need the header {CSRF_HEADER}: 1"
            return refusal(grpc.StatusCode.PERMISSION_DENIED, text, "CSRF_HEADER_MISSING")
        return _refuse_body(headers)


def _refuse_body(headers: Headers) -> Problem | None:
    length = headers.get("content-length", "0")
    has_body = length != "0" or "transfer-encoding" in headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if (has_body or media_type) and media_type != "application/json":
        return refusal(grpc.StatusCode.INVALID_ARGUMENT, "the body must be application/json", "NOT_JSON", 415)
    if length.isdigit() and int(length) > MAXIMUM_BODY_BYTES:
        text = f"the body must not be larger than {MAXIMUM_BODY_BYTES} bytes"
        return refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text, "BODY_TOO_LARGE", 413)
    return None


def urlsplit_netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
