"""What each command brings about: the table of decisions, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from milepost.domain.runtime import commands, reports, requests, searching
from milepost.domain.runtime.states import Runtime
from milepost.errors import NotFound

# All that a deleted runtime still takes.
_WHEN_DELETED: frozenset[type] = frozenset(
    {commands.DeleteRuntime, commands.UndeleteRuntime, commands.StartPurge, commands.ReportPurged}
    | {commands.ReleaseResources, commands.AbortRuntime, commands.FailRuntime, commands.CompleteRuntime}
)

DECIDE: dict[type, Callable[[Runtime, Any], list[Message]]] = {
    commands.RequestRuntime: requests.request,
    commands.ReportPending: reports.report_pending,
    commands.AllocateResources: reports.allocate,
    commands.AdjustResources: reports.adjust,
    commands.ReportStarted: reports.report_started,
    commands.StopRuntime: requests.stop,
    commands.AbortRuntime: reports.abort,
    commands.FailRuntime: reports.fail,
    commands.CompleteRuntime: reports.complete,
    commands.ReleaseResources: reports.release,
    commands.ResumeRuntime: requests.resume,
    commands.DeleteRuntime: requests.delete,
    commands.UndeleteRuntime: requests.undelete,
    commands.StartPurge: reports.start_purge,
    commands.ReportPurged: reports.report_purged,
    commands.ReportHealth: reports.report_health,
    commands.ReportReadiness: reports.report_readiness,
    commands.LabelRuntime: requests.label,
    commands.SuggestTrial: searching.suggest,
    commands.TellEarlierTrials: searching.tell_earlier_trials,
    commands.ReportObjective: searching.report_objective,
    commands.ReachRung: searching.reach_rung,
    commands.EndSearch: searching.end_search,
}


def decide(state: Runtime, command: object) -> list[Message]:
    """Decide what a command brings about. A repeated command decides nothing.

    Raises:
        NotFound: there is no such runtime, or it is deleted.
        AlreadyExists: the id is taken by another configuration.
        FailedPrecondition: the state does not allow it.
    """
    if not isinstance(command, commands.RequestRuntime):
        if not state.exists:
            raise NotFound("no such runtime", reason="RUNTIME_NOT_FOUND")
        if state.deleting and type(command) not in _WHEN_DELETED:
            raise NotFound(f"runtime {state.runtime_id} is deleted", reason="RUNTIME_DELETED")
        if state.purged and isinstance(command, commands.ReportPurged):
            return []
    return DECIDE[type(command)](state, command)
