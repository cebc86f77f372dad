"""Rules made ready: what each looks for, made once, and which of them look at what of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from services.rules.detectors import choosing
from services.rules.detectors.paces import EstimatedEnd, Rhythm, Silence, Steps
from services.rules.detectors.verdicts import SeriesDetector
from services.rules.evaluation.states import SetRule, Watch


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule and what it looks for; of `series`, `silence` and `end` one at most is there."""

    rule: SetRule
    kind: str
    series: SeriesDetector | None
    silence: Silence | None
    end: EstimatedEnd | None

    @staticmethod
    def of(rule: SetRule) -> Compiled:
        detector = rule.rule.detector
        return Compiled(
            rule,
            detector.WhichOneof("kind") or "",
            choosing.series_detector(detector),
            choosing.silence(detector),
            choosing.estimated_end(detector),
        )

    @property
    def rule_id(self) -> str:
        return self.rule.rule_id

    @property
    def hold_ms(self) -> float:
        return self.rule.rule.hold_seconds * 1_000

    @property
    def is_clocked(self) -> bool:
        """Whether it may fire because time passes."""
        return self.silence is not None or self.kind == "state"

    def fresh(self) -> Any:
        """Return the state of its detector before anything was seen."""
        if self.silence is not None:
            return Rhythm()
        if self.end is not None:
            return Steps()
        return self.series.fresh() if self.series is not None else None

    def cut(self, state: Any, step: int) -> Any:
        """Return the state of its detector without what came after a step."""
        if self.end is not None:
            return self.end.cut(state, step)
        return self.series.cut(state, step) if self.series is not None and state is not None else state

    def watch(self, watches: dict[str, Watch], name: str) -> Watch:
        """Return its watch over a subject, made where it is new."""
        if name not in watches:
            watches[name] = Watch(self.rule.revision, self.fresh())
        return watches[name]


@dataclass(slots=True)
class Selected:
    """The rules that watch a run, by what they look at, each by id."""

    series: list[Compiled] = field(default_factory=list)
    paced: list[Compiled] = field(default_factory=list)
    lines: list[Compiled] = field(default_factory=list)
    events: list[Compiled] = field(default_factory=list)
    # Key -> those of `series` that look at it.
    by_key: dict[str, list[Compiled]] = field(default_factory=dict)

    @staticmethod
    def of(rules: Iterable[Compiled]) -> Selected:
        selected = Selected()
        for rule in rules:
            if rule.series is not None:
                selected.series.append(rule)
            elif rule.kind == "log_pattern":
                selected.lines.append(rule)
            elif rule.silence is not None or rule.end is not None:
                selected.paced.append(rule)
            if rule.kind in ("event", "retries", "state", "disk_filling"):
                selected.events.append(rule)
        return selected

    def of_key(self, key: str) -> list[Compiled]:
        """List those that look at a series."""
        found = self.by_key.get(key)
        if found is None:
            found = self.by_key[key] = [rule for rule in self.series if rule.series and rule.series.wants(key)]
        return found
