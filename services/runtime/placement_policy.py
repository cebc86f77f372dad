"""Who gets the resources of a host, and why the others wait. Pure.

Priority first, then first come, first served, without overtaking: whoever does not fit holds back those behind it, or
large runtimes would wait for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain.runtime import Allocation


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a host offers. `memory_gigabytes` in units of 10^9 bytes."""

    host: str
    cpus: float
    memory_gigabytes: float
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """What one trial needs at a time."""

    cpus: float
    memory_gigabytes: float
    gpus: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A runtime in the queue."""

    runtime_id: str
    priority: int
    # Sequence of its request or resume: its place among equals.
    sequence: int
    need: Need
    # Trials that may run at a time.
    slots: int


@dataclass(frozen=True, slots=True)
class Allocated:
    runtime_id: str
    allocation: Allocation


@dataclass(frozen=True, slots=True)
class Waiting:
    runtime_id: str
    reason: facts.PendingReason
    detail: str
    position: int


Placement = Allocated | Waiting


def need_of(configuration: RuntimeConfiguration) -> Need:
    """Return what one trial of a resolved configuration needs."""
    resources = configuration.resources
    # Without a worker group there is still one process.
    processes = max(1, resources.workers)
    return Need(
        cpus=processes * resources.cpus_per_worker,
        memory_gigabytes=processes * resources.memory_gigabytes_per_worker,
        gpus=math.ceil(processes * resources.gpus_per_worker),
    )


def slots_wanted(configuration: RuntimeConfiguration, unfinished: int) -> int:
    """Return how many trials may run at a time, if there is room."""
    concurrent = configuration.search.max_concurrent_trials if configuration.HasField("search") else 1
    return max(1, min(concurrent, unfinished))


def slots_of(allocation: Allocation, need: Need) -> int:
    """Return how many trials fit into what a runtime holds."""
    rooms = [math.floor(allocation.cpus / need.cpus + 1e-9)] if need.cpus else []
    if need.gpus:
        rooms.append(int(allocation.gpu_count) // need.gpus)
    if need.memory_gigabytes:
        rooms.append(math.floor(allocation.memory_gigabytes / need.memory_gigabytes + 1e-9))
    return max(1, min(rooms, default=1))


def why_never(need: Need, capacity: Capacity) -> str:
    """Say why one trial can never run on a host. Empty: it can."""
    lacks = []
    if need.cpus > capacity.cpus:
        lacks.append(f"it needs {need.cpus:g} CPUs and {capacity.host} has {capacity.cpus:g}")
    if need.gpus > len(capacity.gpus):
        lacks.append(f"it needs {need.gpus} GPUs and {capacity.host} has {len(capacity.gpus)}")
    if need.memory_gigabytes > capacity.memory_gigabytes:
        lacks.append(
            f"it needs {need.memory_gigabytes:g} GB of memory and {capacity.host} has {capacity.memory_gigabytes:.0f}"
        )
    return "; ".join(lacks)


def place(queue: Iterable[Candidate], capacity: Capacity, held: Sequence[Allocation]) -> list[Placement]:
    """Allocate to the queue what is free, and say of the others why they wait and where they stand."""
    free = _free(capacity, held)
    placements: list[Placement] = []
    position = 0
    for candidate in sorted(queue, key=lambda c: (-c.priority, c.sequence)):
        slots = _room(candidate, free) if position == 0 else 0
        if slots:
            allocation = _take(candidate, slots, free)
            free = _free(capacity, [*held, *(p.allocation for p in placements if isinstance(p, Allocated)), allocation])
            placements.append(Allocated(candidate.runtime_id, allocation))
            continue
        position += 1
        reason, detail = _why(candidate, free, capacity) if position == 1 else (facts.PENDING_REASON_BEHIND_OTHERS, "")
        placements.append(Waiting(candidate.runtime_id, reason, detail, position))
    return placements


def _free(capacity: Capacity, held: Sequence[Allocation]) -> Capacity:
    taken = {index for allocation in held for index in allocation.gpus}
    return Capacity(
        host=capacity.host,
        cpus=capacity.cpus - sum(a.cpus for a in held),
        memory_gigabytes=capacity.memory_gigabytes - sum(a.memory_gigabytes for a in held),
        gpus=tuple(index for index in capacity.gpus if index not in taken),
    )


def _room(candidate: Candidate, free: Capacity) -> int:
    """Return how many of the trials it wants at a time fit now."""
    slots = candidate.slots
    while slots and not _fits(candidate.need, slots, free):
        slots -= 1
    return slots


def _fits(need: Need, slots: int, free: Capacity) -> bool:
    return (
        slots * need.cpus <= free.cpus + 1e-9
        and slots * need.gpus <= len(free.gpus)
        and slots * need.memory_gigabytes <= free.memory_gigabytes + 1e-9
    )


def _take(candidate: Candidate, slots: int, free: Capacity) -> Allocation:
    need = candidate.need
    return Allocation(
        cpus=slots * need.cpus,
        memory_gigabytes=slots * need.memory_gigabytes,
        gpus=free.gpus[: slots * need.gpus],
        host=free.host,
        gpu_count=float(slots * need.gpus),
    )


def _why(candidate: Candidate, free: Capacity, capacity: Capacity) -> tuple[facts.PendingReason, str]:
    need = candidate.need
    if need.gpus > len(free.gpus):
        detail = f"needs {need.gpus} GPU, {len(free.gpus)} of {len(capacity.gpus)} are free on {capacity.host}"
        return facts.PENDING_REASON_INSUFFICIENT_GPU, detail
    if need.memory_gigabytes > free.memory_gigabytes:
        left = max(0.0, free.memory_gigabytes)
        detail = f"needs {need.memory_gigabytes:g} GB, {left:.1f} of {capacity.memory_gigabytes:.1f} are free"
        return facts.PENDING_REASON_INSUFFICIENT_MEMORY, f"{detail} on {capacity.host}"
    detail = f"needs {need.cpus:g} CPU, {max(0.0, free.cpus):g} of {capacity.cpus:g} are free on {capacity.host}"
    return facts.PENDING_REASON_INSUFFICIENT_CPU, detail
