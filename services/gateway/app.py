"""The HTTP application: routes from the table, live streams, the web page, health and metrics."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio.from_thread
import anyio.to_thread
import grpc
import orjson
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount
from starlette.routing import Route as HttpRoute
from starlette.types import ASGIApp

from milepost.errors import InvalidArgument, ResourceExhausted, Violation
from milepost.ids import is_token
from milepost.installation.observability import Attributes, Span, span
from milepost.installation.page_files import page_problem
from milepost.protojson import from_json, from_query, message_class_of, to_json
from milepost.series.exports import FORMATS, convert
from services.access.authentication import Observer
from services.access.guard import Access, Unobserved, loopback_access
from services.edge.bodies import read_body
from services.edge.calls import Calls
from services.edge.problems import Problem, bad_input, from_rpc_error, refusal
from services.gateway import routes
from services.gateway.authentication import LOGIN_PATH, AuthenticationMiddleware, Streams, problem_of, session_routes
from services.gateway.compression import Compression
from services.gateway.live.feed import Feed, FeedResponse
from services.gateway.live.sharing import SharedStreams
from services.gateway.live.subscriptions import parse_token, subscribe
from services.gateway.middleware import MAX_BODY_BYTES, NO_PROXIES, ProtectionMiddleware, Proxies, client_address
from services.gateway.mlflow import Mlflow, mlflow_routes
from services.gateway.openapi import document
from services.gateway.problems import on_http_error, on_problem, on_unknown_error, problem_response
from services.gateway.routes import Answer, Route
from services.gateway.static_files import static_files

READY_SECONDS = 2.0
# What the page does without for a while.
UNNEEDED = frozenset({"rules"})
MAX_USER_AGENT = 256
# What the page's address means: the same document, which reads the rest of the address itself.
PAGES = ("/", "/runtimes/{runtime}", "/trials", "/rules", "/runtimes/{runtime}/audit")

log = logging.getLogger(__name__)


class SegmentConvertor(StringConvertor):
    """One segment of a path, up to a custom verb: `rt-x` of `rt-x:stop`."""

    regex = "[^/:]+"


register_url_convertor("segment", SegmentConvertor())


class Telemetry:
    """What the gateway counts, for `/metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "milepost_gateway_requests", "Answers by route and status", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "milepost_gateway_request_seconds", "Time to answer by route", ["route"], registry=self.registry
        )
        self.streams = Gauge("milepost_gateway_streams", "Live streams that are open", registry=self.registry)
        self.cut_off = Counter(
            "milepost_gateway_streams_cut_off", "Live streams whose client did not read", registry=self.registry
        )


class Services(Calls):
    """Calls any RPC of the table, and shares the streams of live pages.

    Args:
        channels, another: as `Calls` has them.
        own_metadata: by which the gateway itself is known to the services; empty: it is nobody.
    """

    def __init__(
        self,
        channels: Mapping[str, grpc.aio.Channel],
        own_metadata: tuple[tuple[str, str], ...] = (),
        another: Callable[[str], grpc.aio.Channel] | None = None,
    ) -> None:
        super().__init__(channels, another)
        self._own_metadata = own_metadata
        self.shared = SharedStreams(self.stream, self._own_stream)

    def _own_stream(self, rpc: str, request: Any) -> AsyncIterator[Any]:
        """Begin a stream that is nobody's, for all who look at the same."""
        stream: AsyncIterator[Any] = self.begin(rpc, request, metadata=self._own_metadata)
        return stream

    async def readiness(self) -> dict[str, str]:
        """Return process -> `SERVING`, another word of the health protocol, or `UNREACHABLE`."""

        async def check(channel: grpc.aio.Channel) -> str:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=READY_SECONDS)
            except grpc.aio.AioRpcError:
                return "UNREACHABLE"
            return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

        words = await asyncio.gather(*(check(channel) for channel in self.channels.values()))
        return dict(zip(self.channels, words, strict=True))


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the handlers share."""

    services: Services
    telemetry: Telemetry
    web: Path
    version: str
    streams: Streams = field(default_factory=Streams)
    # None: MLflow clients are not served.
    mlflow: Mlflow | None = None
    # host:port of the runtime service, which the page shows; empty: not known.
    grpc_address: str = ""
    feeds: set[Feed] = field(default_factory=set)

    def end_streams(self) -> None:
        """Let all live streams end: this process does."""
        for feed in self.feeds:
            feed.end()


def create_app(
    gateway: Gateway,
    hosts: Collection[str],
    access: Access | None = None,
    observer: Observer | None = None,
    proxies: Proxies = NO_PROXIES,
) -> ASGIApp:
    """Build the ASGI application. Without `access` it asks for no tokens.

    Args:
        hosts: the host names it answers to.
        proxies: those that may say where a request came from.
    """
    access = access or loopback_access("127.0.0.1:0")
    observer = observer or Unobserved()
    http_routes: list[Any] = [
        HttpRoute(_typed(routes.RUNTIME_STREAM), _stream_endpoint(gateway, routes.RUNTIME_TOPICS), methods=["GET"]),
        HttpRoute(routes.PLATFORM_STREAM, _stream_endpoint(gateway, routes.PLATFORM_TOPICS), methods=["GET"]),
        *_table_routes(gateway),
        *session_routes(access.authenticator, access.sessions, observer, gateway.grpc_address),
        HttpRoute("/openapi.json", _openapi_endpoint(gateway), methods=["GET"]),
        HttpRoute("/livez", _live, methods=["GET"]),
        HttpRoute("/readyz", _ready_endpoint(gateway), methods=["GET"]),
        HttpRoute("/metrics", _metrics_endpoint(gateway), methods=["GET"]),
        *(HttpRoute(page, _page_endpoint(gateway, "index.html"), methods=["GET"]) for page in PAGES),
        HttpRoute(LOGIN_PATH, _page_endpoint(gateway, "login.html"), methods=["GET"]),
        HttpRoute("/favicon.ico", _favicon, methods=["GET"]),
        Mount("/static", static_files(gateway.web)),
    ]
    if gateway.mlflow is not None:
        http_routes += mlflow_routes(gateway.mlflow)
    handlers: Any = {Problem: on_problem, HTTPException: _on_refused_path(gateway), Exception: on_unknown_error}
    answering = Compression(Starlette(routes=http_routes, exception_handlers=handlers))
    authenticated = AuthenticationMiddleware(answering, access.authenticator, observer)
    return ProtectionMiddleware(authenticated, hosts, proxies)


def _table_routes(gateway: Gateway) -> list[HttpRoute]:
    """Make one HTTP route for each path of the table, whatever its methods."""
    by_path: dict[str, dict[str, Callable[[Request], Any]]] = {}
    # A custom verb is more specific than the bare resource.
    for route in sorted(routes.ROUTES, key=lambda route: ":" not in route.path):
        by_path.setdefault(route.path, {})[route.method] = _endpoint(gateway, route)
    return [HttpRoute(_typed(path), _by_method(methods), methods=list(methods)) for path, methods in by_path.items()]


def _by_method(methods: Mapping[str, Callable[[Request], Any]]) -> Callable[[Request], Any]:
    async def handle(request: Request) -> Response:
        response: Response = await methods["GET" if request.method == "HEAD" else request.method](request)
        return response

    return handle


def _typed(path: str) -> str:
    return re.sub(r"{(runtime|trial|rule)}", r"{\1:segment}", path)


def _endpoint(gateway: Gateway, route: Route) -> Callable[[Request], Any]:
    name = f"{route.method} {route.path}"

    async def handle(request: Request) -> Response:
        traceparent = request.headers.get("traceparent", "")
        attributes = _attributes(request, route)
        with span(name, traceparent, "server", attributes, raising_fails=False) as current:
            return await _observed(gateway, route, request, name, current)

    return handle


async def _observed(gateway: Gateway, route: Route, request: Request, name: str, current: Span) -> Response:
    """Answer, count the answer, and say in the span what it was: an error is only what is the server's."""
    started = time.perf_counter()
    status, kind = 500, ""
    try:
        response = await _answer(gateway, route, request)
        status = response.status_code
        return response
    except Problem as problem:
        status, kind = problem.status, problem.reason
        raise
    except InvalidArgument as error:
        status = 400
        raise bad_input(error) from error
    except grpc.aio.AioRpcError as error:
        answered = from_rpc_error(error)
        status, kind = answered.status, answered.reason
        raise answered from error
    except Exception as error:  # counted and said here, answered where all unknown errors are
        kind = type(error).__name__
        raise
    finally:
        current.set({"http.response.status_code": status})
        if status >= 500:
            current.fail(kind or str(status))
        gateway.telemetry.requests.labels(name, status).inc()
        gateway.telemetry.seconds.labels(name).observe(time.perf_counter() - started)


def _attributes(request: Request, route: Route) -> Attributes:
    """Describe a request by OpenTelemetry's conventions for servers of HTTP."""
    attributes: dict[str, str | int | float | bool] = {
        "http.request.method": request.method,
        "http.route": route.path,
        "url.scheme": request.url.scheme,
        "url.path": request.url.path,
        "network.protocol.version": request.scope.get("http_version", ""),
        "client.address": client_address(request.scope),
        "server.address": request.url.hostname or "",
        "user_agent.original": request.headers.get("user-agent", "")[:MAX_USER_AGENT],
        "url.query": request.url.query,
    }
    if request.url.port is not None:
        attributes["server.port"] = request.url.port
    return {name: value for name, value in attributes.items() if value != ""}


async def _answer(gateway: Gateway, route: Route, request: Request) -> Response:
    message = await _request_message(route, request)
    if route.answer is Answer.TABLE:
        return await _table(gateway, route, request, message)
    if route.answer is Answer.LINES:
        return await _lines(gateway, route, message)
    if route.answer is Answer.FILE:
        return await _file(gateway, route, request, message)
    answer = await gateway.services.call(route.rpc, message, route.seconds)
    return _json_response(request, orjson.dumps(to_json(answer)))


async def _request_message(route: Route, request: Request) -> Any:
    message_class = message_class_of(route.descriptor.input_type)
    _check_path(request.path_params, route.wildcard)
    bound = {name: template.format(**request.path_params) for name, template in route.bind.items()}
    message: Any
    if route.method == "POST":
        message = from_json(_prepare_body(route, await _body(request), bound), message_class)
    else:
        pairs = [
            (key, text)
            for key, text in request.query_params.multi_items()
            if not (route.answer is Answer.TABLE and key == "format")
        ]
        _refuse_bound((key for key, _ in pairs), bound)
        message = from_query(pairs, message_class, route.flatten)
    for name, value in bound.items():
        setattr(message, name, value)
    etag = request.headers.get("if-match")
    if etag and "etag" in message.DESCRIPTOR.fields_by_name and not message.etag:
        message.etag = etag.strip('"')
    return message


def _check_path(parameters: Mapping[str, str], wildcard: bool = False) -> None:
    """Refuse ids that can be no ids, before they become part of a name.

    Raises:
        InvalidArgument: with every violation.
    """
    violations = []
    trial = parameters.get("trial")
    for name in ("runtime", "rule"):
        token = parameters.get(name)
        if token is None or (wildcard and token == "-"):
            continue
        # A rule of the configuration of a run has the id of that before its own.
        if not all(map(is_token, token.split(".", 1) if name == "rule" else [token])):
            violations.append(Violation(name, "must be 1 to 63 of a-z, 0-9, _ and -, the first a letter or digit"))
    if trial is not None and not _is_trial(trial):
        violations.append(Violation("trial", f"must be a whole number from 1 to {routes.MAX_TRIAL}"))
    if violations:
        raise InvalidArgument(violations)


def _is_trial(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9 and not text.startswith("0")


def _refuse_bound(keys: Any, bound: Mapping[str, str]) -> None:
    violations = [Violation(key, "is taken from the path") for key in keys if key in bound]
    if violations:
        raise InvalidArgument(violations)


async def _body(request: Request) -> dict[str, Any]:
    content = await read_body(request, MAX_BODY_BYTES)
    if not content:
        return {}
    try:
        # Not with orjson: it makes another number of one that is too large, and takes the last of two keys.
        body = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise refusal(grpc.StatusCode.INVALID_ARGUMENT, f"the body is not JSON: {error}", "NOT_JSON") from error
    if not isinstance(body, dict):
        raise refusal(grpc.StatusCode.INVALID_ARGUMENT, "the body must be a JSON object", "NOT_AN_OBJECT")
    return body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _prepare_body(route: Route, body: dict[str, Any], bound: Mapping[str, str]) -> dict[str, Any]:
    _refuse_bound(body, bound)
    if route.rpc == "RuntimeService.StartRuntime" and body.get("configuration") is not None:
        if body.get("configuration_text") is not None:
            raise InvalidArgument(
                [Violation("configuration", "only one of configuration, configuration_text may be given")]
            )
        if not isinstance(body["configuration"], dict):
            raise InvalidArgument([Violation("configuration", "must be an object")])
        body["configuration_text"] = json.dumps(body.pop("configuration"), ensure_ascii=False)
    return body


def _json_response(request: Request, content: bytes) -> Response:
    if request.method not in ("GET", "HEAD"):
        return Response(content, headers={"cache-control": "no-store"}, media_type="application/json")
    etag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    given = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in given or "*" in given:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


async def _first(stream: AsyncIterator[Any]) -> tuple[Any, bool]:
    """Return the first message, so that a refusal becomes a status and not a broken body; and whether there is one."""
    async for message in stream:
        return message, True
    return None, False


async def _lines(gateway: Gateway, route: Route, message: Any) -> Response:
    stream = gateway.services.stream(route.rpc, message, route.seconds)
    first, exists = await _first(stream)

    async def lines() -> AsyncIterator[bytes]:
        if exists:
            yield orjson.dumps(to_json(first)) + b"\n"
        try:
            async for response in stream:
                yield orjson.dumps(to_json(response)) + b"\n"
        except grpc.aio.AioRpcError as error:
            yield orjson.dumps({"problem": from_rpc_error(error).content()}) + b"\n"

    return StreamingResponse(lines(), headers={"cache-control": "no-store"}, media_type="application/x-ndjson")


async def _file(gateway: Gateway, route: Route, request: Request, message: Any) -> Response:
    stream = gateway.services.stream(route.rpc, message, route.seconds)
    first, exists = await _first(stream)

    async def chunks() -> AsyncIterator[bytes]:
        if exists:
            yield first.chunk
        async for response in stream:
            yield response.chunk

    name = f"{request.path_params['runtime']}.zip"
    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(chunks(), headers=headers, media_type="application/octet-stream")


async def _table(gateway: Gateway, route: Route, request: Request, message: Any) -> Response:
    form = request.query_params.get("format", "csv")
    if form not in FORMATS:
        raise InvalidArgument([Violation("format", f"must be one of {', '.join(FORMATS)}")])
    media_type, ending = FORMATS[form]
    stream = gateway.services.stream(route.rpc, message, route.seconds)

    async def next_message() -> bytes:
        async for response in stream:
            if response.arrow:
                arrow: bytes = response.arrow
                return arrow
        return b""

    waiting = [await next_message()]
    if not waiting[0]:
        raise refusal(grpc.StatusCode.NOT_FOUND, "there are no points to export", "NO_POINTS")

    def next_chunk() -> bytes:
        return waiting.pop() if waiting else anyio.from_thread.run(next_message)

    headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="series.{ending}"'}
    return StreamingResponse(convert(next_chunk, form), headers=headers, media_type=media_type)


def _stream_endpoint(gateway: Gateway, topics: Mapping[str, routes.Topic]) -> Callable[[Request], Any]:
    async def handle(request: Request) -> Response:
        try:
            feed = _make_feed(gateway, topics, request)
        except InvalidArgument as error:
            raise bad_input(error) from error
        visitor = request.scope["milepost.visitor"]
        try:
            gateway.streams.take(visitor)
        except ResourceExhausted as error:
            raise problem_of(error) from error
        return _CountedFeedResponse(feed, gateway, partial(gateway.streams.release, visitor))

    return handle


class _CountedFeedResponse(FeedResponse):
    def __init__(self, feed: Feed, gateway: Gateway, on_end: Callable[[], None]) -> None:
        super().__init__(feed, gateway.telemetry.cut_off.inc)
        self._feed = feed
        self._gateway = gateway
        self._on_end = on_end

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._gateway.feeds.add(self._feed)
        try:
            with self._gateway.telemetry.streams.track_inprogress():
                await super().__call__(scope, receive, send)
        finally:
            self._gateway.feeds.discard(self._feed)
            self._on_end()


def _make_feed(gateway: Gateway, topics: Mapping[str, routes.Topic], request: Request) -> Feed:
    query = request.query_params.multi_items()
    offered = {key for topic in topics.values() for key in topic.query}
    known = {"topics", "from", "trial", *offered}
    violations = [Violation(key, "is not a known parameter") for key, _ in query if key not in known]
    names = [name for name in request.query_params.get("topics", "").split(",") if name] or list(topics)[:1]
    violations += [
        Violation("topics", f"{name} is not one of {', '.join(topics)}") for name in names if name not in topics
    ]
    if violations:
        raise InvalidArgument(violations)
    path = {"trial": "1", **request.path_params}
    if "trial" in request.query_params:
        path["trial"] = request.query_params["trial"]
    _check_path(path)
    subscriptions = {name: subscribe(topics[name], path, query) for name in dict.fromkeys(names)}
    token = request.headers.get("last-event-id") or request.query_params.get("from", "")
    asked = {name: topics[name] for name in subscriptions}
    check = request.scope["milepost.visitor"].check
    return Feed(subscriptions, parse_token(token, asked), gateway.services.shared, check)


def _openapi_endpoint(gateway: Gateway) -> Callable[[Request], Any]:
    content = orjson.dumps(document(gateway.version))

    async def handle(request: Request) -> Response:
        return _json_response(request, content)

    return handle


async def _live(request: Request) -> Response:
    return Response(b'{"status":"live"}', headers={"cache-control": "no-store"}, media_type="application/json")


def _ready_endpoint(gateway: Gateway) -> Callable[[Request], Any]:
    async def handle(request: Request) -> Response:
        services = await gateway.services.readiness()
        ready = all(word == "SERVING" for name, word in services.items() if name not in UNNEEDED)
        content = orjson.dumps({"ready": ready, "services": services})
        return Response(content, 200 if ready else 503, {"cache-control": "no-store"}, "application/json")

    return handle


def _metrics_endpoint(gateway: Gateway) -> Callable[[Request], Any]:
    async def handle(request: Request) -> Response:
        content = generate_latest(gateway.telemetry.registry)
        return Response(content, headers={"cache-control": "no-store", "content-type": CONTENT_TYPE_LATEST})

    return handle


def _page_endpoint(gateway: Gateway, name: str, status: int = 200) -> Callable[[Request], Awaitable[Response]]:
    index = gateway.web / name

    async def handle(request: Request) -> Response:
        text = "the web page is not part of this installation" if not index.is_file() else page_problem(gateway.web)
        if text:
            return problem_response(refusal(grpc.StatusCode.NOT_FOUND, text, "NO_PAGE"), request.url.path)
        return FileResponse(index, status, {"cache-control": "no-cache"}, media_type="text/html")

    return handle


def _on_refused_path(gateway: Gateway) -> Callable[[Request, Exception], Any]:
    page = _page_endpoint(gateway, "index.html", 404)

    async def handle(request: Request, error: Exception) -> Response:
        """Answer what routing refuses; to a person who follows a wrong link with the page, which says so and leads on."""
        asks_for_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if getattr(error, "status_code", 0) == 404 and asks_for_page and not request.url.path.startswith("/api/"):
            return await page(request)
        return on_http_error(request, error)

    return handle


async def _favicon(request: Request) -> Response:
    return RedirectResponse("/static/favicon.svg", 301)
