"""Decisions about what people and rules ask of a runtime: to be, to stop, to resume, to be gone, to be labelled."""

from __future__ import annotations

from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import LAUNCHER_EXTERNAL
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain.decider import to_timestamp
from milepost.domain.runtime.commands import (
    DeleteRuntime,
    LabelRuntime,
    RequestRuntime,
    ResumeRuntime,
    StopRuntime,
    UndeleteRuntime,
)
from milepost.domain.runtime.states import ENDED_STATUSES, Phase, Runtime, Status, word
from milepost.errors import AlreadyExists, FailedPrecondition


def request(state: Runtime, command: RequestRuntime) -> list[Message]:
    if state.exists:
        repeated, other = state.configuration_digest == command.configuration_digest, "with another configuration"
        if command.configuration.launcher == LAUNCHER_EXTERNAL and command.request_id:
            # Its attempt belongs to the process that asked for it.
            repeated, other = command.request_id == state.request_id, "already, and was begun by another process"
        if repeated:
            return []
        raise AlreadyExists(f"runtime {state.runtime_id} exists {other}", reason="RUNTIME_EXISTS")
    return [
        facts.RuntimeRequested(
            runtime_id=command.runtime_id,
            configuration_text=command.configuration_text,
            configuration=command.configuration,
            configuration_digest=command.configuration_digest,
            cloned_from=command.cloned_from,
            request_id=command.request_id,
            trial_count=command.trial_count,
            branch=command.branch,
        )
    ]


def stop(state: Runtime, command: StopRuntime) -> list[Message]:
    if state.status is Status.ABORTED:
        return []
    if state.status in ENDED_STATUSES:
        raise FailedPrecondition(
            f"runtime {state.runtime_id} is {word(state)}; only a Started runtime can be stopped",
            reason="RUNTIME_ENDED",
        )
    if state.stop is not None and (
        state.stop.mode == common.STOP_MODE_ABRUPT or command.mode != common.STOP_MODE_ABRUPT
    ):
        return []
    return [
        facts.StopRequested(mode=command.mode, deadline_time=to_timestamp(command.deadline_time), reason=command.reason)
    ]


def resume(state: Runtime, command: ResumeRuntime) -> list[Message]:
    if state.in_progress:
        if state.stop is not None:
            raise FailedPrecondition(
                f"runtime {state.runtime_id} is stopping; resume it when it is Aborted", reason="RUNTIME_STOPPING"
            )
        return []
    if state.phase is Phase.TERMINATING:
        raise FailedPrecondition(
            f"runtime {state.runtime_id} is {word(state)} and still terminating", reason="RUNTIME_TERMINATING"
        )
    if state.status is Status.COMPLETED and not command.extends:
        script = state.configuration is not None and state.configuration.launcher == LAUNCHER_EXTERNAL
        longer = "milepost.init(resume=..., total_steps=...)" if script else "give changes that let it train for longer"
        raise FailedPrecondition(
            f"runtime {state.runtime_id} is Completed; it can go on only with a larger total: {longer}. What is measured of it "
            "afterwards, such as an evaluation, is a run of its own: a label of both lets them be found together",
            reason="RUNTIME_COMPLETED",
        )
    return [
        facts.ResumeRequested(
            trials=command.trials,
            snapshot_id=command.snapshot_id,
            configuration=command.configuration,
            configuration_digest=command.configuration_digest,
            changed_fields=command.changed_fields,
        )
    ]


def delete(state: Runtime, command: DeleteRuntime) -> list[Message]:
    purge_time = to_timestamp(command.purge_time) if command.purge_time is not None else None
    deleted = facts.DeleteRequested(reason=command.reason, purge_time=purge_time)
    if state.deleting:
        # It was hidden already; only that its data goes sooner is new.
        return [deleted] if command.purge_time is None and not state.purging else []
    if not state.in_progress:
        return [deleted]
    if not command.force:
        raise FailedPrecondition(
            f"runtime {state.runtime_id} is Started; stop it first, or delete with force", reason="RUNTIME_IN_PROGRESS"
        )
    order = stop(state, StopRuntime(common.STOP_MODE_ABRUPT, command.deadline_time, "deleted"))
    return [*order, deleted]


def undelete(state: Runtime, command: UndeleteRuntime) -> list[Message]:
    if not state.deleting:
        return []
    if state.purging:
        how = "is purged: its snapshots, metrics and logs are gone" if state.purged else "is being purged"
        raise FailedPrecondition(
            f"runtime {state.runtime_id} {how}; its events stay, and milepost runtime clone starts it anew",
            reason="RUNTIME_PURGED",
        )
    return [facts.RuntimeUndeleted(reason=command.reason)]


def label(state: Runtime, command: LabelRuntime) -> list[Message]:
    known = {**(state.configuration.labels if state.configuration is not None else {}), **dict(state.labels)}
    kept = {key: text for key, text in known.items() if key not in state.removed_labels}
    # What its code declares is not known here, so what is taken away is said once whether it is there or not.
    removed = sorted(command.removed - state.removed_labels - frozenset(command.labels))
    labels = {key: text for key, text in command.labels.items() if kept.get(key) != text}
    return [facts.LabelsChanged(labels=labels, removed_labels=removed)] if labels or removed else []
