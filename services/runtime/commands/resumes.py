"""RPCs that have a runtime or a trial go on: resume and roll back."""

from __future__ import annotations

import grpc.aio

from milepost import configuration as configurations
from milepost import names
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime, trial
from milepost.errors import FailedPrecondition, InvalidArgument, Violation
from services.access.authentication import current_caller
from services.runtime.commands import roll_backs
from services.runtime.commands.base import RuntimeCommands, behind, check_etag, checked_reason, parse_changes
from services.runtime.commands.ownership import check_owner
from services.runtime.decisions import Cause
from services.runtime.readmodel.messages import runtime_message
from services.runtime.readmodel.view import RuntimeView, TrialView, configuration_of
from services.runtime.snapshots import restorable


class ResumeCommands(RuntimeCommands):
    """Resume and roll back."""

    async def ResumeRuntime(
        self, request: api.ResumeRuntimeRequest, context: grpc.aio.ServicerContext
    ) -> api.ResumeRuntimeResponse:
        runtime_id = names.parse_runtime(request.name)
        view = self._known(runtime_id)
        check_etag(view, request.etag)
        _check_resumer(view)
        continuation = await self._preflight.read(_continuation, view, request.configuration_changes_text)

        async def act(runtime_id: str) -> int:
            trials = self._resumable(view, continuation)
            command = _resume_command(trials, request.snapshot_id, continuation)
            # What the state does not allow is refused before files are read.
            runtime.decide(view.state, command)
            if not view.state.in_progress:
                await self._check_snapshots(view, trials, request.snapshot_id)
            return await self._resume(view, command, behind(request))

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.ResumeRuntimeResponse(runtime=runtime_message(view))

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
            return (await self._decisions.decide(runtime_id, commands, behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        return api.ResumeTrialResponse(runtime=runtime_message(view))

    async def RollBackTrial(
        self, request: api.RollBackTrialRequest, context: grpc.aio.ServicerContext
    ) -> api.RollBackTrialResponse:
        runtime_id, number = names.parse_trial(request.name)
        view = self._known_trial(runtime_id, number)
        roll_backs.checked(request)
        if configuration_of(view).launcher == config.LAUNCHER_EXTERNAL:
            raise FailedPrecondition(
                "Milepost did not start this process and cannot start it again; its script goes on by "
                "milepost.init(resume=...)",
                reason="EXTERNAL_LAUNCHER",
            )
        one = view.trials[number]

        async def act(runtime_id: str) -> int:
            if request.request_id and request.request_id in one.state.roll_backs:
                return 0
            changes = await self._preflight.read(roll_backs.read_changes, configuration_of(view), one, request)
            if changes.adds:
                await self._preflight.check(changes.configuration)
            of_origin = self._views.configuration_of_origin(one.state)
            chosen = await roll_backs.choose(self._storage, view, number, request, of_origin)
            command = trial.RollBackTrial(
                snapshot_id=chosen.snapshot_id,
                parameters=changes.parameters,
                skip_batches=request.skip_batches,
                reason=checked_reason(request.reason),
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
            return (await self._decisions.decide(runtime_id, commands, behind(request))).sequence

        await self._requests.once(request, current_caller().actor, runtime_id, act)
        snapshot_id, step = roll_backs.answer_of(one)
        return api.RollBackTrialResponse(runtime=runtime_message(view), snapshot_id=snapshot_id, snapshot_step=step)

    async def _resume(self, view: RuntimeView, command: runtime.ResumeRuntime, behind: Cause) -> int:
        commands: dict[int | None, list[object]] = {None: [command]}
        if configuration_of(view).launcher == config.LAUNCHER_EXTERNAL and not view.state.in_progress:
            one = view.trials[1].state
            choice = await self._storage.choose(configuration_of(view), one)
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
            problem = await self._storage.verify_of(configuration_of(view), state, record, of_origin)
            if not problem:
                return ""
            problems.append(problem)
        return f"trial {number} has no valid snapshot: {'; '.join(problems)}"


def _check_resumer(view: RuntimeView) -> None:
    """Refuse an attempt that would wait for a script whose caller is refused the credentials."""
    if configuration_of(view).launcher == config.LAUNCHER_EXTERNAL:
        check_owner(view)


def _is_pruned(one: TrialView) -> bool:
    return isinstance(one.state.situation, trial.Stopped) and one.state.situation.pruned


def _may_go_on_alone(view: RuntimeView) -> bool:
    """Return whether a resume makes sense, or is judged elsewhere, though no trial of a runtime can be resumed."""
    state = view.state
    ended = state.history.ended
    searches = configurations.has_sampler(configuration_of(view)) and (
        ended is None or ended.reason == runtime_facts.SEARCH_END_REASON_SAMPLER_FAILED
    )
    return searches or state.in_progress or state.status is runtime.Status.COMPLETED


def _continuation(view: RuntimeView, text: str) -> configurations.Continuation | None:
    if not text.strip():
        return None
    continuation = configurations.continue_with(configuration_of(view), parse_changes(text))
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
