"""The Python client: thin and synchronous, over the generated stubs of all services.

    with milepost.client.Client() as client:
        runtime = client.start_runtime(Path("config.yaml").read_text())
        for update in client.watch_runtime(runtime.name):
            print(update.status)

`client.runtimes`, `.trials`, `.metrics`, `.logs`, `.rules` and `.audit` have every RPC by its name; they take and give the
messages of `milepost.api` and raise the errors of `milepost.errors`.
"""

from __future__ import annotations

import getpass
import importlib
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from milepost import errors
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as trial_facts
from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.backoff import Backoff
from milepost.installation import endpoints as endpoints_module
from milepost.installation.endpoints import Endpoints
from milepost.security.transport import ClientTls, open_channel, token_from

Update = TypeVar("Update")

DEFAULT_TIMEOUT_SECONDS = 30.0
# How long a call goes on trying while nothing answers.
RETRY_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0
MAX_MESSAGE_BYTES = 64 << 20
# Between two looks for what instances answer.
ANSWER_POLL_SECONDS = 0.2
STACKS_TYPE = "milepost.trial.stacks_recorded.v1"

_ERRORS: dict[grpc.StatusCode, type[errors.MilepostError]] = {
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.ABORTED: errors.Aborted,
    grpc.StatusCode.OUT_OF_RANGE: errors.OutOfRange,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    # A server that stops cuts off what still runs.
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
}

# Attribute of the client -> (address in `Endpoints`, module of the contract, its service).
_SERVICES = {
    "runtimes": ("runtime", "milepost.api.runtime.v1.runtime_service", "RuntimeService"),
    "launches": ("runtime", "milepost.api.training.v1.launch_service", "LaunchService"),
    "audit": ("runtime", "milepost.api.audit.v1.audit_service", "AuditService"),
    "trials": ("trials", "milepost.api.trial.v1.trial_service", "TrialService"),
    "metrics": ("metrics", "milepost.api.metric.v1.metric_service", "MetricService"),
    "logs": ("metrics", "milepost.api.log.v1.log_service", "LogService"),
    "rules": ("rules", "milepost.api.rule.v1.rule_service", "RuleService"),
}


def load() -> None:
    """Import all that a client needs.

    For who uses one in another thread: a child that is forked off while that imports something waits for it for ever.
    """
    for _, module, _ in _SERVICES.values():
        importlib.import_module(f"{module}_pb2_grpc")
    importlib.import_module("grpc._channel")


def from_rpc_error(error: Any, address: str) -> errors.MilepostError:
    """Translate what gRPC raised into the error the service meant, with its reason and all violations."""
    code, message = error.code(), error.details() or ""
    reason, metadata, violations = None, {}, []
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad_request):
            violations = [errors.Violation(v.field, v.description) for v in bad_request.field_violations]
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return errors.InvalidArgument(violations, message, reason=reason)
    if code == grpc.StatusCode.UNAVAILABLE and status is None:
        message = f"nothing answers at {address} ({message}); is the stack running? Start it with `milepost up`"
    return _ERRORS.get(code, errors.MilepostError)(message, reason=reason, metadata=metadata)


class ClientClosed(errors.MilepostError):
    """The client was closed while it was in use, or is used after that."""

    reason = "CLIENT_CLOSED"


