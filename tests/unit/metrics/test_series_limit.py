"""How many series a trial may have in the metric service."""

from __future__ import annotations

import numpy as np
import pytest

from services.metrics.ingest import series_limit
from services.metrics.ingest.series_limit import SeriesLimit
from services.metrics.storage.batches import STORED, Batch, Group, SenderKey


def batch(*keys: str, runtime_id: str = "rt-a", trial: int = 1) -> Batch:
    column = np.zeros(1)
    group = Group(np.ones(1, np.int64), np.ones(1, np.int64), list(keys), [column] * len(keys))
    return Batch(1, 0, SenderKey(runtime_id, trial, 1, "rank-0"), 1, STORED, len(keys), groups=[group])


def test_a_batch_with_a_series_too_many_is_refused_and_those_that_are_known_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(series_limit, "MAX_SERIES", 3)
    limit = SeriesLimit()
    limit.load(("rt-a", 1), ["stored"])
    assert limit.problem(batch("a", "b")) == ""
    assert "more than 3 series" in limit.problem(batch("a", "c"))
    assert limit.problem(batch("a", "b", "stored")) == ""
    assert limit.problem(batch("c", trial=2)) == "", "each trial has its own"


def test_what_milepost_measures_takes_no_room_from_what_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number of ranks there is, and whoever comes first."""
    monkeypatch.setattr(series_limit, "MAX_SERIES", 2)
    monkeypatch.setattr(series_limit, "MAX_SYSTEM_SERIES", 3)
    limit = SeriesLimit()
    limit.load(("rt-a", 1), ["train/loss", "system/cpu_percent"])
    assert limit.problem(batch("system/rank_1/cpu_percent", "system/rank_2/cpu_percent")) == ""
    assert "3 series under system/" in limit.problem(batch("system/rank_3/cpu_percent"))
    assert limit.problem(batch("eval/loss", "system/cpu_percent")) == ""
    assert "more than 2 series" in limit.problem(batch("eval/other"))


def test_what_clickhouse_has_is_read_once_for_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = SeriesLimit()
    both = [batch("a"), batch("b"), batch("a", trial=2)]
    assert limit.missing(both) == [("rt-a", 1), ("rt-a", 2)]
    limit.load(("rt-a", 1), ["a"])
    assert limit.missing(both) == [("rt-a", 2)]
    monkeypatch.setattr(series_limit, "MAX_TRIALS", 1)
    limit.load(("rt-a", 2), [])
    assert limit.missing(both) == [("rt-a", 1)], "the one that was silent longest is read again"
