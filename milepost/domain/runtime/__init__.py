"""The life of one runtime: what it is, what may be asked of it, what comes of that.

In: facts of the log (`runtime_events.proto`), and commands. Out: the state that the facts make, and the facts that a command
brings about. Pure: no clock, no random, no I/O. Times and ids come in with the commands.

- `states`: status, phase and what else a runtime is, with `initial`; start here.
- `evolving`: what each fact changes, with `evolve` and its table.
- `commands`: what can be asked and reported. `deciding`: what each command brings about, with `decide` and its table.
- The decisions themselves: `requests` of people and rules; `reports` of the scheduler; `searching`, of its search.

`search` beside this room is the part of the state that a search has.
"""

from __future__ import annotations

from milepost.domain.runtime.commands import (
    AbortRuntime,
    AdjustResources,
    AllocateResources,
    CompleteRuntime,
    DeleteRuntime,
    EndSearch,
    FailRuntime,
    LabelRuntime,
    ReachRung,
    ReleaseResources,
    ReportHealth,
    ReportObjective,
    ReportPending,
    ReportPurged,
    ReportReadiness,
    ReportStarted,
    RequestRuntime,
    ResumeRuntime,
    StartPurge,
    StopRuntime,
    SuggestTrial,
    TellEarlierTrials,
    UndeleteRuntime,
)
from milepost.domain.runtime.deciding import DECIDE, decide
from milepost.domain.runtime.evolving import EVOLVE, evolve
from milepost.domain.runtime.states import ENDED_STATUSES, Allocation, Pending, Phase, Runtime, Status, Stop, initial

__all__ = [
    "DECIDE",
    "ENDED_STATUSES",
    "EVOLVE",
    "AbortRuntime",
    "AdjustResources",
    "AllocateResources",
    "Allocation",
    "CompleteRuntime",
    "DeleteRuntime",
    "EndSearch",
    "FailRuntime",
    "LabelRuntime",
    "Pending",
    "Phase",
    "ReachRung",
    "ReleaseResources",
    "ReportHealth",
    "ReportObjective",
    "ReportPending",
    "ReportPurged",
    "ReportReadiness",
    "ReportStarted",
    "RequestRuntime",
    "ResumeRuntime",
    "Runtime",
    "StartPurge",
    "Status",
    "Stop",
    "StopRuntime",
    "SuggestTrial",
    "TellEarlierTrials",
    "UndeleteRuntime",
    "decide",
    "evolve",
    "initial",
]
