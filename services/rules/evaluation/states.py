"""What the fold keeps of rules and runs. All of it is in a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from milepost.api.config.v1.rule_pb2 import Rule
from milepost.domain import runtime, trial
from services.rules.evaluation.inputs import Points
from services.rules.selection import Selectable

# Points of a trial that wait for the AttemptStarted of their attempt. Of more the oldest go.
MAX_WAITING_POINTS = 50_000
# Senders of lines of one trial that are told apart; of further ones no line is searched.
MAX_SENDERS = 10_000
# Series of one trial that a rule without a series looks at.
MAX_SERIES = 1_000


@dataclass(slots=True)
class Watch:
    """One rule over one subject of one trial: a series, a log, a kind of event.

    Attributes:
        detector: the state of the detector; None: it has none.
        last_step: the last step that was looked at. A step is looked at once in each stretch of the lineage.
        onset_step, onset_ms: since when the condition holds; None: it does not.
        open_id: the firing that is not over; empty: one that was not recorded; None: there is none.
        fired: where it has fired, as the ids of occurrences have it. At most `max_firings`.
    """

    revision: int
    detector: Any = None
    last_step: int = -1
    onset_step: int = 0
    onset_ms: int | None = None
    open_id: str | None = None
    open_step: int = 0
    fired: list[str] = field(default_factory=list)


@dataclass(slots=True)
class TrialFold:
    """A trial. Number 0 stands for the runtime as a whole."""

    number: int
    state: trial.Trial = trial.initial
    # Rule -> subject -> its watch.
    watches: dict[str, dict[str, Watch]] = field(default_factory=dict)
    # Attempt -> the event with which it began.
    begun: dict[int, str] = field(default_factory=dict)
    # Attempt -> how often the trial was rolled back before it. Only where it was.
    turns: dict[int, int] = field(default_factory=dict)
    # Attempts that add to what was recorded, whatever the step.
    appending: list[int] = field(default_factory=list)
    # Attempt and source -> the highest number of its messages with lines.
    heard: dict[str, int] = field(default_factory=dict)
    retries: int = 0
    waiting: list[Points] = field(default_factory=list)

    def place_of(self, step: int, attempt: int) -> str:
        """Return what tells one step from the next.

        One that is done again is the same, but for a roll back: there another thing is done.
        """
        return f"{step}/{self.turns[attempt]}" if attempt in self.turns else str(step)

    @property
    def is_over(self) -> bool:
        return isinstance(self.state.situation, trial.Completed | trial.Failed | trial.Stopped)


@dataclass(slots=True)
class RunFold:
    """A runtime."""

    runtime_id: str
    selectable: Selectable | None = None
    state: runtime.Runtime = runtime.initial
    trials: dict[int, TrialFold] = field(default_factory=dict)
    # Since when nothing of it runs, by the clock of the log's server. None: something does.
    rest_ms: int | None = None

    def trial(self, number: int) -> TrialFold:
        """Return a trial, made where it is new."""
        if number not in self.trials:
            self.trials[number] = TrialFold(number)
        return self.trials[number]


@dataclass(frozen=True, slots=True)
class SetRule:
    """A rule that is evaluated."""

    rule_id: str
    revision: int
    rule: Rule
