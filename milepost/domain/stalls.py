"""Why an attempt makes no progress: when that is so, what its instances say of it, and what follows from that. Pure.

A part of the state of an attempt; its functions are those of `evolve` and `decide`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain.decider import replace

# No step for so many times the usual step time, and for at least so long, is no progress.
STALL_FACTOR = 10.0
MIN_STALL_SECONDS = 30.0
# A snapshot is written in one go, and a large one takes its time.
MIN_SNAPSHOT_STALL_SECONDS = 600.0
# The first steps compile, allocate, and find the other ranks.
MIN_FIRST_STALL_SECONDS = 600.0
# Requests for stacks of one attempt: each is an event of every rank.
MAX_REQUESTS = 100
# Stalls of which one attempt says where its ranks were.
MAX_STALLS = 20

_KINDS: dict[int, facts.StallKind] = {
    facts.STACK_PLACE_CODE: facts.STALL_KIND_CODE,
    facts.STACK_PLACE_DATA_LOADER: facts.STALL_KIND_DATA_LOADER,
    facts.STACK_PLACE_STORAGE: facts.STALL_KIND_STORAGE,
}
_DOES: dict[int, str] = {
    facts.STACK_PLACE_CODE: "is",
    facts.STACK_PLACE_DATA_LOADER: "waits for its next batch",
    facts.STACK_PLACE_STORAGE: "loads or saves, or waits for a disk,",
    facts.STACK_PLACE_COLLECTIVE: "waits for others",
}


@dataclass(frozen=True, slots=True)
class Group:
    """How far a rank has come in the collectives of a process group, by PyTorch's flight recorder."""

    name: str
    # Numbers of the last one that the rank has asked for, and that was done.
    enqueued: int
    completed: int
    # What the last one is: `all_reduce`.
    operation: str

    @property
    def waits(self) -> bool:
        return self.enqueued > self.completed


@dataclass(frozen=True, slots=True)
class Stack:
    """What one instance said of its loop when it did no step."""

    rank: int
    step: int
    place: int
    frame: str
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Stalls:
    """What is known of one attempt."""

    # Of each rank the last that came by itself, by rank.
    stacks: tuple[Stack, ...] = ()
    # Steps after which it was said why there is no progress.
    diagnosed: tuple[int, ...] = ()
    requests: int = 0
    request_id: str = ""


