"""The LaunchService: hands the launch of an attempt to whoever runs it: a job of a cluster, or a script."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import grpc.aio

from milepost import names
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.training.v1 import launch_service_pb2 as api
from milepost.api.training.v1 import launch_service_pb2_grpc
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.domain import runtime, trial
from milepost.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable, Violation
from milepost.installation import observability
from milepost.names import AttemptKey
from milepost.numbers import MAX_NUMBER
from milepost.security.tokens import Role
from services.access.authentication import Observation, Observer, Result, current_caller
from services.runtime.commands.ownership import check_owner, may_write
from services.runtime.commands.request_ids import MAX_CHARACTERS
from services.runtime.decisions import Cause
from services.runtime.launchers.claims import Claims
from services.runtime.readmodel.view import RuntimeView, TrialView
from services.runtime.readmodel.views import Views
from services.runtime.scheduling.continuing import Continuing
from services.runtime.scheduling.launching import Launches

log = logging.getLogger(__name__)

NAME = api.DESCRIPTOR.services_by_name["LaunchService"].full_name
_CLAIM = re.compile(r"[A-Za-z0-9]{16,64}")
MAX_HOST_CHARACTERS = 253
MAX_DETAIL = 1_000


class LaunchService(launch_service_pb2_grpc.LaunchServiceServicer):
    """Any replica answers: what an attempt is told follows from the log."""

    def __init__(
        self,
        views: Views,
        launches: Launches,
        claims: Claims,
        credentials: Callable[[AttemptKey], str | None],
        observer: Observer,
        continuing: Continuing,
    ) -> None:
        self._views = views
        self._launches = launches
        self._claims = claims
        self._credentials = credentials
        self._observer = observer
        self._continuing = continuing

    async def ClaimLaunch(self, request: api.ClaimLaunchRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        key = _key_of_caller()
        _check(request)
        view, one = self._find(key)
        # Made first: what cannot be made is not taken.
        launch = await self._launches.launch(view, one)
        environment = self._launches.environment(launch)
        credentials = self._credentials(key) or ""
        if not await self._claims.take(key, request.claim_id):
            raise FailedPrecondition(
                f"the launch of attempt {key.attempt} was handed out or withdrawn before", reason="LAUNCH_CLAIMED"
            )
        log.info("launch.claimed", extra={"attempt": str(key), "host": request.host, "peer": current_caller().peer})
        return api.ClaimLaunchResponse(launch=launch, environment=environment, nats_credentials=credentials)

    async def TakeUpAttempt(
        self, request: api.TakeUpAttemptRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        if request.attempt < 0:
            raise InvalidArgument([Violation("attempt", "must not be negative")])
        view, number = self._external(request.name)
        self._check_owner(view, "TakeUpAttempt", request.name)
        one = view.trials.get(number)
        active = one.state.active if one is not None else None
        if view.state.phase is not runtime.Phase.ENDED and (active is None or active.attempt < request.attempt):
            raise Unavailable("the attempt is not launched yet", reason="NOT_LAUNCHED")
        if one is None or active is None or not active.may_write or request.attempt not in (0, active.attempt):
            asked = f"attempt {request.attempt}" if request.attempt else "the last attempt"
            raise FailedPrecondition(f"{asked} of {request.name} is over", reason="STALE_ATTEMPT")
        if not request.attempt and (active.process is not None or active.running_ranks):
            raise FailedPrecondition(
                f"attempt {active.attempt} of {request.name} has a process already; begin the next one",
                reason="ATTEMPT_RUNNING",
            )
        launch, credentials = await self._told(view, one, active)
        return api.TakeUpAttemptResponse(launch=launch, nats_credentials=credentials)

    async def BeginAttempt(self, request: api.BeginAttemptRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        _check_begin(request)
        view, number = self._external(request.name)
        self._check_owner(view, "BeginAttempt", request.name)
        if view.state.deleting or number not in view.trials:
            raise NotFound(f"{request.name} is deleted", reason="RUNTIME_DELETED")
        one = view.trials[number]
        behind = Cause(current_caller().actor, f"request:{request.request_id}", observability.current_traceparent())
        await self._continuing.begin(view, one, request, behind)
        active = one.state.active
        if active is None or not active.may_write:
            raise FailedPrecondition(f"attempt {one.state.attempt} of {request.name} is over", reason="STALE_ATTEMPT")
        launch, credentials = await self._told(view, one, active)
        return api.BeginAttemptResponse(launch=launch, nats_credentials=credentials)

    async def _told(self, view: RuntimeView, one: TrialView, active: trial.Active) -> tuple[AttemptLaunch, str]:
        """Return what an attempt is told, and its credentials."""
        key = AttemptKey(view.runtime_id, one.number, active.attempt)
        launch = await self._launches.launch(view, one)
        log.info("attempt.taken_up", extra={"attempt": str(key), "peer": current_caller().peer})
        return launch, self._credentials(key) or ""

    def _external(self, name: str) -> tuple[RuntimeView, int]:
        """Find a trial whose attempts are run by others. Raises InvalidArgument, NotFound, FailedPrecondition."""
        runtime_id, number = names.parse_trial(name)
        view = self._views.runtimes.get(runtime_id)
        if view is None or view.state.configuration is None or number > max(1, view.state.trial_count):
            raise NotFound(f"{name} does not exist")
        if view.state.configuration.launcher != config.LAUNCHER_EXTERNAL:
            raise FailedPrecondition(f"attempts of {name} are launched by Milepost", reason="NOT_EXTERNAL")
        return view, number

    def _check_owner(self, view: RuntimeView, operation: str, name: str) -> None:
        """Note who asks. Raises PermissionDenied: it is neither who started the runtime nor an admin."""
        caller = current_caller()
        result = Result.ALLOWED if may_write(view) else Result.PERMISSION_DENIED
        self._observer.observe(Observation(result, caller.actor, f"{NAME}/{operation}", name, caller.peer))
        check_owner(view)

    def _find(self, key: AttemptKey) -> tuple[RuntimeView, TrialView]:
        view = self._views.runtimes.get(key.runtime_id)
        one = view.trials.get(key.trial) if view is not None else None
        if view is None or one is None or one.state.attempt < key.attempt:
            raise Unavailable("this replica has not read of the attempt yet", reason="READ_MODEL_BEHIND")
        active = one.state.active
        if active is None or active.attempt != key.attempt or not active.may_write:
            raise FailedPrecondition(f"attempt {key.attempt} is over", reason="STALE_ATTEMPT")
        return view, one


def _key_of_caller() -> AttemptKey:
    """Say which attempt the ticket of the caller is for. Raises PermissionDenied: it is no ticket."""
    identity = current_caller().identity
    if identity.role is not Role.LAUNCH:
        raise PermissionDenied("only a job with the ticket of its launch may claim it", reason="TICKET_MISSING")
    runtime_id, trial, attempt = identity.token_id.split("/")
    return AttemptKey(runtime_id, int(trial), int(attempt))


def _check(request: api.ClaimLaunchRequest) -> None:
    violations = []
    if _CLAIM.fullmatch(request.claim_id) is None:
        violations.append(Violation("claim_id", "must be 16 to 64 letters and digits"))
    if len(request.host) > MAX_HOST_CHARACTERS or not request.host.isprintable():
        violations.append(Violation("host", f"must be printable text of at most {MAX_HOST_CHARACTERS} characters"))
    if violations:
        raise InvalidArgument(violations)


def _check_begin(request: api.BeginAttemptRequest) -> None:
    violations = []
    for name, value, longest in (
        ("request_id", request.request_id, MAX_CHARACTERS),
        ("dead_detail", request.dead_detail, MAX_DETAIL),
        ("process.host", request.process.host, MAX_HOST_CHARACTERS),
    ):
        if len(value) > longest or not value.isprintable():
            violations.append(Violation(name, f"must be printable text of at most {longest:,} characters"))
    if not request.request_id:
        violations.append(Violation("request_id", "is required"))
    if not request.process.host or request.process.process_id <= 0:
        violations.append(Violation("process", "must name the host and the id of the process that asks"))
    if request.dead_attempt < 0:
        violations.append(Violation("dead_attempt", "must not be negative"))
    if request.appends:
        begun = {"step": request.HasField("step"), "snapshot_id": request.snapshot_id}
        begun["rejected_snapshot_ids"] = bool(request.rejected_snapshot_ids)
        violations += [Violation(name, "cannot be given with appends") for name, given in begun.items() if given]
    for name in ("step", "total_steps"):
        if not 0 <= getattr(request, name) <= MAX_NUMBER:
            violations.append(Violation(name, f"must be from 0 to {MAX_NUMBER}"))
    if violations:
        raise InvalidArgument(violations)
