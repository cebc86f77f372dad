"""Who calls: verified from the token of a call, before any handler sees it. Everything without a rule is refused."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, aclosing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from milepost.errors import (
    DeadlineExceeded,
    InvalidArgument,
    MilepostError,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Violation,
)
from milepost.security.tokens import Identity, InvalidToken, Role, TokenError, Verifier
from services.access.authorization import (
    ON_BEHALF,
    RUNTIMES,
    TRIALS,
    Kind,
    Rule,
    authorize,
    authorize_request,
    is_open,
    resources_of,
)
from services.rpc import limits
from services.rpc.errors import status_of
from services.rpc.wellformed import check_well_formed

log = logging.getLogger(__name__)

ANONYMOUS = "anonymous@loopback"
UNAUTHENTICATED = "unauthenticated"
# Less than what keeps a service busy: commands, and what others read, must find it with time to spare.
READ_RATE = limits.Rate(per_second=400, burst=400)
COMMAND_RATE = limits.Rate(per_second=500, burst=1_000)
# What is at work at once, in all and for each caller: nobody has all places, and no reader any of those for commands.
MAX_READS = 1_200
MAX_READS_PER_CALLER = 400
MAX_COMMANDS = 1_000
MAX_COMMANDS_PER_CALLER = 400
MAX_STREAMS = 1_500
MAX_STREAMS_PER_CALLER = 750
# Of states: each of them is told of every change there, so a command costs as much as there are. Who looks through the
# gateway shares one with all others.
MAX_WATCHES = 1_500
MAX_WATCHES_PER_CALLER = 50
# A stream looks so often whether a command is at work, and makes way for it: what hundreds of them send at their beginning
# is seconds of work. The stream of a service, which many share, does not.
MESSAGES_IN_A_ROW = 5
WATCHES = frozenset({RUNTIMES + "WatchRuntimes", TRIALS + "WatchTrials"})
# Each reads and packs everything there is of a run.
MAX_EXPORTS = 32
MAX_EXPORTS_PER_CALLER = 8
# Anybody may watch health: those streams must not take the places of the others.
MAX_HEALTH_STREAMS = 100
# Calls of one caller that were opened without their request. Those that follow are begun at once, to be given up when it
# does not come: what gRPC waits for takes a place of all of them, for ever.
MAX_UNBEGUN = 100
REQUEST_SECONDS = 10.0
# Those that were begun at once and wait for their request. More are refused: each has a place of all calls of the server.
MAX_AWAITED = 4_000
MAX_AWAITED_PER_CALLER = 200

# Of a service: in whose name it calls, and the id of the event behind the call.
ON_BEHALF_OF = "mp-on-behalf-of"
BECAUSE_OF = "mp-because-of"
UNVERIFIED = "unverified:"
RULE_SERVICE_UNVERIFIED = f"{UNVERIFIED}service:rules"
# As of tokens; no name that Milepost gives is one.
_TOKEN_NAME = re.compile(r"^(?!anonymous@loopback$)[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$")
_EVENT_ID = re.compile(r"^[A-Za-z0-9-]{1,64}$")
_LOCAL_USER = re.compile(r"^local:[A-Za-z0-9._-]{1,64}$")
_SERVICE = re.compile(r"^service:[a-z]{1,32}$")
_PEER = re.compile(r"^[0-9A-Fa-f:.\[\]]{1,64}$")


class Result(StrEnum):
    """What became of a call. The same words as `AccessResult`."""

    ALLOWED = "ALLOWED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"


@dataclass(frozen=True, slots=True)
class Observation:
    """Somebody did, or failed to do, something that matters."""

    result: Result
    actor: str
    operation: str
    resource: str
    peer: str


class Observer(Protocol):
    """Takes notice of who did what. Never waits, never fails."""

    def observe(self, observation: Observation) -> None: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is behind the call that is being handled.

    Attributes:
        actor: what goes into events as `mp-actor`: the name of a token, `local:<user>` for the command line on
            loopback, `anonymous@loopback` otherwise; a name that is only claimed begins with `unverified:`.
        verified: a token says who it is.
        peer: address the call came from.
    """

    actor: str
    role: Role
    verified: bool
    identity: Identity
    peer: str = ""
    # Id of the event that brought the call about: of a service that calls in somebody's name. Empty: none.
    cause: str = ""

    @property
    def max_active_runtimes(self) -> int:
        return self.identity.max_active_runtimes


