"""RuntimeService: translates requests into commands and views into answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from milepost import configuration as configurations
from milepost import ids, names
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.configuration import Plain
from milepost.domain import runtime, trial
from milepost.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    MilepostError,
    NotFound,
    ResourceExhausted,
    Violation,
)
from milepost.installation import observability
from milepost.rules.of_runs import with_rules_checked
from milepost.security.redaction import Redactor
from services.access.authentication import COMMAND_RATE, current_caller
from services.rpc.limits import RateLimiter
from services.runtime.commands import branching, roll_backs, steers
from services.runtime.commands.ownership import check_owner
from services.runtime.commands.preflight import Preflight, declared_parameters, more_violations
from services.runtime.commands.previews import preview
from services.runtime.commands.requests import Requests
from services.runtime.commands.requests import check as check_request_id
from services.runtime.decisions import Cause, Decisions
from services.runtime.readmodel.events import Events
from services.runtime.readmodel.messages import runtime_message
from services.runtime.readmodel.queries import RuntimeQueries
from services.runtime.readmodel.view import RuntimeView, TrialView, labels_of
from services.runtime.readmodel.views import Views
from services.runtime.scheduling.scheduler import create_commands
from services.runtime.scheduling.steps import Steps
from services.runtime.searching.importances import ImportanceReader
from services.runtime.snapshots import Place, SnapshotStorage, restorable

# Trials that are created together with their runtime; the scheduler creates the others.
CREATED_WITH_RUNTIME = 500
MAX_STOP_SECONDS = 86_400.0
# Configurations that are checked and start nothing count as so many more commands: ten a second of one caller, in the end.
# They cost others as much as commands do, and nothing else holds back who sends them.
COST_IN_VAIN = 49.0
MAX_LABELS = 64
MAX_LABEL = 250


class RuntimeService(RuntimeQueries):
    """The commands on runtimes, and what can be asked of them."""

    def __init__(
        self,
        views: Views,
        decisions: Decisions,
        requests: Requests,
        preflight: Preflight,
        storage: SnapshotStorage,
        events: Events,
        steps: Steps,
        importances: ImportanceReader,
        restore_window: timedelta = timedelta(),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(views, events, views.queue.position, importances.answer)
        self._decisions = decisions
        self._requests = requests
        self._preflight = preflight
        self._storage = storage
        self._steps = steps
        self._restore_window = restore_window
        self._clock = clock
        self._checks = RateLimiter(COMMAND_RATE)

    # --- start, clone

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
            text, configuration = await self._preflight.read(_changed, _configuration(old), request)
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
            branching.check_restartable(_configuration(old))
            record = branching.find_snapshot(old, one, request)
            wanted = await self._preflight.read(branching.read_branch, old, one, record, request, declared_parameters)
            problem = await self._storage.verify(_configuration(old), Place.of(runtime_id, number, record))
            if problem:
                raise FailedPrecondition(f"the snapshot cannot be branched: {problem}", reason="SNAPSHOT_INVALID")
            await self._preflight.check(wanted.configuration)
        if request.validate_only:
            dry = _dry(wanted.configuration)
            dry.branch.CopyFrom(wanted.branch)
            return api.BranchTrialResponse(runtime=dry, sequence=self._views.sequence)
        view = await self._start(request, "", wanted.text, wanted.configuration, "", wanted.branch)
        return api.BranchTrialResponse(runtime=runtime_message(view), sequence=view.sequence)

    @asynccontextmanager
    async def _charging(self, validates_only: bool) -> AsyncIterator[None]:
        """Check something in a block, in the caller's turn. What starts nothing counts for more than a start."""
        actor = current_caller().actor
        await self._checks.wait_turn(actor)
        try:
            yield
        except MilepostError:
            self._checks.charge(actor, COST_IN_VAIN)
            raise
        if validates_only:
            self._checks.charge(actor, COST_IN_VAIN)

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
            return await self._request(runtime_id, command, _behind(request), process)

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
            decided = await self._decisions.decide(runtime_id, {None: [_with_id(command, runtime_id)]}, behind)
            return decided.sequence or known.sequence
        # Those that a sampler chooses come one by one.
        first = 0 if configurations.has_sampler(configuration) else min(command.trial_count, CREATED_WITH_RUNTIME)
        numbers = tuple(range(1, first + 1))
        commands: dict[int | None, list[object]] = {None: [_with_id(command, runtime_id)]}
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

    # --- stop, resume, delete

    async def PreviewStop(
        self, request: api.PreviewStopRequest, context: grpc.aio.ServicerContext
    ) -> api.PreviewStopResponse:
        view = self._known(names.parse_runtime(request.name))
        if request.trial < 0 or (request.trial and request.trial not in view.trials):
            raise NotFound(f"{view.runtime_id} has no trial {request.trial}", reason="TRIAL_NOT_FOUND")
        return preview(view, request.trial, self._steps.last, self._clock())

    async def StopRuntime(
        self, request: api.StopRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.StopRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        view = self._known(runtime_id)
        _check_etag(view, request.etag)
        mode = _stop_mode(view, request.mode)

        async def act(runtime_id: str) -> int:
            command = runtime.StopRuntime(mode, self._deadline(view, request), _reason(request.reason))
            return (await self._decisions.decide(runtime_id, {None: [command]}, _behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.StopRuntimeResponse(runtime=runtime_message(view))

    async def StopTrial(
        self, request: api.StopTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.StopTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        mode = _stop_mode(view, request.mode)

        async def act(runtime_id: str) -> int:
            command = trial.StopTrial(mode, self._deadline(view, request), _reason(request.reason))
            return (await self._decisions.decide(runtime_id, {number: [command]}, _behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.StopTrialResponse(runtime=runtime_message(view))

    def _deadline(self, view: RuntimeView, request: Any) -> datetime:
        seconds = _configuration(view).limits.stop_deadline_seconds
        if request.HasField("deadline"):
            seconds = _seconds(request.deadline, "deadline")
        return self._clock() + timedelta(seconds=seconds)

    async def ResumeRuntime(
        self, request: api.ResumeRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.ResumeRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        view = self._known(runtime_id)
        _check_etag(view, request.etag)
        _check_resumer(view)
        continuation = await self._preflight.read(_continuation, view, request.configuration_changes_text)

        async def act(runtime_id: str) -> int:
            trials = self._resumable(view, continuation)
            command = _resume_command(trials, request.snapshot_id, continuation)
            # What the state does not allow is refused before files are read.
            runtime.decide(view.state, command)
            if not view.state.in_progress:
                await self._check_snapshots(view, trials, request.snapshot_id)
            return await self._resume(view, command, _behind(request))

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.ResumeRuntimeResponse(runtime=runtime_message(view))

    async def _resume(self, view: RuntimeView, command: runtime.ResumeRuntime, behind: Cause) -> int:
        commands: dict[int | None, list[object]] = {None: [command]}
        if _configuration(view).launcher == config.LAUNCHER_EXTERNAL and not view.state.in_progress:
            one = view.trials[1].state
            choice = await self._storage.choose(_configuration(view), one)
            commands[None].append(runtime.AllocateResources(runtime.Allocation(0.0, 0.0, (), "", 0.0)))
            commands[1] = [trial.ResumeTrial(extends=True), trial.LaunchAttempt(one.attempt + 1, choice.snapshot)]
        return (await self._decisions.decide(view.runtime_id, commands, behind)).sequence

    def _resumable(self, view: RuntimeView, continuation: configurations.Continuation | None) -> tuple[int, ...]:
        """Choose the trials that a resume of the runtime takes up again."""
        kinds: tuple[type, ...] = (trial.Stopped, trial.Queued, trial.Retrying)
        if view.state.status is runtime.Status.FAILED:
            kinds += (trial.Failed,)
        if continuation is not None and continuation.extends:
            kinds += (trial.Completed,)
        # A pruned trial is over for its search; who wants it to go on names it.
        chosen = tuple(
            number
            for number, one in sorted(view.trials.items())
            if isinstance(one.state.situation, kinds) and not _is_pruned(one)
        )
        if not chosen and not _may_go_on_alone(view):
            raise FailedPrecondition(
                f"runtime {view.runtime_id} has no trial that could be resumed", reason="NOTHING_TO_RESUME"
            )
        return chosen

    async def _check_snapshots(self, view: RuntimeView, trials: tuple[int, ...], snapshot_id: str) -> None:
        """Refuse a resume in which no trial could go on, with the cause."""
        if snapshot_id and len(trials) != 1:
            raise InvalidArgument(
                [Violation("snapshot_id", f"names one snapshot for {len(trials)} trials; resume the trial")]
            )
        causes = []
        for number in trials:
            cause = await self._why_not(view, number, snapshot_id)
            if not cause:
                return
            causes.append(cause)
        if causes:
            raise FailedPrecondition("; ".join(causes), reason="NO_VALID_SNAPSHOT")

    async def _why_not(self, view: RuntimeView, number: int, snapshot_id: str) -> str:
        """Say why a trial cannot go on. Empty: it can."""
        state = view.trials[number].state
        trial.decide(state, trial.ResumeTrial(snapshot_id, extends=True))
        candidates = restorable(state)
        if snapshot_id:
            candidates = [record for record in candidates if record.snapshot_id == snapshot_id]
        elif not candidates:
            # Nothing that was saved is passed over by starting at the beginning.
            return ""
        problems = []
        for record in candidates:
            of_origin = self._views.configuration_of_origin(state)
            problem = await self._storage.verify_of(_configuration(view), state, record, of_origin)
            if not problem:
                return ""
            problems.append(problem)
        return f"trial {number} has no valid snapshot: {'; '.join(problems)}"

    async def ResumeTrial(
        self, request: api.ResumeTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.ResumeTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        _check_resumer(view)

        async def act(runtime_id: str) -> int:
            commands: dict[int | None, list[object]] = {number: [trial.ResumeTrial(request.snapshot_id)]}
            trial.decide(view.trials[number].state, commands[number][0])
            if isinstance(view.trials[number].state.situation, trial.Stopped | trial.Failed):
                await self._check_snapshots(view, (number,), request.snapshot_id)
            if not view.state.in_progress:
                revives = _is_pruned(view.trials[number])
                commands = {None: [runtime.ResumeRuntime((number,), request.snapshot_id, extends=revives)]}
            elif view.state.stop is not None:
                raise FailedPrecondition(f"runtime {runtime_id} is stopping", reason="RUNTIME_STOPPING")
            return (await self._decisions.decide(runtime_id, commands, _behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.ResumeTrialResponse(runtime=runtime_message(view))

    # --- label, snapshot, roll back, steer

    async def LabelRuntime(
        self, request: api.LabelRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.LabelRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        view = self._known(runtime_id)
        _check_etag(view, request.etag)
        _check_labels(view, request)

        async def act(runtime_id: str) -> int:
            command = runtime.LabelRuntime(dict(request.labels), frozenset(request.removed_labels))
            return (await self._decisions.decide(runtime_id, {None: [command]}, _behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.LabelRuntimeResponse(runtime=runtime_message(view))

    async def SnapshotTrial(
        self, request: api.SnapshotTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.SnapshotTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)

        async def act(runtime_id: str) -> int:
            command = trial.RequestSnapshot(_reason(request.reason), request.request_id)
            return (await self._decisions.decide(runtime_id, {number: [command]}, _behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.SnapshotTrialResponse(runtime=runtime_message(view))

    async def EvaluateTrial(
        self, request: api.EvaluateTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.EvaluateTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)

        async def act(runtime_id: str) -> int:
            command = trial.RequestEvaluation(_reason(request.reason), request.request_id)
            return (await self._decisions.decide(runtime_id, {number: [command]}, _behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.EvaluateTrialResponse(runtime=runtime_message(view))

    async def RecordStacks(
        self, request: api.RecordStacksRequest, context: grpc.aio.ServicerContext
    ) -> api.RecordStacksResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)

        async def act(runtime_id: str) -> int:
            command = trial.RequestStacks(_reason(request.reason), request.request_id)
            return (await self._decisions.decide(runtime_id, {number: [command]}, _behind(request))).sequence

        known = await self._requests.once(request, current_caller().actor, runtime_id, act)
        active = view.trials[number].state.active
        return api.RecordStacksResponse(
            runtime=runtime_message(view),
            ranks=sorted(active.running_ranks) if active is not None else (),
            after_sequence=known.done or 0,
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

        async def act(runtime_id: str) -> int:
            change = command(record.snapshot_id, _reason(request.reason))
            return (await self._decisions.decide(runtime_id, {number: [change]}, _behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return view.trials[number].snapshots[record.snapshot_id]

    async def RollBackTrial(
        self, request: api.RollBackTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.RollBackTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        roll_backs.checked(request)
        if _configuration(view).launcher == config.LAUNCHER_EXTERNAL:
            raise FailedPrecondition(
                "Milepost did not start this process and cannot start it again; its script goes on by "
                "milepost.init(resume=...)",
                reason="EXTERNAL_LAUNCHER",
            )
        one = view.trials[number]

        async def act(runtime_id: str) -> int:
            if request.request_id and request.request_id in one.state.roll_backs:
                return 0
            changes = await self._preflight.read(roll_backs.read_changes, _configuration(view), one, request)
            if changes.adds:
                await self._preflight.check(changes.configuration)
            of_origin = self._views.configuration_of_origin(one.state)
            chosen = await roll_backs.choose(self._storage, view, number, request, of_origin)
            command = trial.RollBackTrial(
                snapshot_id=chosen.snapshot_id,
                parameters=changes.parameters,
                skip_batches=request.skip_batches,
                reason=_reason(request.reason),
                request_id=request.request_id,
                step=request.before_step,
                attempt=request.attempt if request.before_step else 0,
                max_times=request.max_times,
            )
            if view.state.stop is not None:
                raise FailedPrecondition(f"runtime {runtime_id} is stopping", reason="RUNTIME_STOPPING")
            commands: dict[int | None, list[object]] = {number: [command]}
            if not view.state.in_progress:
                resume = runtime.ResumeRuntime((number,), chosen.snapshot_id, extends=True)
                commands = {None: [resume], number: [command]}
            return (await self._decisions.decide(runtime_id, commands, _behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        snapshot_id, step = roll_backs.answer_of(one)
        return api.RollBackTrialResponse(runtime=runtime_message(view), snapshot_id=snapshot_id, snapshot_step=step)

    async def SteerTrial(
        self, request: api.SteerTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.SteerTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        one, actor = view.trials[number], current_caller().actor
        async with self._charging(request.validate_only):
            check_request_id(request.request_id)
            command = trial.SteerTrial(steers.read_values(request), actor, _reason(request.reason), request.request_id)
            if request.validate_only:
                trial.decide(one.state, command)
                return api.SteerTrialResponse(runtime=runtime_message(view))

        async def act(runtime_id: str) -> int:
            return (await self._decisions.decide(runtime_id, {number: [command]}, _behind(request))).sequence

        await self._requests.once(request, actor, runtime_id, act)
        return api.SteerTrialResponse(
            runtime=runtime_message(view), number=one.state.steering.number_of(request.request_id)
        )

    async def DeleteRuntime(
        self, request: api.DeleteRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.DeleteRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        view = self._known(runtime_id, show_deleted=True)
        if not view.state.deleting:
            _check_etag(view, request.etag)
            if not request.force:
                self._check_not_needed(view)
                _check_not_pinned(view)

        async def act(runtime_id: str) -> int:
            now, window = self._clock(), self._restore_window
            purge_time = now + window if window and not request.purge else None
            command = runtime.DeleteRuntime(now, request.force, purge_time=purge_time)
            return (await self._decisions.decide(runtime_id, {None: [command]}, _behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.DeleteRuntimeResponse(runtime=runtime_message(view))

    async def UndeleteRuntime(
        self, request: api.UndeleteRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.UndeleteRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        view = self._known(runtime_id, show_deleted=True)

        async def act(runtime_id: str) -> int:
            command = runtime.UndeleteRuntime(_reason(request.reason))
            return (await self._decisions.decide(runtime_id, {None: [command]}, _behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.UndeleteRuntimeResponse(runtime=runtime_message(view))

    def _check_not_needed(self, view: RuntimeView) -> None:
        """Refuse to delete what others began at."""
        holders = {holder for one in view.trials.values() for s in one.state.snapshots for holder in s.held_by}
        living = [holder for holder in sorted(holders) if not self._is_deleted(holder)]
        if living:
            shown = f"{', '.join(living[:10])}{f' and {len(living) - 10:,} more' if len(living) > 10 else ''}"
            raise FailedPrecondition(
                f"runtime {view.runtime_id} has snapshots at which others began: {shown}. Delete these first, or delete with "
                "force: then its snapshots at which they began are kept until they are deleted too, and its curves are not",
                reason="SNAPSHOTS_NEEDED",
            )

    def _is_deleted(self, runtime_id: str) -> bool:
        view = self._views.runtimes.get(runtime_id)
        return view is None or view.state.deleting


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
        plain = configurations.merge(plain, _changes(request.configuration_changes_text))
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


def _behind(request: Any) -> Cause:
    caller = current_caller()
    cause = caller.cause or (f"request:{request.request_id}" if request.request_id else "")
    return Cause(caller.actor, cause, observability.current_traceparent())


def _with_id(command: runtime.RequestRuntime, runtime_id: str) -> runtime.RequestRuntime:
    return replace(command, runtime_id=runtime_id)


def _configuration(view: RuntimeView) -> RuntimeConfiguration:
    assert view.state.configuration is not None, "an existing runtime has a configuration"
    return view.state.configuration


def _check_resumer(view: RuntimeView) -> None:
    """Refuse an attempt that would wait for a script whose caller is refused the credentials."""
    if _configuration(view).launcher == config.LAUNCHER_EXTERNAL:
        check_owner(view)


def _is_pruned(one: TrialView) -> bool:
    return isinstance(one.state.situation, trial.Stopped) and one.state.situation.pruned


def _may_go_on_alone(view: RuntimeView) -> bool:
    """Return whether a resume makes sense, or is judged elsewhere, though no trial of a runtime can be resumed."""
    state = view.state
    ended = state.history.ended
    searches = configurations.has_sampler(_configuration(view)) and (
        ended is None or ended.reason == runtime_facts.SEARCH_END_REASON_SAMPLER_FAILED
    )
    return searches or state.in_progress or state.status is runtime.Status.COMPLETED


def _changes(text: str) -> dict[str, Any]:
    try:
        return configurations.parse_text(text)
    except InvalidArgument as error:
        raise InvalidArgument(
            [Violation("configuration_changes_text", v.description) for v in error.violations]
        ) from error


def _continuation(view: RuntimeView, text: str) -> configurations.Continuation | None:
    if not text.strip():
        return None
    continuation = configurations.continue_with(_configuration(view), _changes(text))
    violations = configurations.secret_violations(continuation.configuration)
    # What was recorded by an earlier version stays, and does not stand in the way.
    new = [violation for violation in violations if violation.field in continuation.changed_fields]
    if new:
        raise InvalidArgument(new)
    return continuation


def _resume_command(
    trials: tuple[int, ...], snapshot_id: str, continuation: configurations.Continuation | None
) -> runtime.ResumeRuntime:
    if continuation is None or not continuation.changed_fields:
        return runtime.ResumeRuntime(trials, snapshot_id)
    return runtime.ResumeRuntime(
        trials,
        snapshot_id,
        continuation.configuration,
        configurations.digest(continuation.configuration),
        continuation.changed_fields,
        continuation.extends,
    )


def _check_etag(view: RuntimeView, etag: str) -> None:
    if etag and etag != str(view.head.sequence):
        raise Aborted(f"runtime {view.runtime_id} has changed since it was read", reason="ETAG_MISMATCH")


def _check_not_pinned(view: RuntimeView) -> None:
    """Refuse to delete what somebody wants kept."""
    pinned = [(s.step, one.number) for one in view.trials.values() for s in one.state.snapshots if s.pinned]
    if pinned:
        several = len(view.trials) > 1
        shown = [f"{step:,}{f' of trial {number}' if several else ''}" for step, number in sorted(pinned)]
        more = f" and {len(shown) - 10:,} more" if len(shown) > 10 else ""
        raise FailedPrecondition(
            f"runtime {view.runtime_id} has pinned snapshots, at step {', '.join(shown[:10])}{more}. Unpin them first, or "
            "delete with force: then they go too",
            reason="SNAPSHOTS_PINNED",
        )


def _check_labels(view: RuntimeView, request: api.LabelRuntimeRequest) -> None:
    """Refuse labels that a configuration could not have, and those that look like a secret. Raises InvalidArgument."""
    plain = configurations.to_plain(_configuration(view))
    kept = {key: text for key, text in labels_of(view).items() if key not in request.removed_labels}
    plain["labels"] = dict(request.labels)
    merged = configurations.resolve(plain)
    violations = [v for v in configurations.secret_violations(merged) if v.field.startswith("labels.")]
    if len(kept | dict(request.labels)) > MAX_LABELS and not request.labels.keys() <= kept.keys():
        violations.append(Violation("labels", f"a runtime has at most {MAX_LABELS} labels"))
    if len(request.removed_labels) > MAX_LABELS or any(len(key) > MAX_LABEL for key in request.removed_labels):
        violations.append(
            Violation("removed_labels", f"must be at most {MAX_LABELS}, each of at most {MAX_LABEL} characters")
        )
    if both := sorted(set(request.labels) & set(request.removed_labels)):
        violations.append(Violation("removed_labels", f"{both[0]} is set, too"))
    if violations:
        raise InvalidArgument(violations)


def _stop_mode(view: RuntimeView, mode: common.StopMode) -> common.StopMode:
    if mode not in common.StopMode.values():
        raise InvalidArgument([Violation("mode", f"{mode} is not a known value")])
    if mode == common.STOP_MODE_ABRUPT and _configuration(view).launcher == config.LAUNCHER_EXTERNAL:
        raise FailedPrecondition(
            "Milepost did not start this process and cannot kill it; ask for a graceful stop",
            reason="EXTERNAL_LAUNCHER",
        )
    return mode or common.STOP_MODE_GRACEFUL


def _reason(text: str) -> str:
    if len(text) > 1_000 or any(ord(c) < 32 and c not in "\n\t" for c in text):
        raise InvalidArgument(
            [Violation("reason", "must be text of at most 1,000 characters without control characters")]
        )
    return Redactor().text(text)


def _seconds(value: Duration, field: str) -> float:
    seconds = value.seconds + value.nanos / 1e9
    if not 0 < seconds <= MAX_STOP_SECONDS:
        raise InvalidArgument([Violation(field, f"must be above 0 and at most {MAX_STOP_SECONDS:,.0f} seconds")])
    return seconds
