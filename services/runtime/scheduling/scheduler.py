"""The process manager: carries every runtime from request to end, and keeps nothing that the log does not have.

It follows the views, asks `policies.control` for the next step of each runtime that changed, and carries it out. Killed at
any instant and started again, it reads the same facts and goes on with the same step. Only the holder of the lease acts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from milepost import configuration as configurations
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.backoff import Backoff
from milepost.configuration.words import LAUNCHERS
from milepost.domain import runtime, stalls, trial
from milepost.errors import MilepostError
from milepost.eventlog import EventLogError
from milepost.installation import observability
from milepost.names import AttemptKey
from services.lease import Lease
from services.runtime.decisions import Cause, Commands, Decisions
from services.runtime.launchers import Launcher, LaunchFailed, Missing
from services.runtime.policies import control, liveness, placement, retry, sharing
from services.runtime.policies.control import Process
from services.runtime.readmodel.view import RuntimeView, TrialView, configuration_of
from services.runtime.readmodel.views import Views
from services.runtime.scheduling.causes import because_of, behind
from services.runtime.scheduling.launching import Launches
from services.runtime.scheduling.liveness import Liveness
from services.runtime.scheduling.placing import Placing, free_gpus, gpus_in_use
from services.runtime.scheduling.purge import Purger
from services.runtime.scheduling.recovery import Recovery
from services.runtime.scheduling.steps import Steps
from services.runtime.snapshots import SnapshotChoice, SnapshotStorage
from services.supervision import Supervision

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
JUDGED_AT_ONCE = 200
# Trials that one decision stops, two events each: commands of others come between two of them.
STOPPED_AT_ONCE = 25
# After an error that is not the step's own, for example a log that does not answer.
PAUSE_SECONDS = 1.0
# Steps of one runtime in a row; more than any decision needs. A loop without progress is logged, and goes on later.
MAX_STEPS = 5_000
# Trials whose snapshots are given up with one decision.
PURGED_AT_ONCE = 500
# Before the second try to remove what remains; each further pause is twice the one before.
PURGE_RETRY_SECONDS = 30.0
MAX_PURGE_RETRY_SECONDS = 3_600.0


class Scheduler:
    """Acts on runtimes while it holds the lease."""

    def __init__(
        self,
        views: Views,
        decisions: Decisions,
        launchers: Mapping[config.Launcher, Launcher],
        lease: Lease,
        liveness: Liveness,
        storage: SnapshotStorage,
        purger: Purger,
        recovery: Recovery,
        launches: Launches,
        steps: Steps,
        duties: Mapping[str, Callable[[], Awaitable[None]]] = MappingProxyType({}),
        supervision: Supervision | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._views = views
        self._decisions = decisions
        # One that is missing must not stop the others' runs.
        self._launchers: dict[config.Launcher, Launcher] = {
            kind: launchers.get(kind) or Missing(name) for name, kind in LAUNCHERS.items()
        }
        self._lease = lease
        self._liveness = liveness
        self._storage = storage
        self._purger = purger
        self._recovery = recovery
        # Work that only the leader does, for as long as it leads, by name.
        self._duties = duties
        self._supervision = supervision or Supervision()
        self._launches = launches
        self._steps = steps
        self._clock = clock
        self._leading = False
        self._runtimes = observability.gauge("milepost.runtimes", "Runtimes, by phase; told by the leader alone")
        self._spooled = observability.gauge(
            "milepost.spool.batches", "Batches in the spools of running instances; told by the leader alone"
        )
        self._spooled_bytes = observability.gauge("milepost.spool.size", "Bytes in those spools", "By")
        # Runtimes that something happened to and whose next step was not asked for yet.
        self._due: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Of runtimes that go on: what is known of each trial, and of those that are at rest nothing more is to be known.
        self._pictures: dict[str, dict[int, control.TrialPicture]] = {}
        self._settled: dict[str, dict[int, trial.Trial]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._purges: dict[str, datetime] = {}
        self._purge_pauses: dict[str, Backoff] = {}
        self._placing = Placing(views, decisions, self._launchers, self._mark)
        for launcher in launchers.values():
            launcher.on_change(lambda key: self._mark(key.runtime_id))
            launcher.on_room(self._on_room)

    # --- leading

    async def run(self) -> None:
        """Wait for the lease, act while it is held, and again, for ever."""
        try:
            while True:
                await self._lease.acquire()
                await self._lead()
        finally:
            await self._lease.release()

    async def _lead(self) -> None:
        self._leading = True
        self._liveness.listen_anew()
        try:
            with self._views.listening(self._on_event):
                async with asyncio.TaskGroup() as group:
                    duties = {"placement": self._placing.run, "ticks": self._tick_for_ever, **self._duties}
                    keep = self._supervision.keep
                    work = [group.create_task(keep(name, duty), name=name) for name, duty in duties.items()]
                    for view in self._views.active():
                        self._mark(view.runtime_id)
                    self._placing.ask()
                    await self._lease.keep()
                    for task in work:
                        task.cancel()
        finally:
            self._leading = False
            await self._stand_down()

    async def _stand_down(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._due.clear()
        self._placing.forget()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._pictures.clear()
        self._settled.clear()

    def _on_event(self, view: RuntimeView, sequence: int) -> None:
        self._mark(view.runtime_id)

    def _on_room(self) -> None:
        """Look again at whoever waits for room."""
        self._placing.ask()
        for view in self._views.active():
            if any(isinstance(t.state.situation, trial.Queued | trial.Retrying) for t in view.trials.values()):
                self._mark(view.runtime_id)

    def _mark(self, runtime_id: str) -> None:
        """Ask for the next step of a runtime soon."""
        view = self._views.runtimes.get(runtime_id)
        if not self._leading or view is None or _is_at_rest(view, self._clock()):
            return
        self._due.add(runtime_id)
        if runtime_id not in self._tasks:
            self._tasks[runtime_id] = asyncio.get_running_loop().create_task(self._work(runtime_id))

    async def _work(self, runtime_id: str) -> None:
        """Carry out steps of one runtime until there is none."""
        try:
            await self._work_while_due(runtime_id)
        finally:
            # Here and not when the task is done, which is later: what is marked in between would find a task and no worker.
            self._tasks.pop(runtime_id, None)
            if _is_at_rest(self._views.runtimes[runtime_id], self._clock()):
                self._pictures.pop(runtime_id, None)
                self._settled.pop(runtime_id, None)

    async def _work_while_due(self, runtime_id: str) -> None:
        while runtime_id in self._due:
            self._due.discard(runtime_id)
            try:
                await self._advance(self._views.runtimes[runtime_id])
            except (MilepostError, EventLogError, OSError) as error:
                log.warning("scheduler.step_failed", extra={"runtime": runtime_id, "error": str(error)})
                await asyncio.sleep(PAUSE_SECONDS)
                self._due.add(runtime_id)
            except Exception:  # the outermost loop of one runtime: the others must go on
                log.exception("scheduler.failed", extra={"runtime": runtime_id})
                await asyncio.sleep(10 * PAUSE_SECONDS)
                self._due.add(runtime_id)

    async def _advance(self, view: RuntimeView) -> None:
        for _ in range(MAX_STEPS):
            picture = self._picture(view)
            step = control.next_step(picture, self._clock())
            if step is None:
                break
            await _EXECUTE[type(step)](self, view, step)
        else:
            log.error("scheduler.no_progress", extra={"runtime": view.runtime_id, "step": type(step).__name__})
        self._set_timer(view, control.wake_time(picture))
        self._forget_ended(view)
        if view.state.phase is runtime.Phase.QUEUED:
            self._placing.ask()

    def _set_timer(self, view: RuntimeView, wake: datetime | None) -> None:
        timer = self._timers.pop(view.runtime_id, None)
        if timer is not None:
            timer.cancel()
        if wake is not None:
            delay = max(0.05, (wake - self._clock()).total_seconds())
            loop = asyncio.get_running_loop()
            self._timers[view.runtime_id] = loop.call_later(delay, self._mark, view.runtime_id)

    # --- what is

    def _picture(self, view: RuntimeView) -> control.Picture:
        state = view.state
        slots = 1
        if state.allocation is not None and state.configuration is not None:
            need = placement.need_of(state.configuration)
            room = placement.slots_of(state.allocation, need)
            slots = min(room, placement.slots_wanted(state.configuration, state.trial_count))
            if self._launcher(view).outage() is not None:
                slots = 0
        trials = self._pictures.setdefault(view.runtime_id, {})
        settled = self._settled.setdefault(view.runtime_id, {})
        restless: dict[int, control.TrialPicture] = {}
        for number, one in view.trials.items():
            if settled.get(number) is one.state:
                continue
            trials[number] = restless[number] = found = self._trial_picture(view, one)
            if _is_settled(found):
                settled[number] = one.state
        return control.Picture(
            state=state,
            trials=trials,
            restless=restless,
            began=view.began,
            running_since=view.running_since,
            slots=slots,
            to_keep=wanted.trials if (wanted := self._placing.to_give_back(view)) is not None else None,
            purge_not_before=self._purges.get(view.runtime_id),
        )

    def _trial_picture(self, view: RuntimeView, one: TrialView) -> control.TrialPicture:
        since = one.since.sequence if one.since is not None else 0
        attempt = one.state.attempt
        if attempt == 0:
            return control.TrialPicture(one.state, since)
        key = AttemptKey(view.runtime_id, one.number, attempt)
        launcher = self._launcher(view)
        process, exit_ = launcher.observe(key)
        active = one.state.active
        lost = silence = ""
        if active is not None and active.may_write:
            process, lost, silence = self._heard(view, key, process, launcher.takes_over)
        over = None
        if active is None or not active.may_write:
            ended = [one.last[name] for name in ("AttemptEnded", "AttemptFenced") if name in one.last]
            over = max(ended, key=lambda reference: reference.sequence).time if ended else None
        last_step = max(self._liveness.step(key), active.last_step if active is not None else 0)
        excess = control.excess(one.written_messages, one.written_bytes)
        waits = launcher.waits(key) if process is Process.PENDING else ""
        return control.TrialPicture(one.state, since, process, exit_, lost, last_step, over, silence, excess, waits)

    def _heard(
        self, view: RuntimeView, key: AttemptKey, process: Process, takes_over: bool
    ) -> tuple[Process, str, str]:
        """Listen to an attempt. Returns its process, why it counts as lost, and since when it is not heard of."""
        active = view.trials[key.trial].state.active
        grace = view.state.configuration.limits.heartbeat_grace_seconds if view.state.configuration else 30.0
        if process in (Process.RUNNING, Process.UNSEEN) or not takes_over:
            trains = active is not None and active.started
            self._liveness.watch(key, liveness.first_beat_seconds(trains=trains, grace_seconds=grace))
        if takes_over:
            return process, self._liveness.why_lost(key, grace), self._liveness.silence(key)
        # What a script has left may just be being sent for it: it is over when that was silent too.
        gone = process is Process.GONE and self._liveness.is_quiet(key)
        return Process.GONE if gone else Process.UNSEEN, "", self._liveness.silence(key)

    def _launcher(self, view: RuntimeView) -> Launcher:
        launcher = view.state.configuration.launcher if view.state.configuration is not None else config.LAUNCHER_LOCAL
        return self._launchers.get(launcher) or Missing(str(launcher))

    def _forget_ended(self, view: RuntimeView) -> None:
        for key in self._liveness.watched_of(view.runtime_id):
            active = view.trials[key.trial].state.active if key.trial in view.trials else None
            if active is None or active.attempt != key.attempt or not active.may_write:
                self._liveness.forget(key)

    # --- steps

    async def _create_trials(self, view: RuntimeView, step: control.CreateTrials) -> None:
        await self._decisions.decide(
            view.runtime_id, creations(view, step.numbers), behind(view.last, "RuntimeRequested")
        )

    async def _order_stop(self, view: RuntimeView, step: control.OrderStop) -> None:
        command = trial.StopTrial(step.mode, step.deadline_time, step.reason)
        cause = behind(view.last, "StopRequested", "RuntimeFailed")
        for first in range(0, len(step.trials), STOPPED_AT_ONCE):
            numbers = step.trials[first : first + STOPPED_AT_ONCE]
            await self._decisions.decide(view.runtime_id, {number: [command] for number in numbers}, cause)

    async def _order_resume(self, view: RuntimeView, step: control.OrderResume) -> None:
        command = trial.ResumeTrial(step.snapshot_id, extends=True)
        await self._decide_trial(view, step.trial, [command], behind(view.last, "ResumeRequested"))

    async def _end_attempt(self, view: RuntimeView, step: control.EndAttempt) -> None:
        key = AttemptKey(view.runtime_id, step.trial, step.attempt)
        launcher = self._launcher(view)
        await launcher.kill(key)
        await self._recovery.take_events(key)
        last_step = max(step.last_step, self._steps.last(key))
        command = trial.FenceAttempt(step.attempt, step.reason, step.cause, step.detail, last_step)
        last = view.trials[step.trial].last
        await self._decide_trial(
            view,
            step.trial,
            [command],
            behind(last, "TrialStopRequested", "TrialRollBackRequested", "AttemptLaunched"),
        )
        log.info(
            "attempt.fenced",
            extra={"runtime": view.runtime_id, "trial": step.trial, "attempt": step.attempt, "detail": step.detail},
        )

    async def _conclude(self, view: RuntimeView, step: control.Conclude) -> None:
        one = view.trials[step.trial]
        active = one.state.active
        if active is None or active.attempt != step.attempt or view.state.configuration is None:
            return
        retryable = self._launcher(view).takes_over and view.state.in_progress
        policy = view.state.configuration.retries
        conclusion = retry.conclude(
            active,
            one.state.retries,
            policy,
            retryable,
            self._clock(),
            view.state.in_progress,
            may_interrupt=retry.may_interrupt(one.state, active),
        )
        command = _conclusion_command(step.attempt, conclusion, policy.max_retries)
        await self._decide_trial(view, step.trial, [command], behind(one.last, "AttemptEnded", "AttemptFenced"))
        key = AttemptKey(view.runtime_id, step.trial, step.attempt)
        retried = isinstance(conclusion, retry.Retry | retry.GoOn)
        launcher = self._launcher(view)
        # A script's lock is gone once its events were taken in. One that lives lends what it has written.
        if not retried and (launcher.observe(key)[0] is Process.GONE or not launcher.takes_over):
            self._recovery.send_telemetry(key)

    async def _launch(self, view: RuntimeView, step: control.Launch) -> None:
        one = view.trials[step.trial]
        cause = behind(one.last, "TrialCreated", "TrialResumeRequested", "TrialRollBackRequested", "RetryScheduled")
        configuration = configuration_of(view)
        choice = await self._storage.choose(configuration, one.state, self._views.configuration_of_origin(one.state))
        commands: list[object] = [
            trial.DeleteSnapshot(rejected.snapshot_id, facts.SNAPSHOT_DELETE_REASON_CORRUPT, rejected.detail)
            for rejected in choice.rejected
        ]
        if choice.refused:
            commands.append(trial.FailTrial(0, common.FAILURE_REASON_NO_VALID_SNAPSHOT, choice.refused))
        else:
            commands.append(self._launch_command(view, one, choice))
        with observability.span("scheduler.launch", cause.traceparent, "consumer", {"runtime": view.runtime_id}):
            cause = replace(cause, traceparent=observability.current_traceparent() or cause.traceparent)
            await self._decide_trial(view, step.trial, commands, cause)

    def _launch_command(self, view: RuntimeView, one: TrialView, choice: SnapshotChoice) -> trial.LaunchAttempt:
        return trial.LaunchAttempt(
            attempt=one.state.attempt + 1,
            snapshot=choice.snapshot,
            host=view.state.allocation.host if view.state.allocation is not None else "",
            gpus=free_gpus(view),
            rejected_snapshot_ids=tuple(rejected.snapshot_id for rejected in choice.rejected),
        )

    async def _spawn(self, view: RuntimeView, step: control.Spawn) -> None:
        launcher = self._launcher(view)
        for earlier in range(max(1, step.attempt - 2), step.attempt):
            # Whatever the log says of them: nothing of an earlier attempt may still run.
            await launcher.kill(AttemptKey(view.runtime_id, step.trial, earlier))
        await self._recovery.cancel(view.runtime_id, step.trial)
        key = AttemptKey(view.runtime_id, step.trial, step.attempt)
        try:
            launch = await self._launches.launch(view, view.trials[step.trial])
            with observability.span("launcher.launch", launch.traceparent, "producer", {"attempt": str(key)}):
                launch.traceparent = observability.current_traceparent() or launch.traceparent
                await launcher.launch(key, launch, self._launches.environment(launch))
            if launcher.observe(key)[0] is Process.RUNNING:
                self._liveness.watch(key)
        except LaunchFailed as error:
            cause = common.EXIT_CAUSE_DETERMINISTIC if error.deterministic else common.EXIT_CAUSE_LAUNCH_FAILED
            log.warning(
                "attempt.launch_failed", extra={"runtime": view.runtime_id, "trial": step.trial, "error": error.message}
            )
            fence = control.EndAttempt(step.trial, step.attempt, facts.FENCE_REASON_LAUNCH_FAILED, cause, error.message)
            await self._end_attempt(view, fence)

    async def _reap(self, view: RuntimeView, step: control.Reap) -> None:
        log.warning(
            "attempt.did_not_leave", extra={"runtime": view.runtime_id, "trial": step.trial, "attempt": step.attempt}
        )
        await self._launcher(view).kill(AttemptKey(view.runtime_id, step.trial, step.attempt))

    async def _report_health(self, view: RuntimeView, step: control.ReportHealth) -> None:
        changes = [t.last["InstanceHealthChanged"] for t in view.trials.values() if "InstanceHealthChanged" in t.last]
        newest = max(changes, key=lambda reference: reference.sequence, default=None)
        await self._decide_runtime(view, runtime.ReportHealth(step.health, step.reason), because_of(newest))

    async def _report_readiness(self, view: RuntimeView, step: control.ReportReadiness) -> None:
        names = ("InstanceReadinessChanged", "InstanceExited", "AttemptFenced", "AttemptEnded")
        changes = [t.last[name] for t in view.trials.values() for name in names if name in t.last]
        newest = max(changes, key=lambda reference: reference.sequence, default=None)
        await self._decide_runtime(view, runtime.ReportReadiness(step.ready, step.reason), because_of(newest))

    async def _report_waiting(self, view: RuntimeView, step: control.ReportWaiting) -> None:
        cause = behind(view.last, "ResourcesAllocated")
        command = runtime.ReportPending(runtime_facts.PENDING_REASON_CLUSTER_QUEUE, step.detail)
        await self._decide_runtime(view, command, cause)

    async def _report_started(self, view: RuntimeView, step: control.ReportStarted) -> None:
        started = [t.last["AttemptStarted"] for t in view.trials.values() if "AttemptStarted" in t.last]
        first = min((r for r in started if r.sequence > view.began), key=lambda r: r.sequence, default=None)
        await self._decide_runtime(view, runtime.ReportStarted(), because_of(first))

    async def _end_runtime(self, view: RuntimeView, step: control.EndRuntime) -> None:
        names = ("TrialCompleted", "TrialFailed", "TrialStopped")
        ends = [t.last[name] for t in view.trials.values() for name in names if name in t.last]
        last = max(ends, key=lambda r: r.sequence, default=view.last.get("StopRequested"))
        await self._decide_runtime(view, step.command, because_of(last))

    async def _release(self, view: RuntimeView, step: control.Release) -> None:
        cause = behind(view.last, "RuntimeAborted", "RuntimeFailed", "RuntimeCompleted")
        await self._decide_runtime(view, runtime.ReleaseResources(), cause)
        self._placing.ask()

    async def _give_back(self, view: RuntimeView, step: control.GiveBack) -> None:
        held, configuration = view.state.allocation, view.state.configuration
        wanted = self._placing.to_give_back(view)
        if held is None or configuration is None or wanted is None:
            return
        after = sharing.with_fewer(held, placement.need_of(configuration), step.trials, gpus_in_use(view))
        cause = behind(view.last, "ResourcesAdjusted", "ResourcesAllocated")
        await self._decide_runtime(view, runtime.AdjustResources(held, after, step.trials, wanted.because), cause)
        self._placing.ask()

    async def _start_purge(self, view: RuntimeView, step: control.StartPurge) -> None:
        await self._decide_runtime(view, runtime.StartPurge(), behind(view.last, "DeleteRequested"))

    async def _purge(self, view: RuntimeView, step: control.Purge) -> None:
        runtime_id = view.runtime_id
        await self._give_up_snapshots(view)
        report = await self._purger.purge(view)
        if report.remaining:
            pauses = self._purge_pauses.setdefault(runtime_id, Backoff(PURGE_RETRY_SECONDS, MAX_PURGE_RETRY_SECONDS))
            self._purges[runtime_id] = self._clock() + timedelta(seconds=next(pauses))
        else:
            self._purges.pop(runtime_id, None)
            self._purge_pauses.pop(runtime_id, None)
        cause = behind(view.last, "DeleteRequested", "PurgeStarted")
        branch = view.state.branch
        if report.remaining or branch is None or branch.origin.runtime_id not in self._views.runtimes:
            await self._decide_runtime(view, report, cause)
            return
        # What it began at is no longer needed.
        at = branch.origin
        self._purges.pop(at.runtime_id, None)
        let_go = trial.LetSnapshotGo(at.snapshot_id, runtime_id)
        await self._decisions.decide_together(
            {runtime_id: {None: [report]}, at.runtime_id: {at.trial: [let_go]}}, cause
        )

    async def _give_up_snapshots(self, view: RuntimeView) -> None:
        """Have no branch begin at a snapshot that is about to be removed: one may have been looked at before the purge."""
        cause = behind(view.last, "DeleteRequested", "PurgeStarted")
        open_ones = [number for number, one in view.trials.items() if one.state.snapshots and not one.state.purging]
        for first in range(0, len(open_ones), PURGED_AT_ONCE):
            commands: Commands = {number: [trial.StartPurge()] for number in open_ones[first : first + PURGED_AT_ONCE]}
            await self._decisions.decide(view.runtime_id, commands, cause)

    # --- liveness

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._measure()
            self._placing.tick()
            for runtime_id in self._views.due_purges(self._clock()):
                self._mark(runtime_id)
            for number, key in enumerate(self._liveness.watched()):
                if number % JUDGED_AT_ONCE == 0:
                    # Nothing below need wait for anything: with thousands of attempts, commands would wait for all of it.
                    await asyncio.sleep(0)
                try:
                    await self._judge(key)
                except (MilepostError, EventLogError) as error:
                    log.warning("scheduler.judgement_failed", extra={"attempt": str(key), "error": str(error)})

    async def _judge(self, key: AttemptKey) -> None:
        """Say what changed in the health of the instances of an attempt; have it ended if it is lost."""
        view = self._views.runtimes.get(key.runtime_id)
        one = view.trials.get(key.trial) if view is not None else None
        active = one.state.active if one is not None else None
        if view is None or one is None or active is None or view.state.configuration is None:
            return
        if active.attempt != key.attempt or not active.may_write:
            return
        stall_seconds = view.state.configuration.limits.stall_seconds or stalls.MIN_STALL_SECONDS
        reports = self._liveness.reports(key, active.health, stall_seconds)
        reports += self._liveness.diagnose(key, active, stall_seconds) if active.stalls.stacks else []
        reports += self._liveness.observe_straggler(key, active)
        if reports:
            await self._decide_trial(view, key.trial, reports, behind(one.last, "AttemptLaunched"))
        launcher = self._launcher(view)
        if launcher.takes_over:
            over = bool(self._liveness.why_lost(key, view.state.configuration.limits.heartbeat_grace_seconds))
        else:
            over = self._liveness.is_quiet(key) and launcher.observe(key)[0] is Process.GONE
        if over:
            self._mark(key.runtime_id)

    def _measure(self) -> None:
        counts = self._views.phase_counts()
        for phase in runtime.Phase:
            self._runtimes.set(counts[phase.value], {"phase": phase.value})
        batches, size = self._liveness.spooled()
        self._spooled.set(batches)
        self._spooled_bytes.set(size)

    # --- deciding

    async def _decide_trial(self, view: RuntimeView, number: int, commands: list[object], cause: Cause) -> None:
        await self._decisions.decide(view.runtime_id, {number: commands}, cause)

    async def _decide_runtime(self, view: RuntimeView, command: object, cause: Cause) -> None:
        await self._decisions.decide(view.runtime_id, {None: [command]}, cause)


_EXECUTE: dict[type, Callable[[Scheduler, RuntimeView, Any], Awaitable[None]]] = {
    control.CreateTrials: Scheduler._create_trials,
    control.OrderStop: Scheduler._order_stop,
    control.OrderResume: Scheduler._order_resume,
    control.EndAttempt: Scheduler._end_attempt,
    control.Conclude: Scheduler._conclude,
    control.Launch: Scheduler._launch,
    control.Spawn: Scheduler._spawn,
    control.Reap: Scheduler._reap,
    control.GiveBack: Scheduler._give_back,
    control.ReportStarted: Scheduler._report_started,
    control.ReportHealth: Scheduler._report_health,
    control.ReportReadiness: Scheduler._report_readiness,
    control.ReportWaiting: Scheduler._report_waiting,
    control.EndRuntime: Scheduler._end_runtime,
    control.Release: Scheduler._release,
    control.StartPurge: Scheduler._start_purge,
    control.Purge: Scheduler._purge,
}


def creations(view: RuntimeView, numbers: tuple[int, ...]) -> dict[int | None, list[object]]:
    """Return the commands that create trials of a runtime."""
    if view.state.configuration is None:
        return {}
    return create_commands(view.runtime_id, view.state.configuration, numbers, view.state.branch)


def create_commands(
    runtime_id: str,
    configuration: config.RuntimeConfiguration,
    numbers: tuple[int, ...],
    branch: runtime_facts.Branch | None = None,
) -> dict[int | None, list[object]]:
    """Return the commands that create trials with their parameters."""
    expanded = configurations.expand(configuration)
    origin = branch.origin if branch is not None and not branch.weights_only else None
    return {
        n: [trial.CreateTrial(runtime_id, n, expanded[n - 1].parameters, expanded[n - 1].searched, origin)]
        for n in numbers
    }


def _conclusion_command(attempt: int, conclusion: retry.Conclusion, max_retries: int) -> object:
    match conclusion:
        case retry.Complete():
            return trial.CompleteTrial(attempt)
        case retry.GoOn():
            return trial.GoOn(attempt)
        case retry.Stop(reason):
            return trial.MarkStopped(reason)
        case retry.Retry(not_before_time, cause, detail, interrupted):
            return trial.ScheduleRetry(attempt, max_retries, not_before_time, cause, detail, interrupted)
        case retry.Fail(reason, detail):
            return trial.FailTrial(attempt, reason, detail)


def _is_settled(one: control.TrialPicture) -> bool:
    """Return whether nothing can follow for a trial before a fact about it, and nothing of it runs."""
    at_rest = isinstance(one.state.situation, trial.Stopped | trial.Failed | trial.Completed)
    return at_rest and not one.process.is_held


def _is_at_rest(view: RuntimeView, now: datetime) -> bool:
    """Nothing can follow for this runtime without a command."""
    state = view.state
    if state.phase is runtime.Phase.RESTORABLE:
        return state.purge_time is None or now < state.purge_time
    return state.phase in (None, runtime.Phase.ENDED, runtime.Phase.DELETED)
