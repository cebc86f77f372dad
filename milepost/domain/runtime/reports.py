"""Decisions about what the scheduler reports of a runtime: resources, how it goes, how it ended, what was purged."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain.runtime.commands import (
    AbortRuntime,
    AdjustResources,
    AllocateResources,
    CompleteRuntime,
    FailRuntime,
    ReleaseResources,
    ReportHealth,
    ReportPending,
    ReportPurged,
    ReportReadiness,
    ReportStarted,
    StartPurge,
)
from milepost.domain.runtime.states import BEFORE_RUNNING, Phase, Runtime
from milepost.errors import FailedPrecondition


def report_pending(state: Runtime, command: ReportPending) -> list[Message]:
    known = state.pending
    if command.reason == facts.PENDING_REASON_CLUSTER_QUEUE:
        # Which job waits, and for what, is in the detail alone.
        waits = state.in_progress and state.stop is None and state.allocation is not None
        if not waits or (known is not None and known.detail == command.detail):
            return []
    elif state.phase is not Phase.QUEUED or (known is not None and known.reason == command.reason):
        return []
    return [facts.ResourcesPending(reason=command.reason, detail=command.detail)]


def allocate(state: Runtime, command: AllocateResources) -> list[Message]:
    if state.phase is not Phase.QUEUED or state.allocation is not None:
        return []
    held = command.allocation
    return [
        facts.ResourcesAllocated(
            cpus=held.cpus,
            memory_gigabytes=held.memory_gigabytes,
            gpus=held.gpus,
            host=held.host,
            gpu_count=held.gpu_count,
        )
    ]


def adjust(state: Runtime, command: AdjustResources) -> list[Message]:
    if not state.in_progress or state.allocation != command.before or command.after == command.before:
        return []
    held = command.after
    return [
        facts.ResourcesAdjusted(
            cpus=held.cpus,
            memory_gigabytes=held.memory_gigabytes,
            gpus=held.gpus,
            gpu_count=held.gpu_count,
            trials=command.trials,
            because=command.because,
        )
    ]


def report_started(state: Runtime, _: ReportStarted) -> list[Message]:
    return [facts.RuntimeStarted()] if state.phase in BEFORE_RUNNING else []


def abort(state: Runtime, command: AbortRuntime) -> list[Message]:
    if not state.in_progress:
        return []
    if state.stop is None and not command.trials_stopped:
        raise FailedPrecondition(f"no stop of runtime {state.runtime_id} was requested", reason="NO_STOP_REQUESTED")
    return [facts.RuntimeAborted(reason=command.reason)]


def fail(state: Runtime, command: FailRuntime) -> list[Message]:
    if not state.in_progress:
        return []
    if state.stop is not None:
        # An accepted stop wins over a later crash.
        return [facts.RuntimeAborted(reason=f"stopped; while stopping: {command.detail}")]
    return [facts.RuntimeFailed(reason=command.reason, detail=command.detail, trial=command.trial)]


def complete(state: Runtime, command: CompleteRuntime) -> list[Message]:
    return [facts.RuntimeCompleted(detail=command.detail)] if state.in_progress else []


def release(state: Runtime, _: ReleaseResources) -> list[Message]:
    if state.phase is Phase.TERMINATING or (state.allocation is not None and not state.in_progress):
        return [facts.ResourcesReleased()]
    return []


def start_purge(state: Runtime, _: StartPurge) -> list[Message]:
    return [facts.PurgeStarted()] if state.phase is Phase.RESTORABLE else []


def report_purged(state: Runtime, command: ReportPurged) -> list[Message]:
    if state.phase is not Phase.DELETING:
        raise FailedPrecondition(f"runtime {state.runtime_id} is not being deleted", reason="NOT_DELETING")
    if command.remaining and _what(command.remaining) == _what(state.purge_remaining):
        # Tried again for ever, it must not fill the log, which keeps everything.
        return []
    return [
        facts.RuntimePurged(
            snapshot_count=command.snapshot_count,
            snapshot_bytes=command.snapshot_bytes,
            point_count=command.point_count,
            log_line_count=command.log_line_count,
            remaining=command.remaining,
        )
    ]


def _what(remaining: Iterable[str]) -> set[str]:
    """Name what remains, without the reasons, which may be worded otherwise each time."""
    return {line.partition(": ")[0] for line in remaining}


def report_health(state: Runtime, command: ReportHealth) -> list[Message]:
    if not state.in_progress or state.health == command.health:
        return []
    return [facts.HealthChanged(health=command.health, reason=command.reason)]


def report_readiness(state: Runtime, command: ReportReadiness) -> list[Message]:
    if not state.in_progress or state.ready == command.ready:
        return []
    return [facts.ReadinessChanged(ready=command.ready, reason=command.reason)]
