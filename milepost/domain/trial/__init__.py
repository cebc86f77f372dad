"""The life of one trial: what it is, what may be asked of it, what comes of that.

In: facts of the log (`trial_events.proto`), and commands. Out: the state that the facts make, and the facts that a command
brings about. Two writers decide through this room: the runtime service (on the control subject) and the current attempt (on
its own subject). Pure: no clock, no random, no I/O.

- `states`: what a trial is, with `initial`; start here. `lineage`: which attempt owns which steps, and what it may go on from.
- `evolving`: what each fact changes, with `evolve` and its table. `writers`: whether a fact has a right to be where it is.
- `commands`: what can be asked. `deciding`: what each command brings about, with `decide` and its table.
- The decisions themselves: `requests` of people, searches and rules; `attempts`, launched, fenced and concluded; `keeping`,
  which snapshots stay; `recording`, what an attempt may write.

`steering` beside this room is the part of the state that may be changed while a trial runs.
"""

from __future__ import annotations

from milepost.domain.trial.commands import (
    CompleteTrial,
    CreateTrial,
    DeleteSnapshot,
    DiagnoseStall,
    FailTrial,
    FenceAttempt,
    GoOn,
    HoldSnapshot,
    LaunchAttempt,
    LetSnapshotGo,
    MarkStopped,
    ObserveStraggler,
    PinSnapshot,
    RaiseAlert,
    Record,
    ReplaceAttempt,
    ReportInstanceHealth,
    RequestEvaluation,
    RequestSnapshot,
    RequestStacks,
    ResumeTrial,
    RollBackTrial,
    ScheduleRetry,
    StartPurge,
    SteerTrial,
    StopTrial,
    UnpinSnapshot,
)
from milepost.domain.trial.deciding import DECIDE, decide, decide_all
from milepost.domain.trial.evolving import EVOLVE, evolve
from milepost.domain.trial.lineage import (
    cut_lineage,
    is_at_rung,
    origin_record,
    origin_step,
    owner_of,
    restorable_snapshots,
    trunk_of,
)
from milepost.domain.trial.recording import StaleAttempt
from milepost.domain.trial.states import (
    Abandoned,
    Active,
    Completed,
    Ending,
    Failed,
    Plan,
    Queued,
    Retrying,
    RollBackOrder,
    Segment,
    Situation,
    SnapshotRecord,
    StopOrder,
    Stopped,
    Trial,
    describe,
    initial,
)

__all__ = [
    "DECIDE",
    "EVOLVE",
    "MAX_ALERTS",
    "Abandoned",
    "Active",
    "CompleteTrial",
    "Completed",
    "CreateTrial",
    "DeleteSnapshot",
    "DiagnoseStall",
    "Ending",
    "FailTrial",
    "Failed",
    "FenceAttempt",
    "GoOn",
    "HoldSnapshot",
    "LaunchAttempt",
    "LetSnapshotGo",
    "MarkStopped",
    "ObserveStraggler",
    "PinSnapshot",
    "Plan",
    "Queued",
    "RaiseAlert",
    "Record",
    "ReplaceAttempt",
    "ReportInstanceHealth",
    "RequestEvaluation",
    "RequestSnapshot",
    "RequestStacks",
    "ResumeTrial",
    "Retrying",
    "RollBackOrder",
    "RollBackTrial",
    "ScheduleRetry",
    "Segment",
    "Situation",
    "SnapshotRecord",
    "StaleAttempt",
    "StartPurge",
    "SteerTrial",
    "StopOrder",
    "StopTrial",
    "Stopped",
    "Trial",
    "UnpinSnapshot",
    "cut_lineage",
    "decide",
    "decide_all",
    "describe",
    "evolve",
    "initial",
    "is_at_rung",
    "origin_record",
    "origin_step",
    "owner_of",
    "restorable_snapshots",
    "trunk_of",
]
