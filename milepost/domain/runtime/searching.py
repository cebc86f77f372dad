"""Decisions about the search of a runtime: which trial is next, what came of it, when it is over."""

from __future__ import annotations

from google.protobuf.message import Message

from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain import search
from milepost.domain.runtime.commands import EndSearch, ReachRung, ReportObjective, SuggestTrial, TellEarlierTrials
from milepost.domain.runtime.states import Runtime
from milepost.errors import Aborted, FailedPrecondition


def suggest(state: Runtime, command: SuggestTrial) -> list[Message]:
    history, chosen = state.history, command.suggestion
    known = (one for one in history.suggestions() if one.trial == chosen.trial)
    if chosen.trial <= history.suggested_count and any(dict(one.parameters) == chosen.parameters for one in known):
        return []
    if len(history.entries) != command.entry_count or chosen.trial != history.suggested_count + 1:
        # Chosen from what is no longer all that there is: it is chosen anew.
        raise Aborted(f"the search of runtime {state.runtime_id} has gone on", reason="SEARCH_MOVED_ON")
    if not state.in_progress or state.stop is not None or history.ended is not None:
        raise FailedPrecondition(f"runtime {state.runtime_id} takes no more trials", reason="SEARCH_ENDED")
    return [chosen]


def tell_earlier_trials(state: Runtime, command: TellEarlierTrials) -> list[Message]:
    if state.history.earlier_told:
        return []
    if state.history.entries:
        raise Aborted(f"the search of runtime {state.runtime_id} has gone on", reason="SEARCH_MOVED_ON")
    if not state.in_progress or state.stop is not None:
        raise FailedPrecondition(f"runtime {state.runtime_id} takes no more trials", reason="SEARCH_ENDED")
    return list(command.told)


def report_objective(state: Runtime, command: ReportObjective) -> list[Message]:
    history, report = state.history, command.report
    if report.trial in history.reported:
        return []
    # They are numbered in their order.
    if not 1 <= report.trial <= history.suggested_count:
        raise FailedPrecondition(
            f"trial {report.trial} of {state.runtime_id} was not suggested", reason="TRIAL_NOT_SUGGESTED"
        )
    search_of = state.configuration.search if state.configuration is not None else None
    if search_of is None or report.outcome != facts.OBJECTIVE_OUTCOME_VALUE or report.infeasible:
        return [report]
    decided = facts.ObjectiveReported()
    decided.CopyFrom(report)
    if report.HasField("value"):
        decided.best = search.is_better(report.value, history.best_value, search_of.objective.mode)
        return [decided]
    values, modes = [one.value for one in report.values], [one.mode for one in search_of.objectives]
    decided.best = not any(search.surpasses(known, values, modes) for _, known in history.front)
    decided.surpassed.extend(trial for trial, known in history.front if search.surpasses(values, known, modes))
    return [decided]


def reach_rung(state: Runtime, command: ReachRung) -> list[Message]:
    history, rung = state.history, command.rung
    own = [one.rung for one in history.rungs() if one.trial == rung.trial]
    if rung.rung in own or rung.trial in history.reported:
        return []
    if len(history.entries) != command.entry_count:
        raise Aborted(f"the search of runtime {state.runtime_id} has gone on", reason="SEARCH_MOVED_ON")
    reached = history.begun_rung(rung.trial) + len(own)
    if rung.rung != reached + 1:
        raise FailedPrecondition(
            f"trial {rung.trial} of {state.runtime_id} has reached {reached} rungs, not {rung.rung - 1}",
            reason="RUNG_LEFT_OUT",
        )
    return [rung, *command.follows]


def end_search(state: Runtime, command: EndSearch) -> list[Message]:
    history = state.history
    if history.ended is not None or not state.in_progress:
        return []
    return [
        facts.SearchEnded(
            reason=command.reason,
            detail=command.detail,
            best_trial=history.best_trial,
            best_value=history.best_value,
            best_trials=sorted(trial for trial, _ in history.front),
        )
    ]
