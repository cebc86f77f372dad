"""At most so many series in one trial: a batch with more is refused as a whole, and its record says why."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from milepost.series_names import MAX_SERIES, MAX_SYSTEM_SERIES, SYSTEM
from services.metrics.storage.batches import Batch

# Trials whose series are remembered. Those of the one that was silent longest are read again when it sends.
MAX_TRIALS = 20_000

Trial = tuple[str, int]


@dataclass(slots=True)
class Known:
    """The series of one trial."""

    series: set[str] = field(default_factory=set)
    # Those among them that the trial's code logs; the others are under `system/`, and have room of their own.
    own: int = 0

    def add(self, series: set[str]) -> None:
        """Take in series that are not known yet."""
        self.series |= series
        self.own += _own(series)


class SeriesLimit:
    """The series of the trials that send. The SDK leaves out what would be more; this holds for those that do not."""

    def __init__(self) -> None:
        self._trials: OrderedDict[Trial, Known] = OrderedDict()

    def missing(self, batches: Iterable[Batch]) -> list[Trial]:
        """List the trials whose series have to be read from ClickHouse first."""
        trials = dict.fromkeys((b.sender.runtime_id, b.sender.trial) for b in batches if b.groups)
        return [trial for trial in trials if trial not in self._trials]

    def load(self, trial: Trial, series: Iterable[str]) -> None:
        """Take over what ClickHouse has of a trial."""
        known = self._trials[trial] = Known()
        known.add(set(series))
        while len(self._trials) > MAX_TRIALS:
            self._trials.popitem(last=False)

    def problem(self, batch: Batch) -> str:
        """Take note of the series of a batch, or say why it is refused."""
        trial = (batch.sender.runtime_id, batch.sender.trial)
        known = self._trials.setdefault(trial, Known())
        self._trials.move_to_end(trial)
        fresh = _keys(batch) - known.series
        if not fresh:
            return ""
        own = _own(fresh)
        if own and known.own + own > MAX_SERIES:
            return f"with it the trial would have more than {MAX_SERIES:,} series"
        if len(known.series) - known.own + len(fresh) - own > MAX_SYSTEM_SERIES:
            return f"with it the trial would have more than {MAX_SYSTEM_SERIES:,} series under {SYSTEM}"
        known.add(fresh)
        return ""


def _own(series: Iterable[str]) -> int:
    return sum(1 for key in series if not key.startswith(SYSTEM))


def _keys(batch: Batch) -> set[str]:
    groups: Sequence[list[str]] = [group.keys for group in batch.groups]
    return {key for keys in groups for key in keys}
