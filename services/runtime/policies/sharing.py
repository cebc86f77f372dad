"""How searches that take what is free share a host with each other and with the queue. Pure.

What is free is handed out one trial at a time: highest priority first, then whoever runs the fewest trials, then whoever
came first. A runtime of the queue runs none, so it comes before any further trial of a search. Nobody is killed for it: a
search that has more than its share starts no trial until enough of its own have ended. The shares follow from who is there
and who waits, not from which trials run right now.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain.runtime import Allocation
from services.runtime.policies.placement import (
    Allocated,
    Candidate,
    Capacity,
    Need,
    Placement,
    Waiting,
    free_of,
    room_for,
    slots_of,
    take,
    why_waiting,
)


@dataclass(frozen=True, slots=True)
class Holder:
    """A search that holds resources, and more or less of them as is free.

    Attributes:
        candidate: its priority, its place among equals, and how many trials it wants at a time.
        held: what it holds.
    """

    candidate: Candidate
    held: Allocation

    @property
    def slots(self) -> int:
        """Trials that may run at a time with what it holds."""
        return slots_of(self.held, self.candidate.need)


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A search may have so many trials at a time. With fewer than it holds it gives back what ends.

    Attributes:
        gained: what it gets in addition now. None: nothing.
    """

    runtime_id: str
    trials: int
    because: str
    gained: Allocation | None = None


@dataclass(slots=True)
class Claim:
    """Somebody who wants more: a runtime of the queue, or a search that holds something."""

    candidate: Candidate
    granted: int
    holder: Holder | None = None

    @property
    def rank(self) -> tuple[int, int, int, str]:
        one = self.candidate
        return -one.priority, self.granted, one.sequence, one.runtime_id


@dataclass(slots=True)
class Shares:
    """What everybody is to have in the end.

    Attributes:
        queue: trials at a time by runtime, for those of the queue that get something, in their order.
        holders: the same of the searches.
        waiting: who gets nothing, and why, in order.
    """

    queue: dict[str, int] = field(default_factory=dict)
    holders: dict[str, int] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)


def share(
    queue: Sequence[Candidate], holders: Sequence[Holder], capacity: Capacity, held: Sequence[Allocation]
) -> list[Placement | Adjusted]:
    """Hand out what is free to the queue and to searches, and say of the others why they wait.

    What a search has to give back first is not handed out yet: it is looked at again when that has come back.

    Args:
        held: what all others hold.
    """
    shares = _shares(queue, holders, capacity, held)
    taken = [*held, *(one.held for one in holders)]
    decided: list[Placement | Adjusted] = []
    wanted = {one.runtime_id: one for one in queue}
    behind = False
    for runtime_id, slots in shares.queue.items():
        one, free = wanted[runtime_id], free_of(capacity, taken)
        room = 0 if behind else room_for(replace(one, slots=slots), free)
        if room:
            allocation = take(one.need, room, free)
            taken.append(allocation)
            decided.append(Allocated(runtime_id, allocation))
            continue
        # It comes back from a search when one of its trials ends.
        reason, detail = (facts.PENDING_REASON_BEHIND_OTHERS, "") if behind else why_waiting(one, free, capacity)
        decided.append(Waiting(runtime_id, reason, detail))
        behind = True
    decided += shares.waiting
    for holder in holders:
        runtime_id, trials = holder.candidate.runtime_id, shares.holders[holder.candidate.runtime_id]
        free = free_of(capacity, taken)
        room = room_for(replace(holder.candidate, slots=max(0, trials - holder.slots)), free)
        if room:
            gained = take(holder.candidate.need, room, free)
            taken.append(gained)
            decided.append(
                Adjusted(runtime_id, holder.slots + room, _why_more(holder.candidate.need, room, free), gained)
            )
        elif trials < holder.slots:
            decided.append(Adjusted(runtime_id, trials, _why_fewer(holder, shares, holders)))
    return decided


def with_more(held: Allocation, gained: Allocation) -> Allocation:
    """Return what a search holds with what it gets in addition."""
    return Allocation(
        held.cpus + gained.cpus,
        held.memory_gigabytes + gained.memory_gigabytes,
        tuple(sorted({*held.gpus, *gained.gpus})),
        held.host,
        held.gpu_count + gained.gpu_count,
    )


