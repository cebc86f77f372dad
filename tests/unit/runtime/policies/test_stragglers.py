"""Which rank holds up the others."""

from __future__ import annotations

import random

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat
from milepost.domain import trial
from milepost.domain.sentences import sentence
from milepost.names import AttemptKey
from services.runtime.policies import stragglers
from services.runtime.policies.stragglers import Share
from services.runtime.scheduling.liveness import Liveness

KEY = AttemptKey("rt-1", 1, 1)


def shares(*percent: float, looks: int = 240) -> dict[int, Share]:
    return {rank: Share(looks, round(looks * one / 100)) for rank, one in enumerate(percent)}


@pytest.mark.parametrize(
    ("percent", "rank"),
    [
        # As it was measured: three ranks, one of which takes 1.5 times as long, and none.
        ((38.7, 14.1, 39.2), 1),
        ((16.9, 11.0, 10.6), None),
        ((5.0, 40.0), 0),
        ((40.0, 41.0, 39.0, 2.0), 3),
        ((60.0, 50.0, 55.0), None),
        ((8.0, 1.0, 8.0), None),
        ((50.0, 30.0, 50.0), None),
        ((5.0, 5.0, 40.0), None),
        ((0.0, 0.0), None),
    ],
)
def test_the_rank_for_which_the_others_wait_is_found(percent: tuple[float, ...], rank: int | None) -> None:
    found = stragglers.find(shares(*percent))
    assert (found.rank if found is not None else None) == rank


def test_few_looks_tell_nothing() -> None:
    assert stragglers.find(shares(40.0, 2.0, looks=stragglers.MIN_LOOKS - 1)) is None
    assert stragglers.find(shares(40.0, 2.0) | {2: Share(10, 4)}) is None, "of one it is not known"
    assert stragglers.find(shares(2.0)) is None


def test_chance_names_nobody() -> None:
    """A thousand groups of eight ranks that all wait a quarter of their time."""
    chance = random.Random(5)
    for _ in range(1_000):
        group = {rank: Share(240, sum(chance.random() < 0.25 for _ in range(240))) for rank in range(8)}
        assert stragglers.find(group) is None


def test_it_is_said_once_it_lasts_and_once_it_is_over() -> None:
    now, counts = 0.0, [[0, 0], [0, 0]]
    liveness = Liveness(lambda: now)
    liveness.watch(KEY)
    active = trial.Active(1, facts.AttemptLaunched(), hosts=frozenset({(0, "a"), (1, "b")}))

    def window(*percent: int) -> list[object]:
        nonlocal now
        now += stragglers.WINDOW_SECONDS
        for rank, one in enumerate(percent):
            counts[rank] = [counts[rank][0] + 200, counts[rank][1] + 2 * one]
            looks, waiting = counts[rank]
            beat = Heartbeat(rank=rank, step=40, looks=looks, waiting_looks=waiting, next_beat_ms=2_000)
            liveness.receive(f"heartbeat.rt-1.1.1.{rank}", beat.SerializeToString())
        return liveness.observe_straggler(KEY, active)

    assert window(40, 5) == [], "the first counts are what later ones are compared with"
    assert window(40, 5) == [], "it may pass"
    (command,) = window(40, 5)
    assert isinstance(command, trial.ObserveStraggler)
    assert sentence(command.fact) == "Rank 1 on b holds up the others: they wait 40% of their time, it 5%"
    active = trial.Active(1, facts.AttemptLaunched(), hosts=active.hosts, straggler=1)
    assert window(40, 5) == [], "it was said"
    assert window(10, 9) == [] and window(5, 40) == []
    assert window(10, 9) == []
    (command,) = window(11, 9)
    assert isinstance(command, trial.ObserveStraggler) and command.fact.over
    assert sentence(command.fact) == "Rank 1 on b no longer holds up the others"
    counts[0] = [0, 0]
    assert window(40, 5) == [], "counts that began anew are compared with nothing"


def test_beats_that_cannot_be_are_no_beats() -> None:
    liveness = Liveness(lambda: 0.0)
    liveness.watch(KEY)
    for looks, waiting in ((1, 2), (-1, 0), (5, -1)):
        beat = Heartbeat(looks=looks, waiting_looks=waiting)
        liveness.receive("heartbeat.rt-1.1.1.0", beat.SerializeToString())
    assert liveness.instances(KEY)[0].beat is None
