"""RPCs that make a runtime: start, clone and branch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc.aio

from milepost import configuration as configurations
from milepost import ids, names
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.configuration import Plain
from milepost.domain import runtime, trial
from milepost.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Violation
from milepost.rules.of_runs import with_rules_checked
from milepost.security.redaction import Redactor
from services.access.authentication import current_caller
from services.runtime.commands import branching
from services.runtime.commands.base import RuntimeCommands, behind, parse_changes
from services.runtime.commands.preflight import declared_parameters, more_violations
from services.runtime.commands.request_ids import check as check_request_id
from services.runtime.decisions import Cause
from services.runtime.readmodel.messages import runtime_message
from services.runtime.readmodel.view import RuntimeView, configuration_of
from services.runtime.scheduling.scheduler import create_commands
from services.runtime.snapshots import Place

# Trials that are created together with their runtime; the scheduler creates the others.
CREATED_WITH_RUNTIME = 500


class StartCommands(RuntimeCommands):
    """Start, clone, branch."""

    async def StartRuntime(
        self, request: api.StartRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.StartRuntimeResponse:
        async with self._charging(request.validate_only):
            check_request_id(request.request_id)
            text, configuration = await self._preflight.read(_asked_for, request)
            if request.runtime_id and not ids.is_runtime_id(request.runtime_id):
                raise InvalidArgument([Violation("runtime_id", "must be rt- and 26 characters of base32 (0-9, a-v)")])
            await self._preflight.check(configuration)
        if request.validate_only:
            return api.StartRuntimeResponse(runtime=_dry(configuration), sequence=self._views.sequence)
        view = await self._start(request, request.runtime_id, text, configuration, "")
        return api.StartRuntimeResponse(runtime=runtime_message(view), sequence=view.sequence)

    async def CloneRuntime(
        self, request: api.CloneRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.CloneRuntimeResponse:
        old = self._known(names.parse_runtime(request.name), show_deleted=True)
        async with self._charging(request.validate_only):
            check_request_id(request.request_id)
            text, configuration = await self._preflight.read(_changed, configuration_of(old), request)
            await self._preflight.check(configuration)
        if request.validate_only:
            return api.CloneRuntimeResponse(runtime=_dry(configuration))
        view = await self._start(request, "", text, configuration, old.runtime_id)
        return api.CloneRuntimeResponse(runtime=runtime_message(view))

    async def BranchTrial(
        self, request: api.BranchTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.BranchTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        old = self._known_trial(runtime_id, number)
        one = old.trials[number]
        async with self._charging(request.validate_only):
            check_request_id(request.request_id)
            branching.checked(request)
            done = await self._requests.known(request, current_caller().actor)
            if done is not None and done.done is not None:
                # The snapshot may be gone by now, and the answer is the same.
                view = self._known(done.runtime_id, show_deleted=True)
                return api.BranchTrialResponse(runtime=runtime_message(view), sequence=view.sequence)
            branching.check_restartable(configuration_of(old))
            record = branching.find_snapshot(old, one, request)
            wanted = await self._preflight.read(branching.read_branch, old, one, record, request, declared_parameters)
            problem = await self._storage.verify(configuration_of(old), Place.of(runtime_id, number, record))
            if problem:
                raise FailedPrecondition(f"the snapshot cannot be branched: {problem}", reason="SNAPSHOT_INVALID")
            await self._preflight.check(wanted.configuration)
        if request.validate_only:
            dry = _dry(wanted.configuration)
            dry.branch.CopyFrom(wanted.branch)
            return api.BranchTrialResponse(runtime=dry, sequence=self._views.sequence)
        view = await self._start(request, "", wanted.text, wanted.configuration, "", wanted.branch)
        return api.BranchTrialResponse(runtime=runtime_message(view), sequence=view.sequence)

    async def _start(
        self,
        request: Any,
        wanted_id: str,
        text: str,
        configuration: RuntimeConfiguration,
        cloned_from: str,
        branch: runtime_facts.Branch | None = None,
    ) -> RuntimeView:
        self._check_quota()
        command = runtime.RequestRuntime(
            runtime_id="",
            configuration_text=text,
            configuration=configuration,
            configuration_digest=configurations.digest(configuration),
            trial_count=configurations.trial_count(configuration),
            request_id=request.request_id,
            cloned_from=cloned_from,
            branch=branch,
        )

        process = (
            request.process if isinstance(request, api.StartRuntimeRequest) and request.HasField("process") else None
        )

        async def act(runtime_id: str) -> int:
            return await self._request(runtime_id, command, behind(request), process)

        done = await self._requests.once(request, current_caller().actor, wanted_id or ids.new_runtime_id(), act)
        return self._known(done.runtime_id, show_deleted=True)

    async def _request(
        self,
        runtime_id: str,
        command: runtime.RequestRuntime,
        behind: Cause,
        process: common.ProcessIdentity | None,
    ) -> int:
        configuration = command.configuration
        known = self._views.runtimes.get(runtime_id)
        if known is not None and known.state.exists:
            # Its trials may exist already; what is missing the scheduler creates.
            decided = await self._decisions.decide(
                runtime_id, {None: [replace(command, runtime_id=runtime_id)]}, behind
            )
            return decided.sequence or known.sequence
        # Those that a sampler chooses come one by one.
        first = 0 if configurations.has_sampler(configuration) else min(command.trial_count, CREATED_WITH_RUNTIME)
        numbers = tuple(range(1, first + 1))
        commands: dict[int | None, list[object]] = {None: [replace(command, runtime_id=runtime_id)]}
        commands |= create_commands(runtime_id, configuration, numbers, command.branch)
        if configuration.launcher == config.LAUNCHER_EXTERNAL:
            # Its process runs already: it gets its attempt with the answer.
            commands[None].append(runtime.AllocateResources(runtime.Allocation(0.0, 0.0, (), "", 0.0)))
            commands[1].append(trial.LaunchAttempt(1, None, process=process, request_id=command.request_id))
        wanted: dict[str, dict[int | None, list[object]]] = {runtime_id: commands}
        if command.branch is not None:
            # One decision: no branch without its snapshot kept, and none kept for a branch that never came to be.
            at = command.branch.origin
            hold = trial.HoldSnapshot(at.snapshot_id, runtime_id)
            wanted = {at.runtime_id: {at.trial: [hold]}, **wanted}
        return (await self._decisions.decide_together(wanted, behind)).sequence

    def _check_quota(self) -> None:
        caller = current_caller()
        mine = self._views.count_active(caller.actor)
        if mine >= caller.max_active_runtimes:
            raise ResourceExhausted(
                f"{caller.actor} has {mine} active runtimes, the most it may have", reason="RUNTIME_QUOTA"
            )


def _given(request: api.StartRuntimeRequest) -> tuple[str, RuntimeConfiguration]:
    """Return the configuration as given, as text, and as resolved."""
    match request.WhichOneof("source"):
        case "configuration_text":
            plain = configurations.parse_text(request.configuration_text)
            with _naming_files(plain):
                return request.configuration_text, with_rules_checked(configurations.resolve(plain))
        case "configuration":
            with _naming_files(configurations.given_plain(request.configuration, [])):
                configuration = with_rules_checked(configurations.resolve_message(request.configuration))
            return configurations.canonical_json(configuration), configuration
        case _:
            raise InvalidArgument([Violation("configuration_text", "is required, or configuration")])


@contextmanager
def _naming_files(plain: Plain) -> Iterator[None]:
    """Have what is refused in a block told with every mistake at once, those in the code's files too."""
    try:
        yield
    except InvalidArgument as error:
        said = {violation.field for violation in error.violations}
        more = [violation for violation in more_violations(plain) if violation.field not in said]
        raise InvalidArgument([*error.violations, *more]) from error


