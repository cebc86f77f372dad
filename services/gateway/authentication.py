"""Who is on the other side of an HTTP request: a token, a session of a browser, or somebody on loopback."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

import grpc
import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from milepost.errors import MilepostError, ResourceExhausted, Unauthenticated, Unavailable
from milepost.security.tokens import SESSION_LIFETIME, Role, SessionTokens
from services.access.authentication import UNAUTHENTICATED, Authenticator, Caller, Observation, Observer, Result
from services.edge.bodies import read_body
from services.edge.calls import on_behalf_of
from services.edge.problems import Problem, refusal
from services.gateway.middleware import client_address, host_name
from services.gateway.problems import problem_response
from services.rpc import limits

log = logging.getLogger(__name__)

COOKIE = "milepost_session"
SESSION_PATH = "/api/v1/session"
LOGIN_PATH = "/login"
# What anybody may ask for. Everything else, pages and files included, asks who they are.
OPEN_PATHS = frozenset(
    {"/livez", "/readyz", LOGIN_PATH, "/favicon.ico"}
    | {f"/static/{name}" for name in ("login.js", "theme.js", "favicon.svg", "css/login_page.css")}
)
MAX_BODY_BYTES = 4096

REQUEST_RATE = limits.Rate(per_second=200, burst=400)
LOGIN_RATE = limits.Rate(per_second=0.2, burst=10)
MAX_STREAMS = 1_000
# A live stream looks this often whether its client may still be here.
CHECK_SECONDS = 1.0
MAX_STREAMS_PER_SESSION = 20
# Of a program that shows a token itself.
MAX_STREAMS_PER_TOKEN = 200


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sent a request.

    Attributes:
        authorization: the value that proves it, for the services behind; empty on loopback.
        key: under which rates and streams are counted.
        check: raises MilepostError once it proves nothing any more; looks once a second.
    """

    caller: Caller
    authorization: str
    key: str
    check: Callable[[], None]


