"""Checkpoints of the fold: a restart goes on from the last one, and says again what it has said since."""

from __future__ import annotations

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.config.v1.rule_pb2 import Rule
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.event.v1.common_pb2 import ProcessIdentity, SnapshotOrigin
from milepost.api.event.v1.runtime_events_pb2 import Branch
from milepost.domain import runtime, search, stalls, steering, trial
from services.readmodel.checkpoints import Codec, compress, decompress
from services.rules.detectors.changes import Best, Spread
from services.rules.detectors.levels import Row
from services.rules.detectors.paces import Rhythm, Steps
from services.rules.detectors.verdicts import Nothing
from services.rules.detectors.windows import Window
from services.rules.evaluation.fold import Evaluation
from services.rules.evaluation.inputs import Column, Points
from services.rules.evaluation.states import RunFold, SetRule, TrialFold, Watch
from services.rules.selection import Selectable

CODEC = Codec(
    [
        *(RunFold, TrialFold, Watch, SetRule, Rule, Selectable, Points, Column),
        *(Nothing, Window, Row, Spread, Best, Rhythm, Steps),
        *(runtime.Runtime, runtime.Stop, runtime.Allocation, runtime.Pending, runtime.Status, runtime.Phase),
        *(
            search.History,
            search.Suggested,
            search.Reported,
            search.Reached,
            search.Pruned,
            search.Promoted,
            search.Ended,
            search.Earlier,
        ),
        *(trial.Trial, trial.Queued, trial.Retrying, trial.Stopped, trial.Completed, trial.Failed, trial.Active),
        *(trial.StopOrder, trial.RollBackOrder, trial.Ending, trial.Segment, trial.Abandoned),
        *(trial.SnapshotRecord, trial.Plan),
        *(stalls.Stalls, stalls.Stack, stalls.Group),
        *(steering.Steering, steering.Steerable, steering.Change, steering.Request),
        *(RuntimeConfiguration, facts.AttemptLaunched, facts.AttemptFenced, ProcessIdentity),
        *(SnapshotOrigin, Branch),
    ]
)


class Records:
    """The fold as records of a checkpoint. A run that did not change is not written down anew."""

    def __init__(self) -> None:
        self._runs: dict[str, bytes] = {}

    def of(self, evaluation: Evaluation) -> list[bytes]:
        """Write down the rules and which runs have some of their own, and each run."""
        for runtime_id in evaluation.changed:
            self._runs.pop(runtime_id, None)
        evaluation.changed.clear()
        for runtime_id in self._runs.keys() - evaluation.runs.keys():
            del self._runs[runtime_id]
        for runtime_id, run in evaluation.runs.items():
            if runtime_id not in self._runs:
                self._runs[runtime_id] = compress(CODEC.encode(run))
        watching = [*evaluation.rules.values(), *sorted(evaluation.owning)]
        return [compress(CODEC.encode(watching)), *self._runs.values()]


def evaluation_of(records: list[bytes]) -> Evaluation:
    """Read what `Records` wrote."""
    evaluation = Evaluation()
    for watching in CODEC.decode(decompress(records[0])):
        if isinstance(watching, str):
            evaluation.owning.add(watching)
        else:
            evaluation.set_rule(watching)
    for record in records[1:]:
        run: RunFold = CODEC.decode(decompress(record))
        evaluation.runs[run.runtime_id] = run
    return evaluation