def with_fewer(held: Allocation, need: Need, trials: int, gpus_in_use: Iterable[int]) -> Allocation:
    """Return what a search holds that gives back all but what so many trials need. Devices in use stay."""
    count = trials * need.gpus
    used = sorted(set(gpus_in_use) & set(held.gpus))
    kept = [*used, *(gpu for gpu in held.gpus if gpu not in used)][: max(count, len(used))]
    return Allocation(
        trials * need.cpus, trials * need.memory_gigabytes, tuple(sorted(kept)), held.host, float(max(count, len(used)))
    )


def _shares(
    queue: Sequence[Candidate], holders: Sequence[Holder], capacity: Capacity, held: Sequence[Allocation]
) -> Shares:
    # Which devices are free does not matter here, only how many.
    counted = replace(capacity, gpus=(), counted_gpus=float(capacity.gpu_count))
    taken = list(held)
    claims = [Claim(one, 0) for one in queue]
    for holder in holders:
        # One trial it keeps, as any runtime keeps what it holds until it ends.
        claim = Claim(holder.candidate, 1, holder)
        claims.append(claim)
        taken.append(take(holder.candidate.need, claim.granted, counted))
    shares = Shares(holders={claim.candidate.runtime_id: claim.granted for claim in claims if claim.holder is not None})
    order = [(claim.rank, index) for index, claim in enumerate(claims)]
    heapq.heapify(order)
    # Whoever does not fit holds back those behind it, or large runtimes would wait for ever.
    behind = growth_over = False
    given: list[Allocation] = []
    while order:
        _, index = heapq.heappop(order)
        claim = claims[index]
        one, new = claim.candidate, claim.granted == 0
        if claim.granted >= one.slots or (behind if new else growth_over):
            if new:
                shares.waiting.append(Waiting(one.runtime_id, facts.PENDING_REASON_BEHIND_OTHERS, ""))
            continue
        free = free_of(counted, taken)
        room = room_for(replace(one, slots=1) if one.adapts else one, free)
        if room:
            taken.append(take(one.need, room, free))
            claim.granted += room
            given += [take(one.need, room, counted)] if claim.holder is None else []
            (shares.queue if claim.holder is None else shares.holders)[one.runtime_id] = claim.granted
            if one.adapts:
                heapq.heappush(order, (claim.rank, index))
        elif new:
            now = free_of(counted, [*held, *(holder.held for holder in holders), *given])
            shares.waiting.append(Waiting(one.runtime_id, *why_waiting(one, now, capacity)))
            behind = True
            growth_over = growth_over or _fits_when_given_back(one, holders, counted, held)
    return shares


def _fits_when_given_back(
    one: Candidate, holders: Sequence[Holder], capacity: Capacity, held: Sequence[Allocation]
) -> bool:
    """Return whether a runtime fits once each search runs a single trial. Otherwise it waits for others than these."""
    least = [take(holder.candidate.need, 1, capacity) for holder in holders]
    return room_for(replace(one, slots=1), free_of(capacity, [*held, *least])) > 0


def _why_more(need: Need, room: int, free: Capacity) -> str:
    trials = "one more trial" if room == 1 else f"{room} more trials"
    what = [f"{free.cpus:g} CPUs"] if need.cpus else []
    what += [f"{free.gpu_count:g} GPUs"] if need.gpus else []
    what += [f"{free.memory_gigabytes:.1f} GB"] if need.memory_gigabytes else []
    return f"{trials}: {', '.join(what)} were free on {free.host}"


def _why_fewer(one: Holder, shares: Shares, holders: Sequence[Holder]) -> str:
    waiting = [*shares.queue, *(waits.runtime_id for waits in shares.waiting)]
    if waiting:
        return f"{waiting[0]} waits"
    fewer = [
        other.candidate.runtime_id for other in holders if shares.holders[other.candidate.runtime_id] > other.slots
    ]
    if fewer:
        return f"{fewer[0]} has fewer trials at a time"
    return "no more trials are to come"
