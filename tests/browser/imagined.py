"""Services that make their answers up, behind the real gateway: for work on the page without a trainer.

`python -m tests.browser.imagined` serves a few runtimes in every state; `--runtimes 1000 --running 100` many of them,
`--log-lines 1000000` a long log. Everything is a function of the time, so a stream can be resumed anywhere. Commands
change nothing but the words of the answer. None of this is part of the package.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import math
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvicorn
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from milepost.api.audit.v1 import audit_service_pb2 as audit
from milepost.api.audit.v1 import audit_service_pb2_grpc as audit_grpc
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import options_pb2 as options
from milepost.api.event.v1 import recorded_event_pb2 as recorded
from milepost.api.event.v1 import runtime_events_pb2 as runtime_events
from milepost.api.event.v1 import trial_events_pb2 as trial_events
from milepost.api.log.v1 import log_service_pb2 as logs
from milepost.api.log.v1 import log_service_pb2_grpc as logs_grpc
from milepost.api.metric.v1 import metric_service_pb2 as metrics
from milepost.api.metric.v1 import metric_service_pb2_grpc as metrics_grpc
from milepost.api.rule.v1 import rule_service_pb2 as rules
from milepost.api.rule.v1 import rule_service_pb2_grpc as rules_grpc
from milepost.api.runtime.v1 import runtime_service_pb2 as runtimes
from milepost.api.runtime.v1 import runtime_service_pb2_grpc as runtimes_grpc
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.trial.v1 import trial_service_pb2 as trials
from milepost.api.trial.v1 import trial_service_pb2_grpc as trials_grpc
from services.gateway.app import Gateway, Services, Telemetry, create_app
from tests.browser.search import made_up

WEB = Path(__file__).resolve().parent.parent.parent / "services" / "gateway" / "web"
TICK_SECONDS = 0.25
# The search that a sampler made.
SEARCHED = "rt-" + "5" * 26
# The same search with two objectives.
SEVERAL = "rt-" + "6" * 26
BEGAN = time.time() - 7200
KEYS = ("train/learning_rate", "train/grad_norm", "train/loss")
EVAL_KEYS = ("eval/loss", "eval/perplexity")
SYSTEM_KEYS = ("system/cpu_percent", "system/memory_bytes")


def timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(int(seconds * 1000))
    return stamp


def duration(seconds: float) -> Duration:
    value = Duration()
    value.FromMilliseconds(max(0, int(seconds * 1000)))
    return value


def position() -> int:
    """The telemetry sequence of now."""
    return int((time.time() - BEGAN) / TICK_SECONDS)


def moment(sequence: int) -> float:
    return BEGAN + sequence * TICK_SECONDS


@dataclass(frozen=True)
class Execution:
    """An attempt: it went on after `restored` at time `begin`, and stopped after `last` steps (None: it runs on)."""

    number: int
    begin: float
    restored: int = 0
    last: int | None = None


@dataclass
class Imagined:
    """One runtime with one trial or more, all alike."""

    identity: str
    name: str
    status: str
    phase: str
    total: int = 10_000
    rate: float = 4.0
    executions: list[Execution] = field(default_factory=list)
    per_epoch: int = 3_000
    eval_every: int = 250
    snapshot_every: int = 1_000
    nan_from: int = 0
    reason: str = ""
    trials: int = 1
    log_lines: int = 0
    seed: int = 0
    known_total: bool = True
    # Its trials were chosen by a sampler, and most of them were pruned.
    searched: bool = False
    several: bool = False

    def step_at(self, when: float) -> int:
        step = 0
        for one in self.executions:
            if when < one.begin:
                break
            done = one.restored + int((when - one.begin) * self.rate)
            step = min(done, one.last if one.last is not None else self.total)
        return step

    def owner(self, steps: np.ndarray) -> np.ndarray:
        attempts: np.ndarray = np.ones(len(steps), np.int64)
        for one in self.executions:
            attempts[steps > one.restored] = one.number
        return attempts

    def time_of(self, steps: np.ndarray, attempt: int | None = None) -> np.ndarray:
        times = np.zeros(len(steps))
        for one in self.executions:
            mine = steps > one.restored if attempt is None else np.full(len(steps), one.number == attempt)
            times[mine] = one.begin + (steps[mine] - one.restored) / self.rate
        return times

    def values(self, key: str, steps: np.ndarray, attempt: int = 0) -> np.ndarray:
        x = steps / self.total
        salt = self.seed * 7.13 + attempt * 1.7 + len(key)
        noise = np.modf(np.sin(steps * 12.9898 + salt) * 43758.5453)[0]
        slow = np.sin(steps / self.total * 40 + salt) * 0.5 + np.sin(steps / self.total * 91 + salt * 2) * 0.3
        if key == "train/learning_rate":
            warm = np.minimum(1.0, steps / max(1, self.total * 0.05))
            return 3e-3 * warm * (0.1 + 0.9 * 0.5 * (1 + np.cos(math.pi * np.clip(x, 0, 1))))
        if key == "train/grad_norm":
            return (
                0.42 + 1.9 * np.exp(-x * 14) + 0.16 * np.abs(noise) ** 3 + 0.05 * slow + (np.abs(noise) > 0.9995) * 2.4
            )
        if key == "train/loss":
            loss = (
                2.02 + 3.4 * np.exp(-x * 9) + 1.2 * np.exp(-x * 60) + 0.09 * noise * (1 + np.exp(-x * 4)) + 0.03 * slow
            )
            return np.where((steps >= self.nan_from) & (self.nan_from > 0), np.nan, loss)
        if key == "eval/loss":
            return 2.16 + 3.2 * np.exp(-x * 9) + 0.02 * noise
        if key == "eval/perplexity":
            return np.exp(2.16 + 3.2 * np.exp(-x * 9) + 0.02 * noise)
        if key == "system/cpu_percent":
            return 88 + 6 * noise + 4 * slow
        return (1.2 + 0.6 * x + 0.01 * noise) * 1e9

    def every(self, key: str) -> int:
        return self.eval_every if key in EVAL_KEYS else 10 if key in SYSTEM_KEYS else 1

    def steps(self, key: str, first: int, last: int) -> np.ndarray:
        every = self.every(key)
        return np.arange(max(every, -(-max(first, 1) // every) * every), last + 1, every)


def _status(word: str) -> Any:
    return runtimes.RuntimeStatus.Value(f"RUNTIME_STATUS_{word.upper()}")


def begin_of(run: Imagined) -> float:
    return run.executions[0].begin


# What an answer of the log service has at most.
MAX_LINES = 5_000


class World:
    """All imagined runtimes and what can be read of them."""

    def __init__(self, runs: list[Imagined]) -> None:
        self.runs = {run.identity: run for run in runs}
        # Lines that fit into an answer: fewer than a page has where they are long.
        self.fitting_lines = MAX_LINES

    def run(self, name: str) -> Imagined:
        return self.runs[name.split("/")[1]]

    def runtime(self, run: Imagined) -> runtimes.Runtime:
        begin = run.executions[0].begin if run.executions else BEGAN + 7000
        message = runtimes.Runtime(
            name=f"runtimes/{run.identity}", runtime_id=run.identity, display_name=run.name, status=_status(run.status),
            phase=f"RUNTIME_PHASE_{run.phase}", reason=run.reason, changed_by="local:ada",
            change_time=timestamp(run.executions[-1].begin if run.executions else begin), create_time=timestamp(begin - 2),
            created_by="local:ada", start_time=timestamp(begin), trial_count=run.trials, ready=run.phase == "RUNNING",
            health=common.HEALTH_HEALTHY, sequence=1000, configuration_digest="sha256:" + "3f" * 32, labels={"team": "nlp"},
        )  # fmt: skip
        message.configuration.CopyFrom(
            config.RuntimeConfiguration(
                name=run.name, entrypoint="milepost.recipes.language_model:train",
                parameters={"learning_rate": "0.003" if run.seed % 2 else "0.001", "epochs": "3", "batch_size": "32"},
                launcher=config.LAUNCHER_LOCAL, resources=config.Resources(cpus_per_worker=1),
                snapshots=config.SnapshotPolicy(every_steps=run.snapshot_every, keep_last=3),
                retries=config.RetryPolicy(max_retries=2, backoff_seconds=5), limits=config.Limits(stop_deadline_seconds=300),
                labels={"team": "nlp"},
            )
        )  # fmt: skip
        if run.searched:
            message.configuration.search.CopyFrom(made_up.SEVERAL if run.several else made_up.SEARCH)
        message.configuration_text = f"name: {run.name}\nentrypoint: milepost.recipes.language_model:train\n"
        if run.status == "Failed":
            message.failure_reason = common.FAILURE_REASON_TRAINING_ERROR
        if run.phase == "QUEUED":
            message.pending_reason = runtime_events.PENDING_REASON_INSUFFICIENT_CPU
            message.queue_position = 2
        return message

    def trial(self, run: Imagined, number: int, brief: bool = False, when: float = 0.0) -> trials.Trial:
        now = when or time.time()
        waiting_turn = number > 1 and run.status == "Started"
        step = 0 if waiting_turn else run.step_at(now)
        running = run.phase == "RUNNING" and not waiting_turn
        word = {"Started": "RUNNING" if running else "WAITING", "Aborted": "WAITING"}.get(
            run.status, run.status.upper()
        )
        message = trials.Trial(
            name=f"runtimes/{run.identity}/trials/{number}", runtime_id=run.identity, trial=number,
            status=f"TRIAL_STATUS_{word}", attempt=len(run.executions), attempt_count=len(run.executions),
            parameters={"learning_rate": str(0.003 / number)}, searched_parameters={"learning_rate": str(0.003 / number)} if run.trials > 1 else {},
            elapsed=duration(step / run.rate), telemetry_sequence=position() if running else 1, events_sequence=1000,
        )  # fmt: skip
        if word == "WAITING":
            message.waiting_reason = (
                trials.WAITING_REASON_STOPPED if run.status == "Aborted" else trials.WAITING_REASON_QUEUED
            )
        if run.executions and not waiting_turn:
            message.start_time.CopyFrom(timestamp(run.executions[0].begin))
        self._progress(message, run, step, running)
        if step:
            for key in KEYS:
                message.last_values[key] = float(run.values(key, np.array([step]))[0])
        if not brief and not waiting_turn:
            self._marks(message, run, step)
        if run.searched:
            describe = made_up.describe_several if run.several else made_up.describe
            describe(message, run.trials, begin_of(run))
        return message

    def _progress(self, message: trials.Trial, run: Imagined, step: int, running: bool) -> None:
        progress = message.progress
        progress.step = step
        progress.epoch = min(step // run.per_epoch, (run.total - 1) // run.per_epoch)
        progress.batch = step - progress.epoch * run.per_epoch
        progress.batches_per_epoch = progress.steps_per_epoch = run.per_epoch
        progress.step_time.CopyFrom(timestamp(time.time()))
        since = step % run.eval_every
        if running and step > run.eval_every and since < 8:
            progress.phase = trials.PROGRESS_PHASE_EVALUATING
            progress.evaluation_batch, progress.evaluation_batches = since * 5, 40
        else:
            progress.phase = trials.PROGRESS_PHASE_TRAINING
        progress.batch_text = f"E{progress.epoch} {progress.batch}/{run.per_epoch}"
        if run.known_total:
            progress.total_steps = run.total
            progress.epochs = -(-run.total // run.per_epoch)
            progress.completion_percent = math.floor(step / run.total * 1000) / 10
            progress.eval_every_steps = run.eval_every
        if not running:
            return
        message.throughput.steps_per_second = run.rate
        message.throughput.samples_per_second = run.rate * 32
        message.throughput.step_seconds_p50 = 1 / run.rate
        message.throughput.step_seconds_p95 = 1.3 / run.rate
        if run.known_total and step > 50:
            left = (run.total - step) / run.rate
            message.estimate.remaining.CopyFrom(duration(left))
            message.estimate.remaining_low.CopyFrom(duration(left * 0.94))
            message.estimate.remaining_high.CopyFrom(duration(left * 1.07))
            message.estimate.finish_time.CopyFrom(timestamp(time.time() + left))

    def _marks(self, message: trials.Trial, run: Imagined, step: int) -> None:
        end = run.total if run.known_total else step
        for at in range(run.eval_every, end + 1, run.eval_every):
            mark = message.markers.add(kind=trials.MARKER_KIND_EVALUATION, step=at, planned=at > step)
            if at <= step:
                mark.values["eval/loss"] = float(run.values("eval/loss", np.array([at]))[0])
                mark.time.CopyFrom(timestamp(float(run.time_of(np.array([at]))[0])))
        for epoch, at in enumerate(range(run.per_epoch, end + run.per_epoch, run.per_epoch)):
            mark = message.markers.add(
                kind=trials.MARKER_KIND_EPOCH_END, step=min(at, end), planned=at > step, epoch=epoch
            )
            if at <= step:
                mark.time.CopyFrom(timestamp(float(run.time_of(np.array([at]))[0])))
        for at in range(run.snapshot_every, step + 1, run.snapshot_every):
            message.markers.add(kind=trials.MARKER_KIND_SNAPSHOT, step=at, snapshot_id=f"step-{at:012d}-a1")
        message.newest_snapshot_step = step // run.snapshot_every * run.snapshot_every
        for before, after in zip(run.executions, run.executions[1:], strict=False):
            if before.last is not None and before.last > after.restored:
                message.redone.add(attempt=before.number, first_step=after.restored, last_step=before.last)
                message.hints.append(f"resumed from step {after.restored:,}")
        if run.nan_from and step >= run.nan_from:
            message.hints.append(f"loss is NaN since step {run.nan_from:,}")
        begin = run.executions[-1].begin if run.executions else BEGAN
        message.instances.add(
            rank=0, attempt=len(run.executions), host="localhost", process_id=4711, devices=["cpu"], ready=True,
            health=common.HEALTH_HEALTHY, start_time=timestamp(begin), software="Python 3.11, torch 2.13",
        )  # fmt: skip

    def events(self, run: Imagined, when: float) -> list[recorded.RecordedEvent]:
        found: list[tuple[float, Any, str, str]] = []
        for one in run.executions:
            found.append(
                (
                    one.begin - 0.4,
                    trial_events.TrialEvent(
                        attempt_launched=trial_events.AttemptLaunched(attempt=one.number, snapshot_step=one.restored)
                    ),
                    f"attempt {one.number} is launched on localhost",
                    "SCHEDULING",
                )
            )
            found.append(
                (
                    one.begin,
                    trial_events.TrialEvent(
                        attempt_started=trial_events.AttemptStarted(
                            attempt=one.number, restored_step=one.restored, world_size=1
                        )
                    ),
                    f"attempt {one.number} began after step {one.restored:,}",
                    "LIFECYCLE",
                )
            )
            found.append(
                (
                    one.begin,
                    trial_events.TrialEvent(
                        instance_started=trial_events.InstanceStarted(
                            attempt=one.number, host="localhost", process_id=4711, devices=["cpu"]
                        )
                    ),
                    "rank 0 started on localhost (cpu)",
                    "LIFECYCLE",
                )
            )
            last = min(run.step_at(when), one.last if one.last is not None else run.total)
            for at in range(one.restored // run.eval_every * run.eval_every + run.eval_every, last + 1, run.eval_every):
                value = float(run.values("eval/loss", np.array([at]))[0])
                found.append(
                    (
                        one.begin + (at - one.restored) / run.rate,
                        trial_events.TrialEvent(
                            evaluation_completed=trial_events.EvaluationCompleted(
                                attempt=one.number, step=at, values={"eval/loss": value}, duration_seconds=1.9
                            )
                        ),
                        f"evaluation at step {at:,}: eval/loss {value:.4f}",
                        "EVALUATION",
                    )
                )
            for at in range(
                one.restored // run.snapshot_every * run.snapshot_every + run.snapshot_every,
                last + 1,
                run.snapshot_every,
            ):
                found.append(
                    (
                        one.begin + (at - one.restored) / run.rate + 0.1,
                        trial_events.TrialEvent(
                            snapshot_committed=trial_events.SnapshotCommitted(
                                attempt=one.number,
                                step=at,
                                snapshot_id=f"step-{at:012d}-a{one.number}",
                                byte_count=48_000_000,
                            )
                        ),
                        f"snapshot at step {at:,}, 48 MB",
                        "SNAPSHOT",
                    )
                )
        found.sort(key=lambda one: one[0])
        return [self._event(run, number, *one) for number, one in enumerate(found, 1) if one[0] <= when]

    def _event(
        self, run: Imagined, number: int, at: float, body: Any, message: str, category: str
    ) -> recorded.RecordedEvent:
        kind = body.WhichOneof("payload")
        return recorded.RecordedEvent(
            sequence=number, event_id=f"{run.identity}-{number}", type=f"milepost.trial.{kind}.v1", subject=f"events.{run.identity}.trial.1.attempt-1",
            event_time=timestamp(at), recorded_time=timestamp(at + 0.003), actor="trainer", cause=f"{run.identity}-{max(1, number - 1)}" if number > 1 else "",
            version=number, hash="ab" * 32, scope=options.SCOPE_INSTANCE if kind.startswith("instance") else options.SCOPE_DEPLOYMENT,
            category=f"CATEGORY_{category}", runtime_id=run.identity, trial=1, attempt=1, message=message,
            repeat_count=1, trial_event=body,
        )  # fmt: skip


class RuntimeService(runtimes_grpc.RuntimeServiceServicer):
    def __init__(self, world: World) -> None:
        self.world = world

    async def _known(self, name: str, context: Any) -> Imagined:
        run = self.world.runs.get(name.split("/")[1])
        if run is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no runtime {name}")
        assert run is not None
        return run

    async def GetRuntime(self, request: Any, context: Any) -> Any:
        return runtimes.GetRuntimeResponse(runtime=self.world.runtime(await self._known(request.name, context)))

    async def ListRuntimes(self, request: Any, context: Any) -> Any:
        runs = [run for run in self.world.runs.values() if self._matches(run, request.filter)]
        first = int(request.page_token or 0)
        size = request.page_size or 50
        answer = runtimes.ListRuntimesResponse(
            runtimes=[self.world.runtime(run) for run in runs[first : first + size]],
            next_page_token=str(first + size) if first + size < len(runs) else "", total_size=len(runs), sequence=1000,
        )  # fmt: skip
        for word, count in Counter(run.status for run in self.world.runs.values()).items():
            answer.status_counts[word] = count
        return answer

    def _matches(self, run: Imagined, text: str) -> bool:
        terms = [term for term in text.split(" AND ") if term]
        return all(
            run.status == term.removeprefix("status=")
            if term.startswith("status=")
            else term.lower() in (run.name + run.identity).lower()
            for term in terms
        )

    async def WatchRuntimes(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.after_sequence == 0:
            for run in [self.world.run(request.name)] if request.name else self.world.runs.values():
                yield runtimes.WatchRuntimesResponse(runtime=self.world.runtime(run), sequence=1000)
        yield runtimes.WatchRuntimesResponse(caught_up=True, sequence=1000)
        await asyncio.Event().wait()

    async def PreviewStop(self, request: Any, context: Any) -> Any:
        run = await self._known(request.name, context)
        step = run.step_at(time.time())
        at = step // run.snapshot_every * run.snapshot_every
        loss = runtimes.StopLoss(
            trial=1,
            current_step=step,
            snapshot_step=at,
            lost_steps=step - at,
            lost_time=duration((step - at) / run.rate),
        )
        text = f"{step - at} steps, {(step - at) / run.rate:.0f} s since the snapshot at step {at:,}"
        return runtimes.PreviewStopResponse(
            losses=[loss],
            abrupt_message=text,
            graceful_message="Nothing is lost: a snapshot is taken first",
            stoppable=True,
        )

    async def StopRuntime(self, request: Any, context: Any) -> Any:
        run = await self._known(request.name, context)
        run.phase, run.reason = "STOPPING", f"stop requested: {request.reason or 'no reason given'}"
        return runtimes.StopRuntimeResponse(runtime=self.world.runtime(run))

    async def ListSnapshots(self, request: Any, context: Any) -> Any:
        run = await self._known(request.parent, context)
        answer = runtimes.ListSnapshotsResponse(sequence=1000)
        for at in range(run.step_at(time.time()) // run.snapshot_every * run.snapshot_every, 0, -run.snapshot_every):
            answer.snapshots.add(
                name=f"runtimes/{run.identity}/trials/1/snapshots/step-{at:012d}-a1", snapshot_id=f"step-{at:012d}-a1", trial=1, attempt=1, step=at,
                byte_count=48_123_456, state=runtimes.SNAPSHOT_STATE_COMMITTED, reason=trial_events.SNAPSHOT_REASON_INTERVAL,
                commit_time=timestamp(float(run.time_of(np.array([at]))[0])), metrics={"eval/loss": 2.31}, uri=f"file:///data/{run.identity}/{at}",
            )  # fmt: skip
        return answer

    async def ListRungs(self, request: Any, context: Any) -> Any:
        run = await self._known(request.parent, context)
        return runtimes.ListRungsResponse(
            rungs=made_up.rungs(run.trials) if run.searched and not run.several else [], sequence=1000
        )

    async def GetImportances(self, request: Any, context: Any) -> Any:
        run = await self._known(request.name, context)
        answer = runtimes.GetImportancesResponse(method="made up", value_count=run.trials if run.searched else 0)
        if run.searched:
            shares = [("learning_rate", 0.71), ("optimizer", 0.16), ("layers", 0.08), ("dropout", 0.04)]
            for name, share in [*shares, ("weight_decay", 0.01)]:
                answer.importances.add(parameter=name, share=share)
        return answer

    async def ListEvents(self, request: Any, context: Any) -> Any:
        run = await self._known(request.parent, context)
        events = self.world.events(run, time.time())
        ordered = events[::-1] if request.newest_first else events
        return runtimes.ListEventsResponse(events=ordered[: request.page_size or 100], sequence=len(events))

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:
        run = self.world.run(request.parent)
        seen = request.after_sequence
        while True:
            for event in self.world.events(run, time.time())[seen:]:
                seen = event.sequence
                yield runtimes.WatchEventsResponse(event=event, sequence=seen)
            await asyncio.sleep(1)


class TrialService(trials_grpc.TrialServiceServicer):
    def __init__(self, world: World) -> None:
        self.world = world

    def _of(self, parent: str, brief: bool, wanted: Collection[str] = ()) -> Iterator[trials.Trial]:
        runs = self.world.runs.values() if parent.endswith("/-") else [self.world.run(parent)]
        for run in runs:
            if wanted and run.identity not in wanted:
                continue
            for number in range(1, run.trials + 1):
                yield self.world.trial(run, number, brief)

    async def GetTrial(self, request: Any, context: Any) -> Any:
        return trials.GetTrialResponse(
            trial=self.world.trial(self.world.run(request.name), int(request.name.rsplit("/", 1)[1]))
        )

    async def ListTrials(self, request: Any, context: Any) -> Any:
        found = list(self._of(request.parent, request.brief, set(request.runtime_ids)))
        return trials.ListTrialsResponse(
            trials=found[: request.page_size or 100],
            total_size=len(found),
            events_sequence=1000,
            telemetry_sequence=position(),
        )

    async def ListAttempts(self, request: Any, context: Any) -> Any:
        run = self.world.run(request.parent)
        answer = trials.ListAttemptsResponse()
        for one in run.executions:
            answer.attempts.add(
                attempt=one.number,
                start_time=timestamp(one.begin),
                restored_step=one.restored,
                last_step=one.last or 0,
                fenced=one.last is not None,
                world_size=1,
            )
        return answer

    async def WatchTrials(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.after_telemetry_sequence == 0:
            for trial in self._of(request.parent, request.brief):
                yield trials.WatchTrialsResponse(trial=trial, telemetry_sequence=position(), events_sequence=1000)
        yield trials.WatchTrialsResponse(caught_up=True, telemetry_sequence=position(), events_sequence=1000)
        running = {run.identity for run in self.world.runs.values() if run.phase == "RUNNING"}
        while running:
            await asyncio.sleep(TICK_SECONDS)
            for trial in self._of(request.parent, request.brief, running):
                if trial.status == trials.TRIAL_STATUS_RUNNING:
                    yield trials.WatchTrialsResponse(trial=trial, telemetry_sequence=position(), events_sequence=1000)
        await asyncio.Event().wait()


class MetricService(metrics_grpc.MetricServiceServicer):
    def __init__(self, world: World) -> None:
        self.world = world

    async def ListSeries(self, request: Any, context: Any) -> Any:
        run = self.world.run(request.parent)
        answer = metrics.ListSeriesResponse(telemetry_sequence=position())
        for key in (*KEYS, *EVAL_KEYS, *SYSTEM_KEYS):
            steps = run.steps(key, 1, run.step_at(time.time()))
            if len(steps):
                answer.series.add(key=key, point_count=len(steps), first_step=int(steps[0]), last_step=int(steps[-1]))
        return answer

    async def QuerySeries(self, request: Any, context: Any) -> Any:
        now = position()
        answer = metrics.QuerySeriesResponse(telemetry_sequence=now, events_sequence=1000)
        for parent in request.parents:
            run = self.world.run(parent)
            end = run.step_at(moment(now))
            for key in request.keys:
                steps = run.steps(key, request.first_step, min(request.last_step or end, end))
                if len(steps):
                    answer.series.append(self._data(run, parent, key, steps, request.bucket_count or 1000))
                if not request.include_superseded:
                    continue
                for before, after in zip(run.executions, run.executions[1:], strict=False):
                    tail = run.steps(
                        key,
                        max(request.first_step, after.restored + 1),
                        min(request.last_step or 2**53, before.last or 0),
                    )
                    if len(tail):
                        answer.series.append(
                            self._data(run, parent, key, tail, request.bucket_count or 1000, before.number)
                        )
        return answer

    def _data(self, run: Imagined, parent: str, key: str, steps: np.ndarray, limit: int, attempt: int = 0) -> Any:
        values = run.values(key, steps, attempt)
        shift = 0
        if len(steps) > limit:
            while (int(steps[-1]) >> shift) - (int(steps[0]) >> shift) + 1 > limit:
                shift += 1
        starts = np.flatnonzero(np.diff(steps >> shift, prepend=-1))
        ends: np.ndarray = np.append(starts[1:], len(steps)) - 1
        finite = np.isfinite(values)
        sums = np.add.reduceat(np.where(finite, values, 0), starts)
        counts = ends - starts + 1
        good = np.add.reduceat(finite.astype(np.int64), starts)
        with np.errstate(invalid="ignore"):
            data = metrics.SeriesData(
                parent=parent, key=key, attempt=attempt, superseded=attempt > 0, raw=shift == 0, bucket_width=1 << shift,
                first_steps=steps[starts], last_steps=steps[ends],
                mins=np.where(good > 0, np.minimum.reduceat(np.where(finite, values, np.inf), starts), np.nan),
                maxs=np.where(good > 0, np.maximum.reduceat(np.where(finite, values, -np.inf), starts), np.nan),
                means=np.where(good > 0, sums / np.maximum(good, 1), np.nan), lasts=values[ends], counts=counts,
                last_times_ms=(run.time_of(steps[ends], attempt or None) * 1000).astype(np.int64),
                attempts=run.owner(steps[ends]) if not attempt else np.full(len(ends), attempt),
            )  # fmt: skip
        if (good < counts).any():
            data.nan_counts.extend(counts - good)
        return data

    async def StreamSeries(self, request: Any, context: Any) -> AsyncIterator[Any]:
        run = self.world.run(request.parents[0])
        seen = request.after_telemetry_sequence
        yield metrics.StreamSeriesResponse(caught_up=True, telemetry_sequence=seen or position())
        while True:
            while seen < position():
                first, last = run.step_at(moment(seen)) + 1, run.step_at(moment(seen + 1))
                seen += 1
                if first > last:
                    continue
                answer = metrics.StreamSeriesResponse(telemetry_sequence=seen)
                for key in (*KEYS, *EVAL_KEYS, *SYSTEM_KEYS):
                    steps = run.steps(key, first, last)
                    if len(steps):
                        times: np.ndarray = (run.time_of(steps) * 1000).astype(np.int64)
                        answer.blocks.add(
                            parent=request.parents[0],
                            key=key,
                            attempt=len(run.executions),
                            steps=steps,
                            values=run.values(key, steps),
                            times_ms=times,
                        )
                yield answer
            await asyncio.sleep(TICK_SECONDS / 2)

    async def GetCompleteness(self, request: Any, context: Any) -> Any:
        points = self.world.run(request.parent).step_at(time.time()) * len(KEYS)
        return metrics.GetCompletenessResponse(
            sent_points=points, stored_points=points, message=f"{points:,} sent = {points:,} stored, 0 gaps"
        )


class LogService(logs_grpc.LogServiceServicer):
    def __init__(self, world: World) -> None:
        self.world = world

    def _count(self, run: Imagined) -> int:
        return run.log_lines + run.step_at(time.time()) // 2

    def _line(self, run: Imagined, index: int) -> Any:
        step = max(1, (index - run.log_lines) * 2) if index >= run.log_lines else 1
        at = float(run.time_of(np.array([step]))[0])
        level, stream = telemetry.LOG_LEVEL_INFO, telemetry.LOG_STREAM_STDOUT
        text = f"step {step:,}  loss {float(run.values('train/loss', np.array([step]))[0]):.4f}  \x1b[36mlr\x1b[0m {float(run.values('train/learning_rate', np.array([step]))[0]):.2e}"
        if index % 97 == 13:
            level, stream, text = (
                telemetry.LOG_LEVEL_WARNING,
                telemetry.LOG_STREAM_LOGGER,
                f"gradient norm above its usual range at step {step:,}; clipped to 1.0",
            )
        if index % 451 == 7:
            level, stream, text = (
                telemetry.LOG_LEVEL_ERROR,
                telemetry.LOG_STREAM_STDERR,
                f"could not write preview image for step {step:,}: [Errno 28] No space left on device",
            )
        return logs.LogEntry(
            cursor=f"{index:012d}",
            time=timestamp(at),
            level=level,
            rank=0,
            stream=stream,
            step=step,
            trial=1,
            attempt=1,
            text=text,
        )

    def _matching(self, run: Imagined, filters: Any) -> Any:
        indices = range(self._count(run))
        if not (filters.levels or filters.text or filters.first_step):
            return indices
        lines = ((i, self._line(run, i)) for i in range(max(0, len(indices) - 20_000), len(indices)))
        return [
            i
            for i, line in lines
            if (not filters.levels or line.level in filters.levels)
            and filters.text.lower() in line.text.lower()
            and line.step >= filters.first_step
        ]

    async def QueryLogs(self, request: Any, context: Any) -> Any:
        run = self.world.run(request.parent)
        matching = self._matching(run, request.filter)
        size = min(request.page_size or 200, self.world.fitting_lines)
        if request.backwards:
            end = sum(1 for i in matching if i < int(request.cursor)) if request.cursor else len(matching)
            first = max(0, end - size)
            chosen = matching[first:end]
        else:
            after = int(request.cursor) + 1 if request.cursor else 0
            first = (after if isinstance(matching, range) else sum(1 for i in matching if i < after)) + request.skip
            chosen = matching[first : first + size]
        entries = [self._line(run, i) for i in chosen]
        return logs.QueryLogsResponse(
            entries=entries,
            next_cursor=entries[-1].cursor if len(entries) == size else "",
            total_size=len(matching),
            first_index=first,
        )

    async def StreamLogs(self, request: Any, context: Any) -> AsyncIterator[Any]:
        run = self.world.run(request.parent)
        seen = int(request.cursor) + 1 if request.cursor else 0
        while True:
            end = self._count(run)
            if end > seen:
                entries = [self._line(run, i) for i in range(seen, min(end, seen + 500))]
                seen += len(entries)
                yield logs.StreamLogsResponse(entries=entries, cursor=entries[-1].cursor)
            await asyncio.sleep(0.5)

    async def ListLogFacets(self, request: Any, context: Any) -> Any:
        total = self._count(self.world.run(request.parent))
        rows = [("INFO", total - total // 97 - total // 451), ("WARNING", total // 97), ("ERROR", total // 451)]
        return logs.ListLogFacetsResponse(levels=[logs.Facet(value=name, count=number) for name, number in rows])


class AuditService(audit_grpc.AuditServiceServicer):
    def __init__(self, world: World) -> None:
        self.world = world

    def _when(self, run: Imagined, as_of: Any) -> float:
        if as_of.HasField("time"):
            return float(as_of.time.ToMilliseconds()) / 1000
        events = self.world.events(run, time.time())
        return float(events[min(len(events), as_of.events_sequence) - 1].recorded_time.ToMilliseconds()) / 1000

    async def GetStateAt(self, request: Any, context: Any) -> Any:
        run = self.world.run(request.name)
        when = self._when(run, request.as_of)
        return audit.GetStateAtResponse(
            runtime=self.world.runtime(run), trials=[self.world.trial(run, 1, when=when)], as_of=request.as_of
        )

    async def DiffStates(self, request: Any, context: Any) -> Any:
        run = self.world.run(request.name)
        steps = [str(run.step_at(self._when(run, moment))) for moment in (getattr(request, "from"), request.to)]
        change = audit.FieldChange(path="trials[1].progress.step", before=steps[0], after=steps[1])
        return audit.DiffStatesResponse(changes=[change])

    async def VerifyLog(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for checked in range(0, 18_204, 3_000):
            yield audit.VerifyLogResponse(checked_events=checked, total_events=18_204)
            await asyncio.sleep(0.1)
        yield audit.VerifyLogResponse(
            checked_events=18_204,
            total_events=18_204,
            finished=True,
            valid=True,
            message="18,204 events, 0 gaps, digests equal",
        )


class RuleService(rules_grpc.RuleServiceServicer):
    """There are no rules."""

    async def ListRules(self, request: Any, context: Any) -> Any:
        return rules.ListRulesResponse()

    async def ListFirings(self, request: Any, context: Any) -> Any:
        return rules.ListFiringsResponse()

    async def ListNotifications(self, request: Any, context: Any) -> Any:
        return rules.ListNotificationsResponse()

    async def ListDestinations(self, request: Any, context: Any) -> Any:
        return rules.ListDestinationsResponse()


def imagine(many: int, running: int, log_lines: int, searched: int = 0) -> World:
    now = time.time()

    def name(number: int) -> str:
        return "rt-" + base64.b32encode(number.to_bytes(16, "big")).decode().rstrip("=").lower()

    runs = [
        Imagined(name(1), "pydoc-lm", "Started", "RUNNING", executions=[Execution(1, now - 1030)], reason="attempt 1 is running", log_lines=log_lines, seed=1),
        Imagined(name(2), "pydoc-lm resumed", "Started", "RUNNING", total=8000, rate=6, executions=[Execution(1, now - 1500, 0, 2412), Execution(2, now - 350, 2000)], reason="resumed by local:ada", seed=2),
        Imagined(name(3), "sweep learning rate", "Started", "RUNNING", total=6000, rate=3, executions=[Execution(1, now - 400)], trials=4, reason="trial 1 of 4 is running", seed=3),
        Imagined(name(4), "vision-base", "Started", "QUEUED", reason="waits for 4 CPUs; 2 are free"),
        Imagined(name(5), "nan hunt", "Failed", "ENDED", executions=[Execution(1, now - 3000, 0, 3321)], nan_from=3210, reason="FloatingPointError: loss is NaN", seed=5),
        Imagined(name(6), "pydoc-lm (stopped)", "Aborted", "ENDED", executions=[Execution(1, now - 5000, 0, 6120)], reason="stopped by local:ada", seed=6),
        Imagined(name(7), "pydoc-lm", "Completed", "ENDED", executions=[Execution(1, now - 7000, 0, 10_000)], reason="all trials completed", seed=7),
        Imagined(name(8), "streaming corpus", "Started", "RUNNING", executions=[Execution(1, now - 900)], known_total=False, total=10**7, rate=11, reason="attempt 1 is running", seed=8),
        Imagined(name(9), "long run", "Started", "RUNNING", executions=[Execution(1, now - 4000)], total=10_000_000, rate=200, per_epoch=1_000_000, eval_every=5_000, snapshot_every=100_000, reason="attempt 1 is running", seed=9),
    ]  # fmt: skip
    for number in range(len(runs), many):
        going = number < len(runs) + running
        word = "Started" if going else ("Completed", "Failed", "Aborted")[number % 3]
        last = None if going else 4000 + number % 5000
        runs.append(
            Imagined(
                name(100 + number),
                f"experiment {number}",
                word,
                "RUNNING" if going else "ENDED",
                executions=[Execution(1, now - 500 - number, 0, last)],
                seed=number,
                reason="imagined",
            )
        )
    if searched:
        done = [Execution(1, now - 20_000, 0, made_up.STEPS)]
        for identity, name_, several in ((SEARCHED, "which recipe", False), (SEVERAL, "which size", True)):
            runs.append(
                Imagined(
                    identity, name_, "Completed", "ENDED",
                    executions=done, trials=searched, searched=True, several=several,
                )
            )  # fmt: skip
    return World(runs)


async def serve(world: World, port: int) -> None:
    server = grpc.aio.server()
    runtimes_grpc.add_RuntimeServiceServicer_to_server(RuntimeService(world), server)
    trials_grpc.add_TrialServiceServicer_to_server(TrialService(world), server)
    metrics_grpc.add_MetricServiceServicer_to_server(MetricService(world), server)
    logs_grpc.add_LogServiceServicer_to_server(LogService(world), server)
    audit_grpc.add_AuditServiceServicer_to_server(AuditService(world), server)
    rules_grpc.add_RuleServiceServicer_to_server(RuleService(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    channels = {
        name: grpc.aio.insecure_channel(address, [("grpc.max_receive_message_length", 64 << 20)])
        for name in ("runtime", "trials", "metrics", "rules")
    }
    app = create_app(Gateway(Services(channels), Telemetry(), WEB, "0"), {"127.0.0.1", "localhost"})
    listener = socket.create_server(("127.0.0.1", port))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/  ({datetime.now(UTC):%H:%M:%S})", flush=True)
    await uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    ).serve(sockets=[listener])
    await server.stop(0)


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """Serve imagined runs in a process of their own. Yields the address of the gateway."""
    command = [sys.executable, "-m", "tests.browser.imagined", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0].rstrip("/")
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--runtimes", type=int, default=0)
    parser.add_argument("--running", type=int, default=0)
    parser.add_argument("--log-lines", type=int, default=0)
    parser.add_argument("--searched", type=int, default=0)
    parser.add_argument("--fitting-lines", type=int, default=MAX_LINES)
    arguments = parser.parse_args()
    world = imagine(arguments.runtimes, arguments.running, arguments.log_lines, arguments.searched)
    world.fitting_lines = arguments.fitting_lines
    asyncio.run(serve(world, arguments.port))
