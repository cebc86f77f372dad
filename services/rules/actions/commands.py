"""Makes a command of an action, gives it to the runtime service in the owner's name, and says what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from milepost import configuration as configurations
from milepost.api.config.v1 import rule_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.runtime.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from milepost.domain.firings import RecordAction
from milepost.errors import InvalidArgument, PermissionDenied, Unavailable, Violation
from milepost.names import trial_name
from milepost.security.terminal import one_line
from services.access.authentication import BECAUSE_OF, ON_BEHALF_OF
from services.edge.problems import Problem, from_rpc_error
from services.rpc.telemetry import trace_metadata
from services.rules.actions.backlog import Due

CALL_SECONDS = 30.0
# It reads snapshots.
ROLL_BACK_SECONDS = 120.0
DEFAULT_ROLL_BACKS = 3
MAX_TEXT = 1_000
# The service is away, is busy, or lost against others: the same again may be accepted.
_AGAIN = frozenset(
    code.name
    for code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    )
)
# Refusals that are over by themselves.
_PASSING_REASONS = frozenset({"RUNTIME_TERMINATING"})
# Refusals among those that are tried again which are not over by themselves.
_LASTING_REASONS = frozenset({"INFEASIBLE_RESOURCES"})

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one try ended."""

    taken: bool
    # What the command came to, or why it did not. At most 1,000 characters, one line.
    detail: str
    # Of a refusal. Empty: it has none.
    reason: str = ""
    # The same again would be refused again.
    final: bool = False
    # Name of the run that was started.
    runtime: str = ""


