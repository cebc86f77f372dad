"""At most so many series in one trial: a batch with more is refused as a whole, and its record says why."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from services.metrics.storage.batches import Batch

# The SDK leaves out what would be more; this holds for those that do not.
MAX_SERIES = 10_000
# Trials whose series are remembered. Those of the one that was silent longest are read again when it sends.
MAX_TRIALS = 20_000

Trial = tuple[str, int]


class SeriesLimit:
    """The series of the trials that send."""

    def __init__(self) -> None:
        self._series: OrderedDict[Trial, set[str]] = OrderedDict()

    def missing(self, batches: Iterable[Batch]) -> list[Trial]:
        """List the trials whose series have to be read from ClickHouse first."""
        trials = dict.fromkeys((b.sender.runtime_id, b.sender.trial) for b in batches if b.groups)
        return [trial for trial in trials if trial not in self._series]

    def load(self, trial: Trial, series: Iterable[str]) -> None:
        """Take over what ClickHouse has of a trial."""
        self._series[trial] = set(series)
        while len(self._series) > MAX_TRIALS:
            self._series.popitem(last=False)

    def problem(self, batch: Batch) -> str:
        """Take note of the series of a batch, or say why it is refused."""
        trial = (batch.sender.runtime_id, batch.sender.trial)
        known = self._series.setdefault(trial, set())
        self._series.move_to_end(trial)
        fresh = _keys(batch) - known
        if len(known) + len(fresh) > MAX_SERIES:
            return f"with it the trial would have more than {MAX_SERIES:,} series"
        known |= fresh
        return ""


def _keys(batch: Batch) -> set[str]:
    groups: Sequence[list[str]] = [group.keys for group in batch.groups]
    return {key for keys in groups for key in keys}