def _asked_for(request: api.StartRuntimeRequest) -> tuple[str, RuntimeConfiguration]:
    """Return text and configuration of a start as they may be recorded. Raises InvalidArgument."""
    text, configuration = _given(request)
    with _naming_files(configurations.to_plain(configuration)):
        return _without_secrets(text, configuration)


def _changed(old: RuntimeConfiguration, request: api.CloneRuntimeRequest) -> tuple[str, RuntimeConfiguration]:
    """Return text and configuration of a clone as they may be recorded. Raises InvalidArgument."""
    plain = configurations.to_plain(old)
    if request.display_name:
        plain["name"] = request.display_name
    if request.configuration_changes_text:
        plain = configurations.merge(plain, parse_changes(request.configuration_changes_text))
    with _naming_files(plain):
        configuration = with_rules_checked(configurations.resolve(plain))
        return _without_secrets(configurations.canonical_json(configuration), configuration)


def _without_secrets(text: str, configuration: RuntimeConfiguration) -> tuple[str, RuntimeConfiguration]:
    """Return text and configuration as they may be recorded.

    Raises:
        InvalidArgument: something in it looks like a secret, and the training code would need it.
    """
    if configuration.launcher != config.LAUNCHER_EXTERNAL:
        violations = configurations.secret_violations(configuration)
        if violations:
            raise InvalidArgument(violations)
        told = configurations.comments_are_secret(text, configuration)
        return (configurations.canonical_json(configuration) if told else text), configuration
    redactor = Redactor(configuration.not_secret)
    left = configurations.redact(configuration, redactor)
    told = bool(redactor.found) or configurations.comments_are_secret(text, left)
    return (configurations.canonical_json(left), left) if told else (text, configuration)


def _dry(configuration: RuntimeConfiguration) -> api.Runtime:
    """Answer a request that is only to be judged."""
    return api.Runtime(
        display_name=configuration.name,
        configuration=configuration,
        configuration_digest=configurations.digest(configuration),
        resolved_text=configurations.to_text(configuration),
        trial_count=configurations.trial_count(configuration),
        left_out_trial_count=configurations.left_out(configuration),
    )
