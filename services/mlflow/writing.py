"""Who may write to which run, and how one that has ended is written to again."""

from __future__ import annotations

from typing import Any

import grpc

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.training.v1 import launch_service_pb2 as launch_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.errors import FailedPrecondition, PermissionDenied, Unavailable
from milepost.ids import new_event_id
from milepost.names import trial_name
from milepost.security.tokens import Role
from milepost.training.process.process_identity import own_identity
from services.access import authentication as identity
from services.access.authentication import Observation, Observer, Result
from services.mlflow.catalog import Catalog
from services.mlflow.recorder import OUTCOMES, STOPPED, Opening, OpenRun, Recorder
from services.mlflow.runs import CALL_SECONDS, FAILED, Caller, RunReader

_WRITERS = frozenset({Role.OPERATOR, Role.ADMIN, Role.LOCAL})
# Who may write to the runs of others.
_OWNERS_OF_ALL = frozenset({Role.ADMIN, Role.LOCAL})


class Writing:
    """Opens runs for those who may write to them."""

    def __init__(
        self, services: Caller, recorder: Recorder, reader: RunReader, catalog: Catalog, observer: Observer
    ) -> None:
        self._services = services
        self._recorder = recorder
        self._reader = reader
        self._catalog = catalog
        self._observer = observer

    def check_writer(self, caller: identity.Caller, what: str) -> None:
        """Refuse who may not start runs. What operators start and stop is on record with the services.

        Raises:
            PermissionDenied.
        """
        if caller.role in _WRITERS:
            return
        self._observe(Result.PERMISSION_DENIED, caller, what)
        raise PermissionDenied(f"{caller.actor} has the role {caller.role}, this needs operator")

    def check_owner(self, runtime_id: str, owner: str, caller: identity.Caller, what: str) -> None:
        """Let write who has started a run, and admins; note who asks.

        Raises:
            PermissionDenied: it is neither.
        """
        allowed = caller.role in _OWNERS_OF_ALL or caller.actor == owner
        result = Result.ALLOWED if allowed else Result.PERMISSION_DENIED
        self._observe(result, caller, what, f"runtimes/{runtime_id}")
        if not allowed:
            raise PermissionDenied(
                f"{caller.actor} did not start this run; who did, or an admin, may write to it",
                reason="NOT_THE_OWNER",
            )

    def _observe(self, result: Result, caller: identity.Caller, what: str, resource: str = "") -> None:
        self._observer.observe(Observation(result, caller.actor, f"/mlflow/{what}", resource, caller.peer))

    async def open(self, runtime_id: str, caller: identity.Caller, what: str, goes_on: bool = False) -> OpenRun:
        """Return a run that may be written to, one that had ended too. `goes_on`: it is to run again.

        Raises:
            InvalidArgument: it is deleted.
            NotFound, PermissionDenied, FailedPrecondition, Unavailable.
        """
        async with self._recorder.turn(runtime_id):
            run = self._recorder.find(runtime_id)
            if run is None or run.ended:
                run = await self._open_again(runtime_id, caller, run, goes_on)
            self._catalog.check_active(runtime_id, run.opening.experiment)
            run.touch()
            if run.forgetful:
                await run.load()
            if caller.actor not in run.writers:
                owner = run.opening.owner
                if not owner and caller.role not in _OWNERS_OF_ALL:
                    # A run that was begun by an earlier version is not known by its owner here.
                    owner = (await self._reader.read(runtime_id, with_data=False)).owner
                self.check_owner(runtime_id, owner, caller, what)
                run.writers.add(caller.actor)
            await run.beat()
            return run

    async def _open_again(
        self, runtime_id: str, caller: identity.Caller, run: OpenRun | None, goes_on: bool
    ) -> OpenRun:
        """Have a new attempt begun of a run that has ended: what is added to it takes nothing away."""
        if run is not None:
            await run.settle()
        # Raises NotFound where there is none at all.
        known = await self._reader.read(runtime_id, with_data=False)
        self._catalog.check_active(runtime_id, known.experiment_id)
        trial = trial_name(runtime_id, 1)
        last = (await self._call("TrialService.ListAttempts", trial_api.ListAttemptsRequest(parent=trial))).attempts[-1]
        if not last.HasField("end_time"):
            raise FailedPrecondition(f"the run is {known.status}, and not recorded here")
        if last.detail.startswith(STOPPED) and not goes_on:
            raise FailedPrecondition("the run was stopped in Milepost: mlflow.start_run(run_id=...) goes on with it")
        opening = Opening(
            attempt=last.attempt + 1,
            owner=known.owner,
            actor=caller.actor,
            experiment=known.experiment_id,
            ended_as="" if goes_on else _status_of(last, known.status),
            ended_ms=0 if goes_on else known.end_ms,
            started_ms=known.start_ms,
            step=last.last_step,
            numbers=await self._last_numbers(trial, run),
        )
        await self._recorder.leave(runtime_id)
        first = first_facts(opening.attempt, known.user, last.last_step)
        self._recorder.prepare(runtime_id, opening, first, opening.ended_ms or None)
        request = launch_api.BeginAttemptRequest(
            name=trial, request_id=new_event_id(), process=own_identity(), appends=True
        )
        try:
            begun = (await self._call("LaunchService.BeginAttempt", request)).launch.attempt
        except grpc.aio.AioRpcError:
            self._recorder.discard(runtime_id)
            raise
        if begun != opening.attempt:
            self._recorder.discard(runtime_id)
            raise Unavailable("the run was begun again by somebody else at the same time")
        run = self._recorder.open(runtime_id, opening)
        run.forgetful = True
        return run

    async def _last_numbers(self, trial: str, run: OpenRun | None) -> dict[str, int]:
        """Return the numbers of the last batches that were sent of a run."""
        answer = await self._call("MetricService.GetCompleteness", metric_api.GetCompletenessRequest(parent=trial))
        numbers = run.last_numbers() if run is not None else {}
        for sender in answer.senders:
            if (sender.attempt, sender.source) == (1, "rank-0"):
                sent = max(sender.sent_batches, sender.written_batches)
                numbers[sender.kind] = max(numbers.get(sender.kind, 0), sent)
        return numbers

    async def remember(self, run: OpenRun) -> None:
        """Know the points that a run has, so that those which come again are passed over."""
        if run.forgetful:
            run.remember(await self._reader.history(run.key.runtime_id))
            run.forgetful = False

    async def _call(self, rpc: str, request: Any) -> Any:
        return await self._services.call(rpc, request, CALL_SECONDS)


def first_facts(attempt: int, user: str, step: int = 0) -> list[Any]:
    """Return what an attempt of a run begins with."""
    return [
        facts.InstanceStarted(attempt=attempt, host=user, software="MLflow client"),
        facts.InstanceReadinessChanged(attempt=attempt, ready=True, reason="the client logs"),
        facts.AttemptStarted(attempt=attempt, world_size=1, restored_step=step),
    ]


def _status_of(last: trial_api.Attempt, status: str) -> str:
    """Return what a run is called whose end may not be concluded yet."""
    if status in OUTCOMES:
        return status
    return next((word for word, (_, cause, _) in OUTCOMES.items() if cause == last.cause), FAILED)