initial = Stalls()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why there is no progress."""

    kind: facts.StallKind
    # Those that the others wait for. All, where none waits for another.
    ranks: tuple[int, ...]
    message: str


def is_stalled(step_seconds: float, idle_seconds: float, phase: str, least_seconds: float = MIN_STALL_SECONDS) -> bool:
    """Return whether an instance that is alive makes no progress.

    Args:
        step_seconds: what a step usually takes; 0: that is not known yet.
        idle_seconds: since nothing has moved.
        phase: of its position.
        least_seconds: a shorter pause is none.
    """
    if phase == "finishing":
        return False
    if step_seconds <= 0 or phase == "starting":
        return idle_seconds > max(least_seconds, MIN_FIRST_STALL_SECONDS)
    least = max(least_seconds, MIN_SNAPSHOT_STALL_SECONDS) if phase == "snapshotting" else least_seconds
    return idle_seconds > max(STALL_FACTOR * step_seconds, least)


def record(state: Stalls, fact: facts.StacksRecorded) -> Stalls:
    """Take in what an instance said by itself. What somebody has asked for is read in the log."""
    if fact.requested:
        return state
    groups = tuple(Group(one.group, one.enqueued, one.completed, one.operation) for one in fact.groups)
    stack = Stack(fact.rank, fact.step, fact.place, fact.frame, groups)
    others = (known for known in state.stacks if known.rank != fact.rank)
    return replace(state, stacks=tuple(sorted((*others, stack), key=lambda one: one.rank)))


def is_known(state: Stalls, fact: facts.StacksRecorded) -> bool:
    """Return whether an instance has said so before."""
    return not fact.requested and any((s.rank, s.step) == (fact.rank, fact.step) for s in state.stacks)


def request(state: Stalls, fact: facts.TrialStacksRequested) -> Stalls:
    return replace(state, requests=state.requests + 1, request_id=fact.request_id)


def conclude(state: Stalls, fact: facts.StallDiagnosed) -> Stalls:
    return replace(state, diagnosed=(*state.diagnosed, fact.step)[-MAX_STALLS:])


def diagnose(
    stacks: Collection[Stack], silent: Collection[int] = (), hosts: Mapping[int, str] | None = None
) -> Diagnosis:
    """Say why there is no progress.

    Args:
        stacks: of the ranks that have said where they are, at least one.
        silent: ranks that do not answer.
        hosts: of ranks, by rank.
    """
    by_rank = {stack.rank: stack for stack in stacks}
    several = len(by_rank) + len(silent) > 1
    naming = _Naming(hosts or {}, several)
    waiting = {rank for rank, stack in by_rank.items() if _waits(stack)}
    if silent:
        behind = f"{naming(silent)} {_do('does', silent)} not answer"
        return Diagnosis(facts.STALL_KIND_UNRESPONSIVE, tuple(sorted(silent)), behind + _wait(by_rank, waiting, naming))
    missing = _behind(by_rank) or (set(by_rank) - waiting)
    culprits = {rank for rank in missing if rank not in waiting} or missing
    if not culprits:
        return _all_wait(by_rank, naming)
    if culprits <= waiting:
        return _mismatch(by_rank, waiting, naming)
    # What holds up data or a disk is told before code, should several ranks be to blame.
    places = (facts.STACK_PLACE_STORAGE, facts.STACK_PLACE_DATA_LOADER, facts.STACK_PLACE_CODE)
    place = next((p for p in places if any(by_rank[r].place == p for r in culprits)), facts.STACK_PLACE_CODE)
    ranks = tuple(sorted(r for r in culprits if by_rank[r].place == place)) or tuple(sorted(culprits))
    where = by_rank[ranks[0]].frame
    does = _DOES[place] if len(ranks) == 1 else _plural(_DOES[place])
    said = f"{naming(ranks)} {does}" + (f" at {where}" if where else "")
    return Diagnosis(_KINDS[place], ranks, said + _wait(by_rank, waiting - set(ranks), naming))


def _waits(stack: Stack) -> bool:
    """Return whether a rank waits for others: its loop does, or a device for which it waits."""
    return stack.place == facts.STACK_PLACE_COLLECTIVE or any(group.waits for group in stack.groups)


def _behind(by_rank: Mapping[int, Stack]) -> set[int]:
    """Return the ranks that have not come to a collective in which another one waits."""
    found: set[int] = set()
    for name in {group.name for stack in by_rank.values() for group in stack.groups}:
        members = {r: group for r, stack in by_rank.items() for group in stack.groups if group.name == name}
        furthest = max(group.enqueued for group in members.values())
        if any(group.waits and group.enqueued == furthest for group in members.values()):
            found |= {rank for rank, group in members.items() if group.enqueued < furthest}
    return found


def _all_wait(by_rank: Mapping[int, Stack], naming: _Naming) -> Diagnosis:
    ranks = tuple(sorted(by_rank))
    operations = {_operation(stack) for stack in by_rank.values()}
    if len(by_rank) == 1:
        (stack,) = by_rank.values()
        message = f"{naming(ranks)} waits in {_operation(stack)} for other ranks, which do not say where they are"
        return Diagnosis(facts.STALL_KIND_OTHER_RANKS, ranks, message + (f" ({stack.frame})" if stack.frame else ""))
    if len(operations) > 1:
        return _mismatch(by_rank, ranks, naming)
    (operation,) = operations
    message = f"{naming(ranks)} wait in {operation}, and none is missing: look at the network between them"
    return Diagnosis(facts.STALL_KIND_NETWORK, ranks, message)


def _mismatch(by_rank: Mapping[int, Stack], ranks: Collection[int], naming: _Naming) -> Diagnosis:
    words = "; ".join(f"{naming([rank])} waits in {_operation(by_rank[rank])}" for rank in sorted(by_rank))
    return Diagnosis(facts.STALL_KIND_MISMATCH, tuple(sorted(ranks)), f"ranks are in different collectives: {words}")


def _operation(stack: Stack) -> str:
    waited = [group for group in stack.groups if group.waits]
    if not waited:
        return "a collective"
    group = waited[-1]
    return f"{group.operation or 'collective'} {group.enqueued}" + (
        f" of group {group.name}" if group.name != "0" else ""
    )


def _wait(by_rank: Mapping[int, Stack], waiting: Collection[int], naming: _Naming) -> str:
    if not waiting:
        return ""
    verb = "waits" if len(waiting) == 1 else "wait"
    return f"; {naming(waiting, hosts=False)} {verb} for that in {_operation(by_rank[min(waiting)])}"


def _do(verb: str, ranks: Collection[int]) -> str:
    return verb if len(ranks) == 1 else _plural(verb)


def _plural(words: str) -> str:
    first, _, rest = words.partition(" ")
    plural = {"is": "are", "waits": "wait", "does": "do", "loads": "load"}[first]
    return f"{plural} {rest.replace('saves', 'save').replace('waits', 'wait').replace('its', 'their')}".rstrip()


class _Naming:
    """Names ranks for people; where there is one only, it is "the loop"."""

    def __init__(self, hosts: Mapping[int, str], several: bool) -> None:
        self._hosts = hosts
        self._several = several

    def __call__(self, ranks: Collection[int], *, hosts: bool = True) -> str:
        if not self._several:
            return "the loop"
        text = f"rank {next(iter(ranks))}" if len(ranks) == 1 else f"ranks {compact(ranks)}"
        on = {self._hosts.get(rank, "") for rank in ranks} - {""}
        return f"{text} on {', '.join(sorted(on))}" if hosts and 0 < len(on) <= 3 else text


def compact(numbers: Collection[int]) -> str:
    """Write numbers shortly: `0-2, 5`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(str(number) for number in part) for part in parts)