class Commands:
    """Asks the runtime service, as the rule service and in the name of others."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        self._runtimes = RuntimeServiceStub(channel)
        self._metadata = metadata

    async def carry_out(self, due: Due) -> Outcome:
        """Try once. Raises nothing that the service can bring about."""
        try:
            return await _CARRY_OUT[due.kind](self, due)
        except grpc.aio.AioRpcError as error:
            return _refused(from_rpc_error(error))

    async def resolve(self, start: config.Start, owner: str, place: str) -> api.Runtime:
        """Read the configuration of runs that a rule is to start, and have it judged as if the owner started one.

        Returns what the run would be.

        Args:
            place: the field of the rule, for violations.

        Raises:
            InvalidArgument: it is no valid configuration, or there is no such run.
            PermissionDenied: the owner may not start any.
            Unavailable: the runtime service does not answer.
        """
        request = api.StartRuntimeRequest(validate_only=True)
        try:
            if start.WhichOneof("template") == "runtime":
                read = api.GetRuntimeRequest(name=start.runtime)
                metadata = self._metadata + trace_metadata()
                found = await self._runtimes.GetRuntime(read, timeout=CALL_SECONDS, metadata=metadata)
                request.configuration.CopyFrom(found.runtime.configuration)
            else:
                request.configuration_text = start.configuration_text
            answer = await self._runtimes.StartRuntime(
                request, timeout=CALL_SECONDS, metadata=self._in_name_of(owner, "")
            )
        except grpc.aio.AioRpcError as error:
            problem = from_rpc_error(error)
            if problem.code == "PERMISSION_DENIED":
                raise PermissionDenied(f"{place}: {problem.detail}", reason=problem.reason) from error
            if problem.code in _AGAIN and problem.reason not in _LASTING_REASONS:
                raise Unavailable(f"the runtime service did not judge {place}: {problem.detail}") from error
            wrong = [Violation(f"{place}.{v.field}", v.description) for v in problem.violations]
            raise InvalidArgument(wrong or [Violation(place, problem.detail)]) from error
        judged: api.Runtime = answer.runtime
        return judged

    def _in_name_of(self, owner: str, cause: str) -> Metadata:
        because = ((BECAUSE_OF, cause),) if cause else ()
        return (*self._metadata, (ON_BEHALF_OF, owner), *because, *trace_metadata())

    def _shown(self, due: Due) -> Metadata:
        return self._in_name_of(due.owner, due.cause)

    # --- one for each kind

    async def _label(self, due: Due) -> Outcome:
        label = due.action.label
        request = api.LabelRuntimeRequest(
            name=f"runtimes/{due.runtime_id}", labels=label.set, removed_labels=label.remove, request_id=due.id
        )
        await self._runtimes.LabelRuntime(request, timeout=CALL_SECONDS, metadata=self._shown(due))
        said = [f"{key}={text}" for key, text in sorted(label.set.items())]
        return _taken(f"labelled {', '.join([*said, *(f'no {key}' for key in label.remove)])}")

    async def _snapshot(self, due: Due) -> Outcome:
        if not due.fired.trial:
            return _no_trial("have a snapshot taken")
        request = api.SnapshotTrialRequest(name=_trial(due), reason=_why(due), request_id=due.id)
        await self._runtimes.SnapshotTrial(request, timeout=CALL_SECONDS, metadata=self._shown(due))
        return _taken(f"asked trial {due.fired.trial} for a snapshot")

    async def _stop(self, due: Due) -> Outcome:
        mode = common.STOP_MODE_GRACEFUL
        if due.fired.trial:
            one = api.StopTrialRequest(name=_trial(due), mode=mode, reason=_why(due), request_id=due.id)
            await self._runtimes.StopTrial(one, timeout=CALL_SECONDS, metadata=self._shown(due))
            return _taken(f"asked trial {due.fired.trial} to stop")
        name = f"runtimes/{due.runtime_id}"
        whole = api.StopRuntimeRequest(name=name, mode=mode, reason=_why(due), request_id=due.id)
        await self._runtimes.StopRuntime(whole, timeout=CALL_SECONDS, metadata=self._shown(due))
        return _taken("asked the run to stop")

    async def _start(self, due: Due) -> Outcome:
        start = due.action.start
        text = start.configuration_text or start.resolved_text
        request = api.StartRuntimeRequest(request_id=due.id, configuration_text=text)
        answer = await self._runtimes.StartRuntime(request, timeout=CALL_SECONDS, metadata=self._shown(due))
        name = answer.runtime.name
        return Outcome(True, f"started {name.removeprefix('runtimes/')}", runtime=name)

    async def _roll_back(self, due: Due) -> Outcome:
        fired, back = due.fired, due.action.roll_back
        onset = fired.onset_step or fired.step
        if not fired.trial:
            return _no_trial("be rolled back")
        if onset < 1:
            return Outcome(False, "the firing is at no step, so there is none to go back behind", "NO_STEP", final=True)
        request = api.RollBackTrialRequest(
            name=_trial(due), before_step=onset, margin_steps=back.margin_steps, attempt=fired.attempt,
            parameters_text=parameters_text(back), factors=back.factors, skip_batches=back.skip_batches,
            max_times=back.max_times or DEFAULT_ROLL_BACKS, reason=_why(due), request_id=due.id,
        )  # fmt: skip
        answer = await self._runtimes.RollBackTrial(request, timeout=ROLL_BACK_SECONDS, metadata=self._shown(due))
        return _taken(f"rolled trial {fired.trial} back to the snapshot at step {answer.snapshot_step:,}")


_CARRY_OUT: dict[str, Callable[[Commands, Due], Awaitable[Outcome]]] = {
    "label": Commands._label,
    "snapshot": Commands._snapshot,
    "stop": Commands._stop,
    "start": Commands._start,
    "roll_back": Commands._roll_back,
}
KINDS = frozenset(_CARRY_OUT)


def parameters_text(back: config.RollBack) -> str:
    """Write the parameters of a roll back as a text that a request takes."""
    return "\n".join(f"{configurations.scalar_text(name)}: {text}" for name, text in sorted(back.parameters.items()))


def recorded(due: Due, outcome: Outcome, tries: int) -> RecordAction:
    """Return what is recorded of an action that is not tried any more."""
    fact = facts.ActionTaken(runtime=outcome.runtime) if outcome.taken else facts.ActionFailed(reason=outcome.reason)
    fact.action_id, fact.firing_id, fact.rule_id = due.id, due.fired.firing_id, due.fired.rule_id
    fact.number, fact.kind, fact.trial, fact.owner = due.number, due.kind, due.fired.trial, due.owner
    fact.attempt_count, fact.detail = tries, outcome.detail
    return RecordAction(fact)


def _trial(due: Due) -> str:
    return trial_name(due.runtime_id, due.fired.trial)


def _why(due: Due) -> str:
    return one_line(f"rule {due.fired.rule_name or due.fired.rule_id}: {due.fired.message}")[:MAX_TEXT]


def _taken(detail: str) -> Outcome:
    return Outcome(True, one_line(detail)[:MAX_TEXT])


def _no_trial(what: str) -> Outcome:
    return Outcome(False, f"the firing is about no trial that could {what}", "NO_TRIAL", final=True)


def _refused(problem: Problem) -> Outcome:
    again = problem.code in _AGAIN and problem.reason not in _LASTING_REASONS
    final = not (again or problem.reason in _PASSING_REASONS)
    wrong = "; ".join(f"{v.field}: {v.description}" for v in problem.violations)
    return Outcome(False, one_line(wrong or problem.detail)[:MAX_TEXT], problem.reason, final=final)
