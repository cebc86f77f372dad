"""The LaunchService: hands the launch of an attempt to whoever runs it: a job of a cluster, or a script."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import grpc.aio

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.training.v1 import launch_service_pb2 as api
from milepost.api.training.v1 import launch_service_pb2_grpc
from milepost.domain import runtime
from milepost.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable, Violation
from milepost.tokens import Role
from services.authentication import Observation, Observer, Result, current_caller
from services.runtime.claims import Claims
from services.runtime.launchers import AttemptKey
from services.runtime.launching import Launches
from services.runtime.owners import check_owner, may_write
from services.runtime.views import RuntimeView, TrialView, Views

log = logging.getLogger(__name__)

NAME = api.DESCRIPTOR.services_by_name["LaunchService"].full_name
_TRIAL = re.compile(r"runtimes/(rt-[a-z0-9]+)/trials/([1-9][0-9]{0,8})")
_CLAIM = re.compile(r"[A-Za-z0-9]{16,64}")
MAXIMUM_HOST_CHARACTERS = 253


class LaunchService(launch_service_pb2_grpc.LaunchServiceServicer):
    """Any replica answers: what an attempt is told follows from the log."""

    def __init__(
        self,
        views: Views,
        launches: Launches,
        claims: Claims,
        credentials: Callable[[AttemptKey], str | None],
        observer: Observer,
    ) -> None:
        self._views = views
        self._launches = launches
        self._claims = claims
        self._credentials = credentials
        self._observer = observer

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
        view, number = self._external(request)
        self._check_owner(view, request.name)
        one = view.trials.get(number)
        active = one.state.active if one is not None else None
        if view.state.phase is not runtime.Phase.ENDED and (active is None or active.attempt < request.attempt):
            raise Unavailable("the attempt is not launched yet", reason="NOT_LAUNCHED")
        if one is None or active is None or not active.may_write or request.attempt not in (0, active.attempt):
            asked = f"attempt {request.attempt}" if request.attempt else "the last attempt"
            raise FailedPrecondition(f"{asked} of {request.name} is over", reason="STALE_ATTEMPT")
        key = AttemptKey(view.runtime_id, number, active.attempt)
        launch = await self._launches.launch(view, one)
        log.info("attempt.taken_up", extra={"attempt": str(key), "peer": current_caller().peer})
        return api.TakeUpAttemptResponse(launch=launch, nats_credentials=self._credentials(key) or "")

    def _external(self, request: api.TakeUpAttemptRequest) -> tuple[RuntimeView, int]:
        """Find a trial whose attempts are run by others. Raises InvalidArgument, NotFound, FailedPrecondition."""
        parts = _TRIAL.fullmatch(request.name)
        if parts is None:
            raise InvalidArgument([Violation("name", "must be runtimes/{runtime}/trials/{trial}")])
        if request.attempt < 0:
            raise InvalidArgument([Violation("attempt", "must not be negative")])
        view, number = self._views.runtimes.get(parts[1]), int(parts[2])
        if view is None or view.state.configuration is None or number > max(1, view.state.trial_count):
            raise NotFound(f"{request.name} does not exist")
        if view.state.configuration.launcher != config.LAUNCHER_EXTERNAL:
            raise FailedPrecondition(f"attempts of {request.name} are launched by Milepost", reason="NOT_EXTERNAL")
        return view, number

    def _check_owner(self, view: RuntimeView, name: str) -> None:
        """Note who asks. Raises PermissionDenied: it is neither who started the runtime nor an admin."""
        caller = current_caller()
        result = Result.ALLOWED if may_write(view) else Result.PERMISSION_DENIED
        self._observer.observe(Observation(result, caller.actor, f"{NAME}/TakeUpAttempt", name, caller.peer))
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
    if len(request.host) > MAXIMUM_HOST_CHARACTERS or not request.host.isprintable():
        violations.append(Violation("host", f"must be printable text of at most {MAXIMUM_HOST_CHARACTERS} characters"))
    if violations:
        raise InvalidArgument(violations)
