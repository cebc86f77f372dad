"""Who gets the resources of a host, and why the others wait."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain.runtime import Allocation
from services.runtime.policies.placement import (
    Allocated,
    Candidate,
    Capacity,
    Need,
    Placement,
    Waiting,
    hand_over,
    need_of,
    slots_of,
    slots_wanted,
    why_never,
)
from services.runtime.policies.sharing import Adjusted, share
from tests.unit.runtime.world import configuration

HOST = Capacity("here", 4.0, 16.0, (0, 1))
ONE_CPU = Need(1.0, 0.0, 0)


def candidate(name: str, need: Need = ONE_CPU, priority: int = 0, sequence: int = 1, slots: int = 1) -> Candidate:
    return Candidate(name, priority, sequence, need, slots)


def held(cpus: float, gpus: tuple[int, ...] = ()) -> Allocation:
    return Allocation(cpus, 0.0, gpus, "here", float(len(gpus)))


def place(queue: Sequence[Candidate], capacity: Capacity, taken: Sequence[Allocation]) -> list[Placement]:
    """Place a queue where no search takes what is free."""
    return [one for one in share(queue, [], capacity, taken) if not isinstance(one, Adjusted)]


def test_priority_goes_first_then_whoever_came_first() -> None:
    queue = [candidate("late", sequence=9), candidate("early", sequence=3), candidate("urgent", priority=5, sequence=8)]
    placed = place(queue, Capacity("here", 2.0, 1.0), [])
    assert [(type(p), p.runtime_id) for p in placed] == [(Allocated, "urgent"), (Allocated, "early"), (Waiting, "late")]


def test_nobody_overtakes_whoever_does_not_fit() -> None:
    queue = [candidate("large", Need(4.0, 0.0, 0), sequence=1), candidate("small", sequence=2)]
    large, small = place(queue, HOST, [held(1.0)])
    assert large == Waiting("large", facts.PENDING_REASON_INSUFFICIENT_CPU, "needs 4 CPUs, 3 of 4 are free on here")
    assert small == Waiting("small", facts.PENDING_REASON_BEHIND_OTHERS, "")


def test_each_lack_has_its_reason() -> None:
    lacks = {
        Need(1.0, 0.0, 2): facts.PENDING_REASON_INSUFFICIENT_GPU,
        Need(1.0, 15.0, 0): facts.PENDING_REASON_INSUFFICIENT_MEMORY,
        Need(4.0, 0.0, 0): facts.PENDING_REASON_INSUFFICIENT_CPU,
    }
    for need, reason in lacks.items():
        (waiting,) = place([candidate("one", need)], HOST, [Allocation(1.0, 2.0, (0,), "here", 1.0)])
        assert isinstance(waiting, Waiting)
        assert waiting.reason == reason


def test_gpus_are_given_by_index_and_none_twice() -> None:
    queue = [candidate("a", Need(1.0, 0.0, 1), sequence=1), candidate("b", Need(1.0, 0.0, 1), sequence=2)]
    placed = place(queue, HOST, [])
    assert [p.allocation.gpus for p in placed if isinstance(p, Allocated)] == [(0,), (1,)]


def test_a_search_gets_as_many_of_its_slots_as_fit() -> None:
    (placed,) = place([candidate("search", slots=8)], HOST, [held(1.0)])
    assert isinstance(placed, Allocated)
    assert placed.allocation.cpus == 3.0
    assert slots_of(placed.allocation, ONE_CPU) == 3


def test_what_can_never_run_is_named_completely() -> None:
    assert why_never(Need(4.0, 16.0, 2), HOST) == ""
    said = why_never(Need(8.0, 32.0, 3), HOST)
    assert "8 CPUs" in said
    assert "3 GPUs" in said
    assert "32 GB" in said


def test_needs_follow_from_the_configuration() -> None:
    group = configuration(
        resources={"workers": 4, "cpus_per_worker": 2, "gpus_per_worker": 0.5, "memory_gigabytes_per_worker": 3}
    )
    assert need_of(group) == Need(8.0, 12.0, 2, processes=4)
    assert need_of(configuration()) == Need(1.0, 0.0, 0)
    search = configuration(search={"space": {"x": [1, 2, 3]}, "max_concurrent_trials": 2})
    assert (slots_wanted(search, 3), slots_wanted(search, 1), slots_wanted(configuration(), 1)) == (2, 1, 1)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 2), st.integers(-2, 2), st.integers(1, 3)), min_size=1, max_size=12
    ),
    st.integers(0, 4),
)
def test_nothing_is_given_twice_and_everybody_is_told(wanted: list[tuple[int, int, int, int]], taken: int) -> None:
    queue = [
        candidate(f"r{n}", Need(float(cpus), 0.0, gpus), priority, n, slots)
        for n, (cpus, gpus, priority, slots) in enumerate(wanted)
    ]
    before = [held(float(taken))]
    placed = place(queue, HOST, before)
    assert sorted(p.runtime_id for p in placed) == sorted(c.runtime_id for c in queue)
    given_ = [p.allocation for p in placed if isinstance(p, Allocated)]
    assert sum(a.cpus for a in [*before, *given_]) <= HOST.cpus
    gpus = [index for a in given_ for index in a.gpus]
    assert len(gpus) == len(set(gpus))
    waiting = [p.reason for p in placed if isinstance(p, Waiting)]
    assert set(waiting[1:]) <= {facts.PENDING_REASON_BEHIND_OTHERS}
    assert facts.PENDING_REASON_BEHIND_OTHERS not in waiting[:1]


def test_a_cluster_with_a_queue_of_its_own_gets_everything_at_once() -> None:
    capacity = Capacity("the Slurm cluster", 2.0, 8.0, queues=True)
    wanted = [Candidate(name, 0, 1, Need(2.0, 4.0, 1), 3) for name in ("a", "b")]
    placed = hand_over(wanted, capacity)
    assert [(one.runtime_id, one.allocation.cpus) for one in placed if isinstance(one, Allocated)] == [
        ("a", 6),
        ("b", 6),
    ]
    assert slots_of(placed[0].allocation, wanted[0].need) == 3  # type: ignore[union-attr]
