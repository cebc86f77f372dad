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
class Node:
    """What one machine of a cluster offers. `memory_gigabytes` in units of 10^9 bytes."""

    cpus: float
    memory_gigabytes: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a host or a cluster offers. `memory_gigabytes` in units of 10^9 bytes."""

    host: str
    cpus: float
    memory_gigabytes: float
    # Indices of the devices that this service hands out.
    gpus: tuple[int, ...] = ()
    # Devices that the cluster hands out by itself.
    counted_gpus: float = 0.0
    # Its machines: a process has to fit on one of them. Empty: a single one, or not known.
    nodes: tuple[Node, ...] = ()
    # What others than Milepost use of it.
    others: Allocation | None = None
    # It has a queue of its own: what it could ever hold is handed to it at once.
    queues: bool = False

    @property
    def gpu_count(self) -> float:
        return len(self.gpus) + self.counted_gpus


@dataclass(frozen=True, slots=True)
class Need:
    """What one trial needs at a time."""

    cpus: float
    memory_gigabytes: float
    gpus: int
    # That share it evenly; each of them runs on one machine.
    processes: int = 1


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
    # It takes what is free at any time: see `sharing`.
    adapts: bool = False


@dataclass(frozen=True, slots=True)
class Allocated:
    runtime_id: str
    allocation: Allocation


@dataclass(frozen=True, slots=True)
class Waiting:
    runtime_id: str
    reason: facts.PendingReason
    detail: str


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
        processes=processes,
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
    if need.gpus > capacity.gpu_count:
        lacks.append(f"it needs {need.gpus} GPUs and {capacity.host} has {capacity.gpu_count:g}")
    if need.memory_gigabytes > capacity.memory_gigabytes:
        lacks.append(
            f"it needs {need.memory_gigabytes:g} GB of memory and {capacity.host} has {capacity.memory_gigabytes:.0f}"
        )
    if not lacks and capacity.nodes:
        places = sum(_places(need, node) for node in capacity.nodes)
        if places < need.processes:
            share = f"{need.cpus / need.processes:g} CPUs, {need.gpus / need.processes:g} GPUs"
            each = f"{share} and {need.memory_gigabytes / need.processes:g} GB on one machine"
            lacks.append(f"it needs {need.processes} x {each}, and {capacity.host} has room for {places} of them")
    return "; ".join(lacks)


def _places(need: Need, node: Node) -> int:
    """Return how many of the processes of a trial fit on a machine, were it empty."""
    wanted = (need.cpus, need.gpus, need.memory_gigabytes)
    rooms = [
        math.floor(there * need.processes / want + 1e-9)
        for want, there in zip(wanted, (node.cpus, node.gpus, node.memory_gigabytes), strict=True)
        if want
    ]
    return min(rooms, default=need.processes)


def hand_over(queue: Iterable[Candidate], capacity: Capacity) -> list[Placement]:
    """Allocate to everybody, because the cluster has a queue of its own: there they wait."""
    return [Allocated(one.runtime_id, take(one.need, one.slots, capacity)) for one in queue]


def hold_back(queue: Iterable[Candidate], detail: str) -> list[Placement]:
    """Allocate nothing, because the launcher can launch nothing."""
    reason = facts.PENDING_REASON_LAUNCHER_UNAVAILABLE
    return [Waiting(candidate.runtime_id, reason, detail) for candidate in queue]


def free_of(capacity: Capacity, held: Sequence[Allocation]) -> Capacity:
    """Return what is left of a host or a cluster."""
    if capacity.others is not None:
        held = [capacity.others, *held]
    taken = {index for allocation in held for index in allocation.gpus}
    return Capacity(
        host=capacity.host,
        cpus=capacity.cpus - sum(a.cpus for a in held),
        memory_gigabytes=capacity.memory_gigabytes - sum(a.memory_gigabytes for a in held),
        gpus=tuple(index for index in capacity.gpus if index not in taken),
        counted_gpus=capacity.counted_gpus and capacity.counted_gpus - sum(a.gpu_count for a in held),
    )


def room_for(candidate: Candidate, free: Capacity) -> int:
    """Return how many of the trials it wants at a time fit now."""
    slots = candidate.slots
    while slots and not _fits(candidate.need, slots, free):
        slots -= 1
    return slots


def _fits(need: Need, slots: int, free: Capacity) -> bool:
    return (
        slots * need.cpus <= free.cpus + 1e-9
        and slots * need.gpus <= free.gpu_count
        and slots * need.memory_gigabytes <= free.memory_gigabytes + 1e-9
    )


def take(need: Need, slots: int, free: Capacity) -> Allocation:
    """Return what so many trials need, of what is free."""
    return Allocation(
        cpus=slots * need.cpus,
        memory_gigabytes=slots * need.memory_gigabytes,
        gpus=free.gpus[: slots * need.gpus],
        host=free.host,
        gpu_count=float(slots * need.gpus),
    )


def _s(number: float) -> str:
    return "" if number == 1 else "s"


def why_waiting(candidate: Candidate, free: Capacity, capacity: Capacity) -> tuple[facts.PendingReason, str]:
    """Say what a runtime lacks of which not one trial fits."""
    need = candidate.need
    if need.gpus > free.gpu_count:
        left = max(0.0, free.gpu_count)
        detail = f"needs {need.gpus} GPU{_s(need.gpus)}, {left:g} of {capacity.gpu_count:g} are free on {capacity.host}"
        return facts.PENDING_REASON_INSUFFICIENT_GPU, detail
    if need.memory_gigabytes > free.memory_gigabytes:
        left = max(0.0, free.memory_gigabytes)
        detail = f"needs {need.memory_gigabytes:g} GB, {left:.1f} of {capacity.memory_gigabytes:.1f} are free"
        return facts.PENDING_REASON_INSUFFICIENT_MEMORY, f"{detail} on {capacity.host}"
    detail = f"needs {need.cpus:g} CPU{_s(need.cpus)}, {max(0.0, free.cpus):g} of {capacity.cpus:g} are free on {capacity.host}"
    return facts.PENDING_REASON_INSUFFICIENT_CPU, detail