class Patience:
    """How long a call goes on trying while nothing answers: less, where it may be, until somebody has answered."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def answered(self) -> None:
        """Note that there is a server: one that is gone now is started again."""
        self.seconds = RETRY_SECONDS


class Service:
    """The RPCs of one service as methods, by their names in the contract.

    Unary calls return the response and are tried again while nothing answers; streams are iterators. Retrying is safe:
    reads change nothing, and commands carry a request id.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        address: str,
        module: str,
        name: str,
        metadata: Sequence[tuple[str, str]],
        patience: Patience,
        closed: threading.Event,
    ) -> None:
        self._address = address
        self._metadata = list(metadata)
        self._patience = patience
        self._closed = closed
        self._stub = getattr(importlib.import_module(f"{module}_pb2_grpc"), f"{name}Stub")(channel)
        messages = importlib.import_module(f"{module}_pb2")
        self._methods = {method.name: method for method in messages.DESCRIPTOR.services_by_name[name].methods}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in self._methods:
            raise AttributeError(name)
        return self._stream(name) if self._methods[name].server_streaming else self._unary(name)

    def _unary(self, name: str) -> Callable[..., Any]:
        behaviour = getattr(self._stub, name)

        def call(request: Message, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> Any:
            if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:  # type: ignore[attr-defined]
                request.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]
            deadline = time.monotonic() + min(timeout, self._patience.seconds)
            for pause in Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS):
                try:
                    answer = self._invoke(behaviour, request, timeout)
                    self._patience.answered()
                    return answer
                except grpc.RpcError as error:
                    last_try = time.monotonic() + pause > deadline
                    if error.code() != grpc.StatusCode.UNAVAILABLE or last_try:
                        raise self._translate(error) from error
                time.sleep(pause)
            raise AssertionError("the pauses never end")

        return call

    def _stream(self, name: str) -> Callable[..., Iterator[Any]]:
        behaviour = getattr(self._stub, name)

        def call(request: Message, timeout: float | None = None) -> Iterator[Any]:
            stream = self._invoke(behaviour, request, timeout)
            try:
                yield from stream
            except grpc.RpcError as error:
                raise self._translate(error) from error
            finally:
                stream.cancel()

        return call

    def _invoke(self, behaviour: Callable[..., Any], request: Message, timeout: float | None) -> Any:
        try:
            return behaviour(request, timeout=timeout, metadata=self._metadata)
        except ValueError as error:  # of a channel that is closed
            if self._closed.is_set():
                raise ClientClosed("the client is closed") from error
            raise

    def _translate(self, error: grpc.RpcError) -> errors.MilepostError:
        return ClientClosed("the client is closed") if self._closed.is_set() else from_rpc_error(error, self._address)


