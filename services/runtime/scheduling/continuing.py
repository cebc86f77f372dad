"""How a script goes on with a run: the attempt before is known to be dead and fenced, or its next one is refused.

Nobody takes over a script by itself, so the process that wants to go on is the one that asks, and gets the next attempt
in the same decision that ends the one before. Whoever else asked at the same time finds that attempt running.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1 import launch_service_pb2 as api
from milepost.domain import runtime, trial
from milepost.errors import Aborted, FailedPrecondition, Unavailable
from milepost.names import AttemptKey
from services.runtime.decisions import Cause, Decisions
from services.runtime.launchers import Launcher
from services.runtime.policies import liveness, retry
from services.runtime.policies.control import Exit, Process
from services.runtime.readmodel.view import AT_REST, RuntimeView, TrialView, time_text
from services.runtime.scheduling.liveness import Liveness
from services.runtime.scheduling.recovery import Recovery

# How long an answer waits for the scheduler to conclude an attempt that is over.
CONCLUDE_SECONDS = 10.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Death:
    """How it is known that the process of an attempt is dead, or counts as dead."""

    reason: facts.FenceReason
    cause: common.ExitCause
    detail: str


class Continuing:
    """Launches the next attempts of scripts, for the processes that ask for them."""

    def __init__(
        self,
        decisions: Decisions,
        liveness: Liveness,
        launcher: Launcher,
        recovery: Recovery,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decisions = decisions
        self._liveness = liveness
        self._launcher = launcher
        self._recovery = recovery
        self._clock = clock

    async def begin(self, view: RuntimeView, one: TrialView, request: api.BeginAttemptRequest, behind: Cause) -> None:
        """Have the next attempt launched, unless this request has one already.

        Raises:
            FailedPrecondition: the attempt before is not known to be dead, or the run cannot go on. Nothing changed.
            Unavailable: the end of the attempt before is not concluded yet.
        """
        deadline = self._clock() + CONCLUDE_SECONDS
        while not _is_answered(one, request):
            active = one.state.active
            if active is not None and active.may_write:
                await self._replace(view, one, active, request, behind)
            elif view.state.phase is not None and view.state.phase.value in AT_REST:
                await self._resume(view, one, request, behind)
            elif self._clock() > deadline:
                raise Unavailable(
                    f"the end of the last attempt of {view.runtime_id} is not concluded yet", reason="NOT_CONCLUDED"
                )
            else:
                await asyncio.sleep(_POLL_SECONDS)

    async def _replace(
        self,
        view: RuntimeView,
        one: TrialView,
        active: trial.Active,
        request: api.BeginAttemptRequest,
        behind: Cause,
    ) -> None:
        """Fence an attempt that had no end, and launch the next one with it."""
        death = self._death(view, one, active, request)
        # A committed snapshot may wait in what it left, or its own end.
        await self._recovery.take_events(AttemptKey(view.runtime_id, one.number, active.attempt))
        fence = trial.FenceAttempt(active.attempt, death.reason, death.cause, death.detail)
        if active.stop is not None or view.state.stop is not None or not view.state.in_progress:
            # Its end is decided; only the attempt was in the way.
            commands: list[object] = [fence]
        else:
            failure = retry.failure_reason(death.cause)
            commands = [trial.ReplaceAttempt(fence, failure, self._launch(one, request))]
        await self._decisions.decide(view.runtime_id, {one.number: commands}, behind)

    async def _resume(self, view: RuntimeView, one: TrialView, request: api.BeginAttemptRequest, behind: Cause) -> None:
        """Go on with a run that has ended."""
        command = runtime.ResumeRuntime((one.number,), extends=_extends(one, request))
        runtime.decide(view.state, command)
        launch = self._launch(one, request)
        allocation = runtime.AllocateResources(runtime.Allocation(0.0, 0.0, (), "", 0.0))
        commands = {None: [command, allocation], one.number: [trial.ResumeTrial(extends=True), launch]}
        await self._decisions.decide(view.runtime_id, commands, behind)

    def _launch(self, one: TrialView, request: api.BeginAttemptRequest) -> trial.LaunchAttempt:
        """Return the command that launches the next attempt, from the step or the snapshot that is asked for.

        Raises:
            Aborted: there is a newer snapshot than the one that was found valid.
        """
        if request.appends:
            return self._appending(one, request)
        own_step = request.step if request.HasField("step") else None
        rejected = tuple(request.rejected_snapshot_ids) if own_step is None else ()
        whole = [record for record in trial.restorable_snapshots(one.state) if record.snapshot_id not in rejected]
        snapshot = whole[0] if whole and own_step is None else None
        if snapshot is not None and snapshot.snapshot_id != request.snapshot_id:
            raise Aborted(
                f"the newest snapshot of {one.state.runtime_id} is {snapshot.snapshot_id}", reason="NEWER_SNAPSHOT"
            )
        return trial.LaunchAttempt(
            one.state.attempt + 1,
            snapshot,
            host=request.process.host,
            rejected_snapshot_ids=rejected,
            process=request.process,
            request_id=request.request_id,
            own_step=own_step,
        )

    def _appending(self, one: TrialView, request: api.BeginAttemptRequest) -> trial.LaunchAttempt:
        """Return the command that launches an attempt which only adds to what is recorded."""
        return trial.LaunchAttempt(
            one.state.attempt + 1,
            None,
            host=request.process.host,
            process=request.process,
            request_id=request.request_id,
            appends=True,
        )

    def _death(
        self, view: RuntimeView, one: TrialView, active: trial.Active, request: api.BeginAttemptRequest
    ) -> Death:
        """Say how an attempt is known to be dead.

        Raises:
            FailedPrecondition: it is not.
        """
        key = AttemptKey(view.runtime_id, one.number, active.attempt)
        if request.dead_attempt == active.attempt:
            return Death(facts.FENCE_REASON_EXITED, common.EXIT_CAUSE_SIGNAL, request.dead_detail or Exit().detail)
        process, exit_ = self._launcher.observe(key)
        if process is Process.GONE:
            return Death(facts.FENCE_REASON_EXITED, exit_.cause, exit_.detail)
        grace = view.state.configuration.limits.heartbeat_grace_seconds if view.state.configuration else 30.0
        wait = liveness.first_beat_seconds(trains=active.started, grace_seconds=grace)
        # Only who leads watches everybody.
        self._liveness.watch(key, wait)
        if self._liveness.why_lost(key, grace):
            detail = f"{self._liveness.no_contact(key)}, and {_name(request.process)} goes on with the run"
            return Death(facts.FENCE_REASON_LOST, common.EXIT_CAUSE_LOST, detail)
        raise self._refusal(view, key, active, self._liveness.seconds_to_loss(key, grace))

    def _refusal(self, view: RuntimeView, key: AttemptKey, active: trial.Active, seconds: float) -> FailedPrecondition:
        contact = self._liveness.contact(key)
        heard = f"last heard {contact:%Y-%m-%d %H:%M:%S} UTC" if contact is not None else self._liveness.no_contact(key)
        who = _name(active.process) if active.process is not None else "a process that has not said its name yet"
        metadata = {
            "attempt": str(key.attempt),
            "contact_time": time_text(contact.astimezone(UTC)) if contact is not None else "",
            "gone_after_seconds": f"{seconds:.1f}",
        }
        if active.process is not None:
            for field in active.process.DESCRIPTOR.fields:
                metadata[field.name] = str(getattr(active.process, field.name))
        return FailedPrecondition(
            f"attempt {key.attempt} of {view.runtime_id} is run by {who}, {heard}; nothing was changed. It counts as dead "
            f"after another {seconds:.0f} s of silence. End it (`milepost runtime stop {view.runtime_id}`), or wait",
            reason="ATTEMPT_RUNNING",
            metadata=metadata,
        )


def _is_answered(one: TrialView, request: api.BeginAttemptRequest) -> bool:
    active = one.state.active
    return active is not None and active.launch.request_id == request.request_id


def _extends(one: TrialView, request: api.BeginAttemptRequest) -> bool:
    """Return whether the training is longer now than what is complete, or more is recorded of it."""
    if request.appends:
        return True
    situation, planned = one.state.situation, one.state.plan.total_steps
    done = situation.last_step if isinstance(situation, trial.Completed) else 0
    return request.HasField("total_steps") and request.total_steps > max(planned or 0, done)


def _name(process: common.ProcessIdentity) -> str:
    return f"process {process.process_id} on {process.host}"