class AuthenticationMiddleware:
    """ASGI middleware behind `ProtectionMiddleware`: lets in whom it knows, to the limits of each, and tells the services."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, observer: Observer) -> None:
        self._app = app
        self._authenticator = authenticator
        self._observer = observer
        self._requests = limits.RateLimiter(REQUEST_RATE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or _is_login(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        peer = client_address(scope)
        try:
            visitor = self._identify(headers, peer)
            await self._requests.wait_turn(visitor.key)
        except MilepostError as error:
            await self._refuse(error, scope, headers, peer)(scope, receive, send)
            return
        scope["milepost.visitor"] = visitor
        shown = {"mp-peer": peer, "authorization": visitor.authorization}
        with on_behalf_of(tuple((name, value) for name, value in shown.items() if value)):
            await self._app(scope, receive, send)

    def _identify(self, headers: Headers, peer: str) -> Visitor:
        authorization = headers.get("authorization", "")
        if not authorization:
            session = cookie_of(headers)
            authorization = f"Bearer {session}" if session else ""
        shown = (("authorization", authorization),) if authorization else ()
        caller = replace(self._authenticator.identify(shown), peer=peer)
        if caller.role in (Role.TRAINER, Role.LAUNCH, Role.SERVICE):
            raise Unauthenticated("tokens of programs are not for this address", reason="TOKEN_INVALID")
        key = caller.identity.session_id or caller.identity.token_id or f"{caller.actor} {peer}"
        return Visitor(caller, authorization, key, self._checking(shown))

    def _checking(self, shown: tuple[tuple[str, str], ...]) -> Callable[[], None]:
        looked = time.monotonic()

        def check() -> None:
            nonlocal looked
            now = time.monotonic()
            if shown and now - looked >= CHECK_SECONDS:
                looked = now
                self._authenticator.identify(shown)

        return check

    def _refuse(self, error: MilepostError, scope: Scope, headers: Headers, peer: str) -> Response:
        if isinstance(error, Unauthenticated):
            operation = f"{scope['method']} {scope['path'][:128]}"
            self._observer.observe(Observation(Result.UNAUTHENTICATED, UNAUTHENTICATED, operation, "", peer))
            if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
                place = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
                return RedirectResponse(f"{LOGIN_PATH}?next={quote(place, safe='')}", 303)
        response = problem_response(problem_of(error), scope["path"])
        if isinstance(error, Unauthenticated):
            response.headers["www-authenticate"] = "Bearer"
            if cookie_of(headers):
                _forget(response)
        return response


class Streams:
    """Places for live streams: so many in all, and so many for each session and each token.

    On loopback, without a token, nobody can be told from the others.
    """

    def __init__(self) -> None:
        self._all = limits.Slots(MAX_STREAMS, MAX_STREAMS, "streams")
        self._sessions = limits.Slots(MAX_STREAMS, MAX_STREAMS_PER_SESSION, "streams of this session")
        self._tokens = limits.Slots(MAX_STREAMS, MAX_STREAMS_PER_TOKEN, "streams of this token")

    def take(self, visitor: Visitor) -> None:
        """Take a place; give it back with `release`. Raises ResourceExhausted: there is none."""
        self._all.take("")
        share = self._share_of(visitor)
        if share is not None:
            try:
                share.take(visitor.key)
            except ResourceExhausted:
                self._all.release("")
                raise

    def release(self, visitor: Visitor) -> None:
        self._all.release("")
        share = self._share_of(visitor)
        if share is not None:
            share.release(visitor.key)

    def _share_of(self, visitor: Visitor) -> limits.Slots | None:
        identity = visitor.caller.identity
        if identity.session_id:
            return self._sessions
        return self._tokens if identity.token_id else None


def problem_of(error: MilepostError) -> Problem:
    """Say an error of ours as a problem of HTTP."""
    codes = {
        Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
        ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Unavailable: grpc.StatusCode.UNAVAILABLE,
    }
    problem = refusal(codes[type(error)], error.message, error.reason)
    problem.metadata = dict(error.metadata)
    return problem


def cookie_of(headers: Headers) -> str:
    """Return the session that a browser shows; empty: none."""
    text = headers.get("cookie", "")
    if COOKIE not in text:
        return ""
    try:
        morsel = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def _is_login(scope: Scope) -> bool:
    return scope["path"] == SESSION_PATH and scope["method"] == "POST"


def session_routes(
    authenticator: Authenticator, sessions: SessionTokens | None, observer: Observer, grpc_address: str = ""
) -> Sequence[Route]:
    """Make the routes to sign in, to sign out, and to ask who one is and where gRPC is served."""
    attempts = limits.RateLimiter(LOGIN_RATE)

    async def sign_in(request: Request) -> Response:
        peer = client_address(request.scope)
        try:
            attempts.take(peer)
            caller = authenticator.identify((("authorization", f"Bearer {await _token_in(request)}"),))
            own = caller.identity.token_id and not caller.identity.session_id
            if sessions is None or not own or caller.role in (Role.TRAINER, Role.LAUNCH, Role.SERVICE):
                raise Unauthenticated("sign in with a token of milepost token create", reason="TOKEN_INVALID")
        except MilepostError as error:
            if isinstance(error, Unauthenticated):
                observer.observe(Observation(Result.UNAUTHENTICATED, UNAUTHENTICATED, "sign in", "", peer))
            raise problem_of(error) from error
        observer.observe(Observation(Result.ALLOWED, caller.actor, "sign in", "", peer))
        response = _described(caller)
        response.set_cookie(
            COOKIE,
            sessions.create(caller.identity),
            max_age=int(SESSION_LIFETIME.total_seconds()),
            path="/",
            httponly=True,
            samesite="strict",
            # A browser keeps a secure cookie of http://localhost too, but not every one of http://127.0.0.1.
            secure=not _is_loopback(request),
        )
        return response

    async def sign_out(request: Request) -> Response:
        response = Response(status_code=204, headers={"cache-control": "no-store"})
        _forget(response)
        return response

    async def who(request: Request) -> Response:
        return _described(request.scope["milepost.visitor"].caller, grpc_address=grpc_address)

    return (
        Route(SESSION_PATH, sign_in, methods=["POST"]),
        Route(SESSION_PATH, sign_out, methods=["DELETE"]),
        Route(SESSION_PATH, who, methods=["GET"]),
    )


def _is_loopback(request: Request) -> bool:
    return host_name(request.headers.get("host", "")) in ("127.0.0.1", "localhost", "::1")


async def _token_in(request: Request) -> str:
    content = await read_body(request, MAX_BODY_BYTES)
    try:
        token = orjson.loads(content)["token"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        text = 'the body must be {"token": "..."}'
        raise refusal(grpc.StatusCode.INVALID_ARGUMENT, text, "NOT_A_TOKEN") from error
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise refusal(grpc.StatusCode.INVALID_ARGUMENT, "the token must be text", "NOT_A_TOKEN")
    return token.strip()


def _described(caller: Caller, **more: str) -> Response:
    content = {"actor": caller.actor, "role": caller.role, "verified": caller.verified, **more}
    return Response(orjson.dumps(content), headers={"cache-control": "no-store"}, media_type="application/json")


def _forget(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