def anonymous(claimed: str = "") -> Caller:
    """Describe a caller without a token on loopback, where whoever can call could do the same without us."""
    if _LOCAL_USER.fullmatch(claimed):
        actor = claimed
    elif claimed:
        actor = UNVERIFIED + re.sub(r"[^A-Za-z0-9._@:-]", "?", claimed)[:64]
    else:
        actor = ANONYMOUS
    return Caller(actor, Role.LOCAL, False, Identity(actor, Role.LOCAL, max_active_runtimes=1 << 31))


_current: ContextVar[Caller | None] = ContextVar("caller", default=None)


def current_caller() -> Caller:
    """Return who is behind the call being handled. Outside of calls: the anonymous caller on loopback."""
    return _current.get() or anonymous()


def calling_actor() -> str:
    """Name who is behind the call being handled; empty outside of calls, where the service works for itself."""
    caller = _current.get()
    return caller.actor if caller is not None and caller.role is not Role.SERVICE else ""


class Authenticator:
    """Decides who is calling from the metadata of a call.

    `required`: calls without a token are refused. Otherwise they are let in, which is for servers that listen on
    loopback only. Without a verifier no token is valid.
    """

    def __init__(self, verifier: Verifier | None, *, required: bool) -> None:
        self._verifier = verifier
        self._required = required

    def identify(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Say who is calling.

        Raises:
            Unauthenticated: there is no token and one is asked for, or it is not valid.
            Unavailable: tokens cannot be verified now.
        """
        values = {key: value for key, value in metadata if isinstance(value, str)}
        authorization = values.get("authorization")
        claimed = values.get("mp-actor", "")
        if authorization is None:
            if self._required:
                raise Unauthenticated(
                    "this server asks for a token: set MILEPOST_TOKEN, sign in, or send the header Authorization: Bearer TOKEN "
                    "(in gRPC the metadata authorization); milepost token create makes one",
                    reason="TOKEN_MISSING",
                )
            return anonymous(claimed)
        identity = self.verify(authorization)
        actor = claimed if identity.role is Role.SERVICE and _SERVICE.fullmatch(claimed) else identity.actor
        return Caller(actor, identity.role, True, identity)

    def in_name_of(self, caller: Caller, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Say in whose name a service calls, and because of what: what that one may do now counts, and nothing else.

        Of anybody but a service what is claimed here says nothing.

        Raises:
            PermissionDenied: nobody of that name has a valid token, or services do not call this in others' names.
            Unavailable: tokens cannot be verified now.
        """
        values = {key: value for key, value in metadata if isinstance(value, str)}
        owner = values.get(ON_BEHALF_OF, "")
        is_service = caller.verified and caller.role is Role.SERVICE
        # Where no token is asked for, a service without one is as good as whoever it names.
        if not owner or not (is_service or (not self._required and caller.actor == RULE_SERVICE_UNVERIFIED)):
            return caller
        if method not in ON_BEHALF:
            raise PermissionDenied(f"no service calls {method} in the name of others", reason="NOT_ON_BEHALF")
        cause = values.get(BECAUSE_OF, "")
        cause = cause if _EVENT_ID.fullmatch(cause) else ""
        if not is_service or (not self._required and not _TOKEN_NAME.fullmatch(owner)):
            return replace(anonymous("" if owner == ANONYMOUS else owner.removeprefix(UNVERIFIED)), cause=cause)
        try:
            if self._verifier is None:
                raise InvalidToken
            identity = self._verifier.store.holder(owner)
        except InvalidToken as error:
            raise PermissionDenied(
                f"{owner[:80]} has no valid token, so nothing is done in this name", reason="OWNER_UNKNOWN"
            ) from error
        except TokenError as error:
            log.error("tokens.unreadable", extra={"problem": str(error)})
            raise Unavailable("tokens cannot be verified now", reason="TOKENS_UNREADABLE") from error
        return Caller(identity.actor, identity.role, True, identity, cause=cause)

    def verify(self, authorization: str) -> Identity:
        """Verify the value of an `authorization` header. Raises as `identify` does."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("the header must be Authorization: Bearer TOKEN", reason="TOKEN_INVALID")
        try:
            if self._verifier is None:
                raise InvalidToken
            return self._verifier.verify(token.strip())
        except InvalidToken as error:
            raise Unauthenticated(
                "the token is unknown, revoked or expired; see `milepost token list`", reason="TOKEN_INVALID"
            ) from error
        except TokenError as error:
            log.error("tokens.unreadable", extra={"problem": str(error)})
            raise Unavailable("tokens cannot be verified now", reason="TOKENS_UNREADABLE") from error


class AuthenticationInterceptor(grpc.aio.ServerInterceptor):
    """Outermost: identifies, authorizes, limits, observes, and lets commands go first. Only health is open."""

    def __init__(self, authenticator: Authenticator, observer: Observer) -> None:
        self._authenticator = authenticator
        self._observer = observer
        self._reads = limits.RateLimiter(READ_RATE)
        self._commands = limits.RateLimiter(COMMAND_RATE)
        self.precedence = limits.Precedence()
        self._streams = limits.Slots(MAX_STREAMS, MAX_STREAMS_PER_CALLER, "streams")
        self._watches = limits.Slots(MAX_WATCHES, MAX_WATCHES_PER_CALLER, "watches of states")
        self._exports = limits.Slots(MAX_EXPORTS, MAX_EXPORTS_PER_CALLER, "exports")
        self._reads_at_work = limits.Slots(MAX_READS, MAX_READS_PER_CALLER, "calls", "TOO_MANY_CALLS")
        self._commands_at_work = limits.Slots(MAX_COMMANDS, MAX_COMMANDS_PER_CALLER, "commands", "TOO_MANY_CALLS")
        self._unbegun: OrderedDict[str, int] = OrderedDict()
        self._awaited = limits.Slots(
            MAX_AWAITED, MAX_AWAITED_PER_CALLER, "calls without their request", "TOO_MANY_CALLS"
        )
        self._health_streams = limits.Slots(MAX_HEALTH_STREAMS, MAX_HEALTH_STREAMS, "streams of health")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        if is_open(method):
            return self._open(await continuation(handler_call_details))
        metadata = tuple(handler_call_details.invocation_metadata or ())
        caller: Caller | None = None
        try:
            caller = self._authenticator.identify(metadata)
            caller = self._authenticator.in_name_of(caller, method, metadata)
            handler = await continuation(handler_call_details)
            if handler is None:
                # An unknown method: whoever is known may be told so.
                return handler
            rule = authorize(caller.identity, method)
            await (self._reads if rule.kind is Kind.READ else self._commands).wait_turn(caller.actor)
        except MilepostError as error:
            return self._refusal(error, method, caller, metadata)
        if handler.stream_stream is not None:
            # It begins without a request.
            return _wrapped(handler, _Call(self, caller, rule, method, metadata))
        if self._unbegun.get(caller.actor, 0) >= MAX_UNBEGUN:
            return _begun_at_once(handler, _Call(self, caller, rule, method, metadata))
        self._unbegun[caller.actor] = self._unbegun.pop(caller.actor, 0) + 1
        if len(self._unbegun) > limits.MAX_CALLERS:
            self._unbegun.popitem(last=False)
        return _wrapped(handler, _Call(self, caller, rule, method, metadata, is_waited_for=True))

    def _note_begun(self, caller: Caller) -> None:
        left = self._unbegun.get(caller.actor, 0) - 1
        if left > 0:
            self._unbegun[caller.actor] = left
        else:
            self._unbegun.pop(caller.actor, None)

    def _open(self, handler: Any) -> grpc.RpcMethodHandler:
        """Let a call of health through; its streams are few."""
        if handler is None or handler.unary_stream is None:
            return handler

        async def watch(request: Any, context: grpc.aio.ServicerContext) -> None:
            try:
                self._health_streams.take(ANONYMOUS)
            except MilepostError as error:
                await context.abort_with_status(rpc_status.to_status(status_of(error)))  # type: ignore[attr-defined]
            try:
                await handler.unary_stream(request, context)
            finally:
                self._health_streams.release(ANONYMOUS)

        return grpc.unary_stream_rpc_method_handler(watch, handler.request_deserializer, handler.response_serializer)

    def _refusal(
        self, error: MilepostError, method: str, caller: Caller | None, metadata: tuple[tuple[str, str | bytes], ...]
    ) -> grpc.RpcMethodHandler:
        async def refuse(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            owner = next((text for key, text in metadata if key == ON_BEHALF_OF), "")
            resource = f"tokens/{owner!s:.80}" if error.reason == "OWNER_UNKNOWN" else ""
            self.observe_refusal(error, method, caller, resource, _peer(context, metadata))
            await context.abort_with_status(rpc_status.to_status(status_of(error)))  # type: ignore[attr-defined]
            yield b""

        # A handler of streams begins without waiting for a request that may never come.
        return grpc.stream_stream_rpc_method_handler(refuse)

    def observe_refusal(
        self, error: MilepostError, method: str, caller: Caller | None, resource: str, peer: str
    ) -> None:
        if isinstance(error, Unauthenticated):
            result = Result.UNAUTHENTICATED
        elif isinstance(error, PermissionDenied):
            result = Result.PERMISSION_DENIED
        else:
            return
        actor = caller.actor if caller is not None else UNAUTHENTICATED
        self._observer.observe(Observation(result, actor, method.lstrip("/"), resource, peer))

    def begin(self, call: _Call, request: Any, context: grpc.aio.ServicerContext) -> Caller:
        """Look at the request of a call; refuse it, or say who is behind it."""
        if call.is_waited_for:
            self._note_begun(call.caller)
        if isinstance(request, _Unreadable):
            raise InvalidArgument([Violation("request", "is not a message of the contract")])
        if isinstance(request, Message):
            check_well_formed(request)
        peer = _peer(context, call.metadata)
        caller = replace(call.caller, peer=peer)
        resources = resources_of(call.rule, request) if hasattr(request, "DESCRIPTOR") else []
        resource = ",".join(resources)[:256]
        try:
            authorize_request(caller.identity, call.rule, request)
        except PermissionDenied as error:
            self.observe_refusal(error, call.method, caller, resource, peer)
            raise
        if call.rule.kind is not Kind.READ and not call.rule.owned:
            self._observer.observe(Observation(Result.ALLOWED, caller.actor, call.method.lstrip("/"), resource, peer))
        return caller

    @contextmanager
    def place(self, call: _Call, stream: bool) -> Iterator[None]:
        """Have a place for a call while it is at work. Raises ResourceExhausted: there is none for this caller."""
        kind = call.rule.kind
        slots = [self._streams] if stream else [self._reads_at_work if kind is Kind.READ else self._commands_at_work]
        if kind is Kind.EXPORT:
            slots.append(self._exports)
        if call.method in WATCHES:
            slots.append(self._watches)
        with ExitStack() as taken:
            for one in slots:
                # A service asks on behalf of many, whose shares were looked at before.
                taken.enter_context(one.taken(call.caller.actor, call.caller.role is not Role.SERVICE))
            yield

    def awaiting(self, call: _Call) -> AbstractContextManager[None]:
        """Have a place for a call that waits for its request. Raises ResourceExhausted: there is none for this caller."""
        return self._awaited.taken(call.caller.actor, call.caller.role is not Role.SERVICE)

    def check_still_valid(self, call: _Call) -> None:
        """Raise Unauthenticated if the token of a call has ended meanwhile."""
        self._authenticator.identify(call.metadata)


@dataclass(frozen=True, slots=True)
class _Call:
    interceptor: AuthenticationInterceptor
    caller: Caller
    rule: Rule
    method: str
    metadata: tuple[tuple[str, str | bytes], ...]
    # It is counted as one whose request has not come.
    is_waited_for: bool = False

    @property
    def makes_way(self) -> bool:
        """Whether it waits for commands that are at work."""
        return self.rule.kind is Kind.READ and self.caller.role is not Role.SERVICE


class _Unreadable:
    """Stands for a request that cannot be decoded: gRPC itself would show the exception."""


def _readable(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(content: bytes) -> Any:
        try:
            return decode(content)
        except (DecodeError, ValueError):
            return _Unreadable()

    return read


def _wrapped(handler: Any, call: _Call) -> grpc.RpcMethodHandler:
    codecs = (_readable(handler.request_deserializer), handler.response_serializer)
    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, call), *codecs)
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream, call), *codecs)
    if handler.stream_stream is not None:
        return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream, call), *codecs)
    raise NotImplementedError("streams of requests with a single answer are not used")


def _begun_at_once(handler: Any, call: _Call) -> grpc.RpcMethodHandler:
    """Make a handler that does not let gRPC wait for the request of a call, which may never come."""
    unary = _unary(handler.unary_unary, call) if handler.unary_unary is not None else None
    stream = _stream(handler.unary_stream, call) if handler.unary_stream is not None else None

    async def handle(requests: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        try:
            request = await _awaited(call, context)
        except MilepostError as error:
            await context.abort_with_status(rpc_status.to_status(status_of(error)))  # type: ignore[attr-defined]
        if unary is not None:
            yield await unary(request, context)
        elif stream is not None:
            async with aclosing(stream(request, context)) as responses:
                async for response in responses:
                    yield response

    return grpc.stream_stream_rpc_method_handler(
        handle, _readable(handler.request_deserializer), handler.response_serializer
    )


async def _awaited(call: _Call, context: grpc.aio.ServicerContext) -> Any:
    """Wait for the request of a call.

    Raises:
        ResourceExhausted: too many calls of this caller wait for theirs.
        DeadlineExceeded: it did not come.
    """
    request: Any = grpc.aio.EOF  # type: ignore[attr-defined]
    with call.interceptor.awaiting(call), suppress(TimeoutError):
        async with asyncio.timeout(REQUEST_SECONDS):
            request = await context.read()
    if request is grpc.aio.EOF:  # type: ignore[attr-defined]
        raise DeadlineExceeded(f"the request did not come within {REQUEST_SECONDS:g} s", reason="REQUEST_TOO_SLOW")
    return request


def _unary(behaviour: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    async def handle(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            with ExitStack() as place:
                caller = call.interceptor.begin(call, request, context)
                place.enter_context(call.interceptor.place(call, stream=False))
                token = _current.set(caller)
                try:
                    return await _in_turn(behaviour, call, request, context)
                finally:
                    _current.reset(token)
        except MilepostError as error:
            await context.abort_with_status(rpc_status.to_status(status_of(error)))  # type: ignore[attr-defined]

    return handle


async def _in_turn(behaviour: Callable[..., Any], call: _Call, request: Any, context: grpc.aio.ServicerContext) -> Any:
    if call.rule.kind is Kind.READ:
        await call.interceptor.precedence.wait()
        return await behaviour(request, context)
    with call.interceptor.precedence.command():
        return await behaviour(request, context)


def _stream(behaviour: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    async def handle(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        try:
            caller = call.interceptor.begin(call, request, context)
            _current.set(caller)
            with call.interceptor.place(call, stream=True):
                async with aclosing(behaviour(request, context)) as responses:
                    sent = 0
                    async for response in responses:
                        call.interceptor.check_still_valid(call)
                        yield response
                        sent += 1
                        if sent % MESSAGES_IN_A_ROW == 0 and call.makes_way:
                            await call.interceptor.precedence.wait()
        except MilepostError as error:
            await context.abort_with_status(rpc_status.to_status(status_of(error)))  # type: ignore[attr-defined]

    return handle


def _peer(context: grpc.aio.ServicerContext, metadata: tuple[tuple[str, str | bytes], ...]) -> str:
    """Name the caller's address; behind the gateway also the one the gateway saw, which anybody may claim."""
    address = re.sub(r"^ipv[46]:", "", context.peer() or "").replace("%5B", "[").replace("%5D", "]")
    host = address.rpartition(":")[0] or address
    behind = next((value for key, value in metadata if key == "mp-peer" and isinstance(value, str)), "")
    return f"{host} for {behind}" if _PEER.fullmatch(behind) else host