class Client:
    """A connection to all services of a stack. Thread-safe; close it or use it as a context manager."""

    runtimes: Service
    launches: Service
    audit: Service
    trials: Service
    metrics: Service
    logs: Service
    rules: Service

    def __init__(
        self,
        endpoints: Endpoints | None = None,
        *,
        actor: str = "",
        token: str = "",
        patience_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Connect lazily. Without endpoints they are looked up as `milepost.installation.endpoints.find` says.

        Without a token it is `MILEPOST_TOKEN`, or in the file `MILEPOST_TOKEN_FILE`. To other machines it goes by TLS
        only; `MILEPOST_TLS_CA` is the authority to trust there, besides those of the system.

        `patience_seconds` is how long the first call tries before it raises `Unavailable`; once something has answered
        it is `RETRY_SECONDS`.
        """
        self.endpoints = endpoints or endpoints_module.find()
        self._tls = ClientTls.from_environment()
        token = token or token_from()
        metadata = [("mp-actor", actor or f"local:{_user()}")]
        if token:
            metadata.append(("authorization", f"Bearer {token}"))
        self._channels: dict[str, grpc.Channel] = {}
        self._closed = threading.Event()
        self.patience = Patience(patience_seconds)
        for attribute, (part, module, name) in _SERVICES.items():
            address = getattr(self.endpoints, part)
            channel = self._channel(address)
            service = Service(channel, address, module, name, metadata, self.patience, self._closed)
            setattr(self, attribute, service)

    def _channel(self, address: str) -> grpc.Channel:
        if address not in self._channels:
            self._channels[address] = open_channel(
                address,
                self._tls,
                [
                    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                    # A service that is restarted is found again soon.
                    ("grpc.initial_reconnect_backoff_ms", 100),
                    ("grpc.max_reconnect_backoff_ms", 1_000),
                    # Loopback and service names need no proxy.
                    ("grpc.enable_http_proxy", 0),
                ],
            )
        return self._channels[address]

    def close(self) -> None:
        """End what is under way: calls and streams in other threads raise `ClientClosed`."""
        self._closed.set()
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start_runtime(
        self, configuration_text: str, *, validate_only: bool = False, request_id: str = ""
    ) -> runtime_api.Runtime:
        """Start a runtime from a configuration as YAML or JSON. Returns it as recorded, not yet running.

        Raises:
            InvalidArgument: the configuration; it has every violation.
        """
        request = runtime_api.StartRuntimeRequest(
            configuration_text=configuration_text, validate_only=validate_only, request_id=request_id
        )
        return self.runtimes.StartRuntime(request).runtime

    def get_runtime(self, name: str, *, show_deleted: bool = False, min_sequence: int = 0) -> runtime_api.Runtime:
        """Read one runtime.

        Raises:
            NotFound: there is none.
        """
        request = runtime_api.GetRuntimeRequest(name=name, show_deleted=show_deleted, min_sequence=min_sequence)
        return self.runtimes.GetRuntime(request).runtime

    def stop_runtime(
        self, name: str, *, mode: common.StopMode = common.STOP_MODE_UNSPECIFIED, reason: str = ""
    ) -> runtime_api.Runtime:
        """Ask a runtime to stop. Returns once that is recorded; wait for the end with `watch_runtime`."""
        return self.runtimes.StopRuntime(runtime_api.StopRuntimeRequest(name=name, mode=mode, reason=reason)).runtime

    def resume_runtime(self, name: str, *, snapshot_id: str = "", changes: str = "") -> runtime_api.Runtime:
        """Go on from a snapshot: the newest valid one, or the one named.

        Raises:
            FailedPrecondition: there is nothing to resume, or no valid snapshot.
        """
        request = runtime_api.ResumeRuntimeRequest(
            name=name, snapshot_id=snapshot_id, configuration_changes_text=changes
        )
        return self.runtimes.ResumeRuntime(request).runtime

    def delete_runtime(self, name: str, *, force: bool = False, purge: bool = False) -> runtime_api.Runtime:
        """Hide a runtime; its data is removed when the restore window is over, with `purge` at once.

        Raises:
            FailedPrecondition: it is in progress, others began at its snapshots or some are pinned, and `force` is not set.
        """
        return self.runtimes.DeleteRuntime(
            runtime_api.DeleteRuntimeRequest(name=name, force=force, purge=purge)
        ).runtime

    def undelete_runtime(self, name: str, *, reason: str = "") -> runtime_api.Runtime:
        """Take a deletion back.

        Raises:
            FailedPrecondition: its data is being removed, or is gone.
        """
        return self.runtimes.UndeleteRuntime(runtime_api.UndeleteRuntimeRequest(name=name, reason=reason)).runtime

    def pin_snapshot(
        self, name: str, *, step: int | None = None, snapshot_id: str = "", reason: str = ""
    ) -> runtime_api.Snapshot:
        """Keep a snapshot of a trial, named by its step or its id, whatever the policy of the trial keeps.

        Raises:
            NotFound: it is not there; the message names those that are.
        """
        request = runtime_api.PinSnapshotRequest(name=name, step=step, snapshot_id=snapshot_id or None, reason=reason)
        return self.runtimes.PinSnapshot(request).snapshot

    def unpin_snapshot(
        self, name: str, *, step: int | None = None, snapshot_id: str = "", reason: str = ""
    ) -> runtime_api.Snapshot:
        """Let the policy of a trial decide again whether a snapshot stays. Raises as `pin_snapshot`."""
        request = runtime_api.UnpinSnapshotRequest(name=name, step=step, snapshot_id=snapshot_id or None, reason=reason)
        return self.runtimes.UnpinSnapshot(request).snapshot

    def watch_runtime(self, name: str) -> Iterator[runtime_api.Runtime]:
        """Yield a runtime as it is, then after each change, for ever; goes on where it was after a lost connection."""
        position = 0

        def connect() -> Iterator[runtime_api.WatchRuntimesResponse]:
            return self.runtimes.WatchRuntimes(runtime_api.WatchRuntimesRequest(name=name, after_sequence=position))

        for update in resume_stream(connect, self.patience):
            position = max(position, update.sequence)
            if update.HasField("runtime"):
                yield update.runtime

    def watch_events(
        self, parent: str, after_sequence: int = 0, event_filter: runtime_api.EventFilter | None = None
    ) -> Iterator[runtime_api.WatchEventsResponse]:
        """Yield the events after a position, then each new one, for ever, without gap or repeat."""
        position = after_sequence

        def connect() -> Iterator[runtime_api.WatchEventsResponse]:
            request = runtime_api.WatchEventsRequest(parent=parent, after_sequence=position, filter=event_filter)
            return self.runtimes.WatchEvents(request)

        for update in resume_stream(connect, self.patience):
            position = max(position, update.sequence)
            yield update

    def wait_stacks(
        self, name: str, after_sequence: int, ranks: Collection[int], seconds: float
    ) -> list[trial_facts.StacksRecorded]:
        """Return what the instances of a trial said of their threads, by rank, as soon as all have, or in so many seconds.

        Args:
            name: of the trial.
            after_sequence: of the request, as the answer to `RecordStacks` gives it.
            ranks: who is to answer.
            seconds: how long to wait.
        """
        found: dict[int, trial_facts.StacksRecorded] = {}
        runtime, _, number = name.rpartition("/trials/")
        wanted = runtime_api.EventFilter(trial=int(number), types=[STACKS_TYPE])
        deadline = time.monotonic() + seconds
        while True:
            request = runtime_api.ListEventsRequest(parent=runtime, filter=wanted, after_sequence=after_sequence)
            answer = self.runtimes.ListEvents(request)
            for event in answer.events:
                after_sequence = event.sequence
                if event.trial_event.stacks_recorded.requested:
                    found[event.trial_event.stacks_recorded.rank] = event.trial_event.stacks_recorded
            if answer.next_page_token:
                continue
            if set(ranks) <= set(found) or time.monotonic() > deadline:
                return [found[rank] for rank in sorted(found)]
            time.sleep(ANSWER_POLL_SECONDS)

    def query_series(
        self,
        parents: Sequence[str],
        keys: Sequence[str],
        *,
        first_step: int = 0,
        last_step: int = 0,
        bucket_count: int = 0,
        include_superseded: bool = False,
        ancestry: bool = False,
    ) -> metric_api.QuerySeriesResponse:
        """Read series of trials in at most `bucket_count` buckets (0: 1,000); fewer points come as they are.

        `last_step` 0 is to the end. With `ancestry` a branch has the steps of its ancestors too. Each series has columns of
        one length: `last_steps`, `lasts`, `mins`, `maxs` ...

        Raises:
            NotFound: one of the trials does not exist.
        """
        request = metric_api.QuerySeriesRequest(
            parents=parents,
            keys=keys,
            first_step=first_step,
            last_step=last_step,
            bucket_count=bucket_count,
            include_superseded=include_superseded,
            ancestry=ancestry,
        )
        return self.metrics.QuerySeries(request)

    def stream_logs(
        self, parent: str, filter: log_api.LogFilter | None = None, cursor: str = ""
    ) -> Iterator[log_api.StreamLogsResponse]:
        """Yield log lines after a cursor, then each new one, for ever, without gap or repeat."""

        def connect() -> Iterator[log_api.StreamLogsResponse]:
            return self.logs.StreamLogs(log_api.StreamLogsRequest(parent=parent, filter=filter, cursor=cursor))

        for update in resume_stream(connect, self.patience):
            cursor = update.cursor or cursor
            yield update


def resume_stream(connect: Callable[[], Iterator[Update]], patience: Patience) -> Iterator[Update]:
    """Read an endless stream and connect again where it breaks; `connect` goes on after what it gave last.

    Raises:
        Unavailable: nothing answered for as long as there is patience.
    """
    pauses, heard = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS), time.monotonic()
    while True:
        try:
            for update in connect():
                yield update
                patience.answered()
                pauses.reset()
                heard = time.monotonic()
        except errors.Unavailable:
            if time.monotonic() - heard > patience.seconds:
                raise
        time.sleep(next(pauses))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
