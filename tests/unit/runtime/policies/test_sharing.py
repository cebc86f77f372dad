"""Searches that take what is free: how a host is shared between them and the queue."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain.runtime import Allocation
from services.runtime.policies.placement import Allocated, Candidate, Capacity, Need, Waiting, free_of, slots_of, take
from services.runtime.policies.sharing import Adjusted, Holder, share, with_fewer, with_more

HOST = Capacity("here", 8.0, 16.0, (0, 1, 2, 3))
ONE_CPU = Need(1.0, 0.0, 0)


def search(name: str, sequence: int = 1, slots: int = 100, priority: int = 0, need: Need = ONE_CPU) -> Candidate:
    return Candidate(name, priority, sequence, need, slots, adapts=True)


def plain(name: str, sequence: int = 1, need: Need = ONE_CPU, slots: int = 1, priority: int = 0) -> Candidate:
    return Candidate(name, priority, sequence, need, slots)


def holder(candidate: Candidate, slots: int) -> Holder:
    return Holder(candidate, take(candidate.need, slots, HOST))


def cpus(count: float) -> Allocation:
    return Allocation(count, 0.0, (), "here", 0.0)


def test_a_search_alone_takes_all_that_is_free_and_not_more_than_it_wants() -> None:
    [placed] = share([search("a")], [], HOST, [cpus(3.0)])
    assert isinstance(placed, Allocated) and slots_of(placed.allocation, ONE_CPU) == 5
    [placed] = share([search("a", slots=2)], [], HOST, [])
    assert isinstance(placed, Allocated) and slots_of(placed.allocation, ONE_CPU) == 2


def test_searches_that_come_together_get_equal_shares() -> None:
    placed = share([search("late", 9), search("early", 3), plain("one", 5)], [], HOST, [])
    got = {one.runtime_id: slots_of(one.allocation, ONE_CPU) for one in placed if isinstance(one, Allocated)}
    assert got == {"early": 4, "late": 3, "one": 1}


def test_a_search_grows_when_others_have_left() -> None:
    [grown] = share([], [holder(search("a"), 2)], HOST, [cpus(4.0)])
    assert isinstance(grown, Adjusted) and grown.gained is not None
    assert (grown.trials, grown.because) == (4, "2 more trials: 2 CPUs were free on here")
    assert with_more(cpus(2.0), grown.gained).cpus == 4.0


def test_nothing_is_said_when_nothing_changes() -> None:
    assert share([], [holder(search("a"), 8)], HOST, []) == []
    assert share([], [holder(search("a"), 4), holder(search("b", 2), 4)], HOST, []) == []


def test_a_search_gives_back_as_much_as_whoever_waits_needs() -> None:
    waits, fewer = share([plain("one", 5, Need(3.0, 0.0, 0))], [holder(search("a"), 8)], HOST, [])
    assert waits == Waiting("one", facts.PENDING_REASON_INSUFFICIENT_CPU, "needs 3 CPUs, 0 of 8 are free on here")
    assert fewer == Adjusted("a", 5, "one waits")
    # Two trials have ended, and what they held was given back: not enough yet, and no trial begins there.
    waits, fewer = share([plain("one", 5, Need(3.0, 0.0, 0))], [holder(search("a"), 6)], HOST, [])
    assert (type(waits), fewer) == (Waiting, Adjusted("a", 5, "one waits"))
    [placed] = share([plain("one", 5, Need(3.0, 0.0, 0))], [holder(search("a"), 5)], HOST, [])
    assert isinstance(placed, Allocated)


def test_a_later_search_gets_its_half() -> None:
    waits, fewer = share([search("late", 9)], [holder(search("early"), 8)], HOST, [])
    assert (type(waits), fewer) == (Waiting, Adjusted("early", 4, "late waits"))
    # Each trial of the early one that ends is one more of the late one.
    more, fewer = share([], [holder(search("late", 9), 1), holder(search("early"), 6)], HOST, [])
    assert more == Adjusted("late", 2, "one more trial: 1 CPUs were free on here", cpus(1.0))
    assert fewer == Adjusted("early", 4, "late has fewer trials at a time")


def test_who_waits_for_others_than_searches_holds_back_none_of_them() -> None:
    """A runtime for the whole host, beside one that holds half of it: to give anything back would help nobody."""
    whole = plain("whole", 5, Need(8.0, 0.0, 0))
    placed = share([whole, plain("small", 6)], [holder(search("a"), 2)], HOST, [cpus(4.0)])
    assert [(one.runtime_id, type(one)) for one in placed] == [
        ("whole", Waiting), ("small", Waiting), ("a", Adjusted)
    ]  # fmt: skip
    assert isinstance(placed[2], Adjusted) and placed[2].trials == 4
    # With 7 CPUs it would fit, once the search runs one trial only.
    [_, _, fewer] = share(
        [replace(whole, need=Need(7.0, 0.0, 0)), plain("small", 6)], [holder(search("a"), 8)], HOST, []
    )
    assert fewer == Adjusted("a", 1, "whole waits")


def test_priority_comes_before_equal_shares() -> None:
    (waits,) = share([plain("one", 5)], [holder(search("urgent", priority=3), 8)], HOST, [])
    assert isinstance(waits, Waiting)
    waits, fewer = share([search("urgent", 9, priority=3)], [holder(search("a"), 8)], HOST, [])
    assert isinstance(waits, Waiting) and fewer == Adjusted("a", 1, "urgent waits")


def test_a_search_with_its_last_trials_gives_back_the_rest() -> None:
    assert share([], [holder(search("a", slots=3), 8)], HOST, []) == [Adjusted("a", 3, "no more trials are to come")]


def test_devices_in_use_stay() -> None:
    need = Need(1.0, 2.0, 1)
    held = Allocation(4.0, 8.0, (0, 1, 2, 3), "here", 4.0)
    assert with_fewer(held, need, 2, {3, 1}) == Allocation(2.0, 4.0, (1, 3), "here", 2.0)
    assert with_fewer(held, need, 3, {3}) == Allocation(3.0, 6.0, (0, 1, 3), "here", 3.0)
    [grown] = share([], [Holder(search("a", need=need), with_fewer(held, need, 2, {3, 1}))], HOST, [])
    assert isinstance(grown, Adjusted) and grown.gained is not None
    assert with_more(with_fewer(held, need, 2, {3, 1}), grown.gained).gpus == (0, 1, 2, 3)


@dataclass
class Host:
    """Runtimes that hold and wait, and a scheduler that looks at them."""

    queue: list[Candidate] = field(default_factory=list)
    searches: dict[str, Holder] = field(default_factory=dict)
    plain: dict[str, Allocation] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    to_keep: dict[str, int] = field(default_factory=dict)

    def look(self) -> None:
        placed = share(self.queue, list(self.searches.values()), HOST, list(self.plain.values()))
        self.to_keep = {}
        waiting = {one.runtime_id: one for one in self.queue}
        for one in placed:
            if isinstance(one, Allocated):
                candidate = waiting.pop(one.runtime_id)
                if candidate.adapts:
                    self.searches[one.runtime_id] = Holder(candidate, one.allocation)
                    self.running[one.runtime_id] = slots_of(one.allocation, candidate.need)
                else:
                    self.plain[one.runtime_id] = one.allocation
            elif isinstance(one, Adjusted) and one.gained is not None:
                known = self.searches[one.runtime_id]
                self.searches[one.runtime_id] = replace(known, held=with_more(known.held, one.gained))
                self.running[one.runtime_id] = one.trials
            elif isinstance(one, Adjusted):
                self.to_keep[one.runtime_id] = one.trials
        self.queue = list(waiting.values())
        free = free_of(HOST, [*self.plain.values(), *(one.held for one in self.searches.values())])
        assert free.cpus >= 0 and all(self.running[n] <= one.slots for n, one in self.searches.items())

    def trial_ends(self, name: str) -> None:
        """One trial of a search ends: another one takes its place, or what it held is given back."""
        one, keep = self.searches[name], self.to_keep.get(name)
        if keep is None or self.running[name] <= keep:
            return
        self.running[name] -= 1
        kept = max(keep, self.running[name])
        self.searches[name] = replace(one, held=with_fewer(one.held, one.candidate.need, kept, ()))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_everybody_gets_a_turn_and_searches_come_to_equal_shares(seed: int) -> None:
    """Whatever comes and goes: once it is quiet nobody waits who could run, and shares differ by one at most."""
    chance, host = random.Random(seed), Host()
    for number in range(30):
        match chance.randrange(4):
            case 0 if len(host.searches) < 4:
                host.queue.append(search(f"s{number}", number, chance.choice([2, 5, 100])))
            case 1:
                host.queue.append(plain(f"p{number}", number, Need(float(chance.randint(1, 4)), 0.0, 0)))
            case 2 if host.plain:
                del host.plain[chance.choice(list(host.plain))]
            case _ if host.searches:
                host.trial_ends(chance.choice(list(host.searches)))
        host.look()
    for _ in range(200):
        for name in list(host.searches):
            host.trial_ends(name)
        if host.plain and chance.random() < 0.3:
            del host.plain[chance.choice(list(host.plain))]
        host.look()
    if host.queue:
        # Each search keeps one trial, and whoever is next does not fit beside these.
        least = [take(one.candidate.need, 1, HOST) for one in host.searches.values()]
        first = min(host.queue, key=lambda one: one.sequence)
        assert first.need.cpus > free_of(HOST, least).cpus
    unsatisfied = [one.slots for one in host.searches.values() if one.slots < one.candidate.slots]
    assert not unsatisfied or max(unsatisfied) - min(unsatisfied) <= 1
    free = free_of(HOST, [one.held for one in host.searches.values()])
    assert not unsatisfied or free.cpus < 1
