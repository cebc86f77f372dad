"""RPCs to a trial that runs: take a snapshot, evaluate, record stacks, steer; and pins."""

from __future__ import annotations

import grpc.aio

from milepost import names
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import steering, trial
from milepost.errors import InvalidArgument, Violation
from milepost.security.redaction import Redactor
from services.access.authentication import current_caller
from services.runtime.commands import branching
from services.runtime.commands.base import RuntimeCommands, checked_reason
from services.runtime.commands.request_ids import check as check_request_id
from services.runtime.readmodel.messages import runtime_message


class TrialCommands(RuntimeCommands):
    """What is asked of one trial while it goes on."""

    async def SnapshotTrial(
        self, request: api.SnapshotTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.SnapshotTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        command = trial.RequestSnapshot(checked_reason(request.reason), request.request_id)
        await self._decide_once(request, runtime_id, {number: [command]})
        return api.SnapshotTrialResponse(runtime=runtime_message(view))

    async def EvaluateTrial(
        self, request: api.EvaluateTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.EvaluateTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        command = trial.RequestEvaluation(checked_reason(request.reason), request.request_id)
        await self._decide_once(request, runtime_id, {number: [command]})
        return api.EvaluateTrialResponse(runtime=runtime_message(view))

    async def RecordStacks(
        self, request: api.RecordStacksRequest, context: grpc.aio.ServicerContext
    ) -> api.RecordStacksResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        command = trial.RequestStacks(checked_reason(request.reason), request.request_id)
        known = await self._decide_once(request, runtime_id, {number: [command]})
        active = view.trials[number].state.active
        return api.RecordStacksResponse(
            runtime=runtime_message(view),
            ranks=sorted(active.running_ranks) if active is not None else (),
            after_sequence=known.done or 0,
        )

    async def SteerTrial(
        self, request: api.SteerTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.SteerTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        one, actor = view.trials[number], current_caller().actor
        async with self._charging(request.validate_only):
            check_request_id(request.request_id)
            command = trial.SteerTrial(
                _steered_values(request), actor, checked_reason(request.reason), request.request_id
            )
            if request.validate_only:
                trial.decide(one.state, command)
                return api.SteerTrialResponse(runtime=runtime_message(view))
        await self._decide_once(request, runtime_id, {number: [command]})
        return api.SteerTrialResponse(
            runtime=runtime_message(view), number=one.state.steering.number_of(request.request_id)
        )

    async def PinSnapshot(
        self, request: api.PinSnapshotRequest, context: grpc.aio.ServicerContext
    ) -> api.PinSnapshotResponse:
        return api.PinSnapshotResponse(snapshot=await self._change_pin(request, trial.PinSnapshot))

    async def UnpinSnapshot(
        self, request: api.UnpinSnapshotRequest, context: grpc.aio.ServicerContext
    ) -> api.UnpinSnapshotResponse:
        return api.UnpinSnapshotResponse(snapshot=await self._change_pin(request, trial.UnpinSnapshot))

    async def _change_pin(
        self,
        request: api.PinSnapshotRequest | api.UnpinSnapshotRequest,
        command: type[trial.PinSnapshot | trial.UnpinSnapshot],
    ) -> api.Snapshot:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        violations = branching.place_violations(request)
        if violations:
            raise InvalidArgument(violations)
        record = branching.find_snapshot(view, view.trials[number], request)
        change = command(record.snapshot_id, checked_reason(request.reason))
        await self._decide_once(request, runtime_id, {number: [change]})
        return view.trials[number].snapshots[record.snapshot_id]


def _steered_values(request: api.SteerTrialRequest) -> dict[str, object]:
    """Read the new values, whatever they are; whether they may be that the decider says.

    Raises:
        InvalidArgument: there are none, too many, or something in them looks like a secret.
    """
    values = branching.read_mapping(request.parameters_text, "parameters_text")
    if not 1 <= len(values) <= steering.MAX_STEERABLES:
        description = f"must give 1 to {steering.MAX_STEERABLES} values by name, such as learning_rate: 0.0001"
        raise InvalidArgument([Violation("parameters_text", description)])
    redactor = Redactor()
    redactor.scalars({name: steering.shown(value) for name, value in values.items()})
    if redactor.found:
        raise InvalidArgument([Violation("parameters_text", redactor.said)])
    return values
