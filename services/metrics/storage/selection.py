"""Which rows a query is about: ranges of steps by attempt, positions of the log, and their SQL.

Pure. SQL is put together from constant text and numbers of ours; whatever came from outside is a bound parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from milepost.api.event.v1.common_pb2 import AncestorSteps
from milepost.domain.trial import Segment
from milepost.names import trial_name
from milepost.numbers import MAX_NUMBER

# Pieces of so many runtimes are selected together.
_MANY = 3


@dataclass(frozen=True, slots=True, order=True)
class TrialRef:
    """A trial of a runtime."""

    runtime_id: str
    trial: int

    @property
    def name(self) -> str:
        return trial_name(self.runtime_id, self.trial)


@dataclass(frozen=True, slots=True)
class StepRange:
    """The steps first..last, both included, that one attempt of a trial logged.

    Attributes:
        yields_to: attempts that went on from this one step (`first` is `last`), and whose points there count instead,
            series by series.
        yielded: the piece is what gave way to them; else it is what did not.
        yields_in: the trial of these attempts; None: the same. It is another one where a branch began.
    """

    trial: TrialRef
    attempt: int
    first: int = 0
    last: int = MAX_NUMBER
    yields_to: tuple[int, ...] = ()
    yielded: bool = False
    yields_in: TrialRef | None = None

    def clipped(self, first: int, last: int) -> StepRange | None:
        """Return the part within a range of steps; None: there is none."""
        clipped = replace(self, first=max(self.first, first), last=min(self.last, last))
        return clipped if clipped.first <= clipped.last else None


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """A position of TELEMETRY: rows of earlier streams, and of this stream up to the sequence, are before it."""

    stream_id: int
    sequence: int


def owned_pieces(
    trial: TrialRef, lineage: Sequence[Segment], restarts: Mapping[int, Sequence[int]] | None = None
) -> list[StepRange]:
    """List what the attempts of a lineage own. A value logged at step 0 belongs to whoever did step 1.

    Args:
        restarts: step -> attempts that went on from it, oldest first. Such an attempt may log at that step again (an
            evaluation that was interrupted runs anew): of each series, the points of the last one that has any count.
    """
    restarts = restarts or {}
    pieces: list[StepRange] = []
    for segment in lineage:
        if segment.last_step is not None and segment.last_step < segment.first_step:
            continue
        first = 0 if segment.first_step == 1 else segment.first_step
        if restarts.get(first - 1, ())[-1:] == (segment.attempt,):
            first -= 1
        last = MAX_NUMBER if segment.last_step is None else segment.last_step
        later = tuple(restarts.get(last, ()))
        if not later:
            pieces.append(StepRange(trial, segment.attempt, first, last))
            continue
        if first < last:
            pieces.append(StepRange(trial, segment.attempt, first, last - 1))
        for index, attempt in enumerate((segment.attempt, *later[:-1])):
            pieces.append(StepRange(trial, attempt, last, last, later[index:]))
    return pieces


def trunk_pieces(
    trunk: Sequence[AncestorSteps], heir: TrialRef, heir_restarts: Mapping[int, Sequence[int]]
) -> list[StepRange]:
    """List what the ancestors of a branch own, oldest first.

    Args:
        trunk: who did which steps, as the branch was begun.
        heir: the branch.
        heir_restarts: step -> attempts of the branch that went on from it. What they logged at the step at which the
            branch begins counts instead of what its parent logged there.
    """
    pieces: list[StepRange] = []
    for index, part in enumerate(trunk):
        trial = TrialRef(part.runtime_id, part.trial)
        first, last = (0 if part.first_step == 1 else part.first_step), part.last_step
        follower = trunk[index + 1] if index + 1 < len(trunk) else None
        later: tuple[int, ...]
        if follower is not None:
            later, yields_in = (follower.attempt,), TrialRef(follower.runtime_id, follower.trial)
        else:
            later, yields_in = tuple(heir_restarts.get(last, ())), heir
        if index and trunk[index - 1].last_step == first - 1:
            # It may have logged again at the step that it went on from.
            first -= 1
        if not later:
            pieces.append(StepRange(trial, part.attempt, first, last))
            continue
        if first < last:
            pieces.append(StepRange(trial, part.attempt, first, last - 1))
        pieces.append(
            StepRange(trial, part.attempt, last, last, later, yields_in=None if yields_in == trial else yields_in)
        )
    return pieces


def superseded_pieces(
    trial: TrialRef,
    lineage: Sequence[Segment],
    attempts: Iterable[int],
    restarts: Mapping[int, Sequence[int]] | None = None,
) -> list[StepRange]:
    """List what attempts did that the lineage does not take from them."""
    owned: dict[int, list[StepRange]] = {}
    for piece in owned_pieces(trial, lineage, restarts):
        owned.setdefault(piece.attempt, []).append(piece)
    found = []
    for attempt in attempts:
        start = 0
        for piece in sorted(owned.get(attempt, []), key=lambda p: p.first):
            if piece.first > start:
                found.append(StepRange(trial, attempt, start, piece.first - 1))
            if piece.yields_to:
                found.append(replace(piece, yielded=True))
            start = piece.last + 1
        if start <= MAX_NUMBER:
            found.append(StepRange(trial, attempt, start))
    return found


def settled(
    pieces: Sequence[StepRange], extents: Mapping[tuple[TrialRef, int], tuple[int, int]], shift: int
) -> list[StepRange]:
    """Give pieces that select the same rows for less: with fewer attempts that they yield to, and with fewer ends.

    An attempt that logged nothing at a step need not be asked for there. A piece that has everything which its attempt
    logged in a unit may as well have the whole unit.

    Args:
        extents: the first and the last step that each attempt logged, in the units of `2**shift` steps that pieces touch.
    """
    touched = [(piece.trial, piece.attempt, piece.first >> shift, piece.last >> shift) for piece in pieces]

    def may_have_logged(piece: StepRange, attempt: int) -> bool:
        heir, unit = piece.yields_in or piece.trial, piece.first >> shift
        if (heir, attempt) in extents:
            return extents[heir, attempt][0] <= piece.first
        return not any((heir, attempt) == (trial, one) and low <= unit <= high for trial, one, low, high in touched)

    kept = []
    for piece in pieces:
        if piece.yields_to and not piece.yielded:
            later = tuple(attempt for attempt in piece.yields_to if may_have_logged(piece, attempt))
            kept.append(replace(piece, yields_to=later, yields_in=piece.yields_in if later else None))
        else:
            kept.append(piece)
    return [_rounded(piece, extents.get((piece.trial, piece.attempt)), shift) for piece in joined(kept)]


def _rounded(piece: StepRange, extent: tuple[int, int] | None, shift: int) -> StepRange:
    """Widen a piece to whole units at the ends beyond which its attempt logged nothing."""
    if extent is None or piece.yields_to:
        return piece
    first, last = piece.first, piece.last
    if first <= extent[0]:
        first = first >> shift << shift
    if extent[1] <= last < MAX_NUMBER:
        last = min(((last >> shift) + 1 << shift) - 1, MAX_NUMBER)
    return replace(piece, first=first, last=last)


def joined(pieces: Iterable[StepRange]) -> list[StepRange]:
    """Join pieces that follow upon each other, of one attempt, and yield to nobody."""
    found: list[StepRange] = []
    for piece in pieces:
        last = found[-1] if found else None
        if last is not None and not last.yields_to and last == replace(piece, first=last.first, last=last.last):
            if last.first <= piece.first <= last.last + 1:
                found[-1] = replace(last, last=max(last.last, piece.last))
                continue
        found.append(piece)
    return found


def clip(pieces: Iterable[StepRange], first: int, last: int) -> list[StepRange]:
    """Keep what lies within a range of steps."""
    return [clipped for piece in pieces if (clipped := piece.clipped(first, last)) is not None]


def split(pieces: Iterable[StepRange], shift: int) -> tuple[list[StepRange], list[StepRange]]:
    """Split pieces into whole units of `2**shift` steps and the rest at their ends."""
    whole, rest = [], []
    for piece in pieces:
        first_unit = -(-piece.first >> shift)
        last_unit = ((piece.last + 1) >> shift) - 1
        if last_unit < first_unit:
            rest.append(piece)
            continue
        whole.append(replace(piece, first=first_unit << shift, last=((last_unit + 1) << shift) - 1))
        if piece.first < first_unit << shift:
            rest.append(replace(piece, last=(first_unit << shift) - 1))
        if piece.last >= (last_unit + 1) << shift:
            rest.append(replace(piece, first=(last_unit + 1) << shift))
    return whole, rest


@dataclass(slots=True)
class Condition:
    """SQL of a condition with its parameters."""

    sql: str = "1"
    parameters: dict[str, Any] = field(default_factory=dict)


def in_pieces(pieces: Sequence[StepRange], shift: int = 0, pin: Pin | None = None, table: str = "points") -> Condition:
    """Select the rows of pieces. With a shift: those of the units of `2**shift` steps that pieces touch.

    Args:
        table: that of the rows: what an attempt has logged is looked up there.
        pin: what an attempt has logged at a step that an earlier one yields to it is looked up as of this position.
    """
    column = "step" if shift == 0 else f"bitShiftRight(step, {shift})"
    if shift:
        pieces = [replace(piece, yields_to=(), yields_in=None, yielded=False) for piece in pieces]
    many, pieces = _of_many_runtimes(joined(pieces), shift)
    together: dict[StepRange, list[int]] = {}
    for piece in pieces:
        together.setdefault(replace(piece, trial=TrialRef(piece.trial.runtime_id, 0)), []).append(piece.trial.trial)
    alternatives = []
    parameters: dict[str, Any] = {}
    if many:
        selected = _in_ranges(many, column, shift)
        alternatives.append(f"({selected.sql})")
        parameters |= selected.parameters
    for index, (piece, trials) in enumerate(together.items()):
        name = f"p{index}"
        parameters |= {f"{name}r": piece.trial.runtime_id, f"{name}t": sorted(set(trials)), f"{name}a": piece.attempt}
        of_trials = f"runtime = {{{name}r:String}} AND trial IN {{{name}t:Array(UInt32)}}"
        alternative = f"{of_trials} AND attempt = {{{name}a:UInt32}}"
        if piece.first > 0:
            alternative += f" AND {column} >= {piece.first >> shift}"
        if piece.last < MAX_NUMBER:
            alternative += f" AND {column} <= {piece.last >> shift}"
        if piece.yields_to:
            parameters[f"{name}y"] = list(piece.yields_to)
            known = before(pin)
            parameters |= known.parameters
            of_them, same = of_trials, "trial, key"
            if piece.yields_in is not None:
                parameters |= {f"{name}yr": piece.yields_in.runtime_id, f"{name}yt": piece.yields_in.trial}
                of_them, same = f"runtime = {{{name}yr:String}} AND trial = {{{name}yt:UInt32}}", "key"
            alternative += (
                f" AND ({same}) {'' if piece.yielded else 'NOT '}IN (SELECT {same} FROM {table} "
                f"WHERE {of_them} AND step = {piece.first} AND attempt IN {{{name}y:Array(UInt32)}} AND ({known.sql}))"
            )
        alternatives.append(f"({alternative})")
    return Condition(" OR ".join(alternatives) or "0", parameters)


def _of_many_runtimes(
    pieces: Sequence[StepRange], shift: int
) -> tuple[dict[str, list[StepRange]], Sequence[StepRange]]:
    """Take apart what `_in_ranges` can select: by runtime; and the other pieces."""
    by_runtime: dict[str, list[StepRange]] = {}
    for piece in pieces:
        if not piece.yields_to:
            by_runtime.setdefault(piece.trial.runtime_id, []).append(piece)
    many = {
        runtime_id: found
        for runtime_id, found in by_runtime.items()
        if len({(piece.trial, piece.attempt) for piece in found}) == 1
    }
    # What is between the pieces of one runtime must not be a piece of another one.
    everywhere = _units(pieces, shift)
    for runtime_id, found in list(many.items()):
        own = _units(found, shift)
        hull = own[0][0], own[-1][1]
        within = [(max(low, hull[0]), min(high, hull[1])) for low, high in everywhere]
        if [(low, high) for low, high in within if low <= high] != own:
            del many[runtime_id]
    if len(many) < _MANY:
        return {}, pieces
    return many, [p for p in pieces if p.yields_to or p.trial.runtime_id not in many]


def _in_ranges(many: Mapping[str, Sequence[StepRange]], column: str, shift: int) -> Condition:
    """Select the rows of pieces of many runtimes, of one attempt each.

    An alternative for each piece says the same. ClickHouse plans it for a millisecond an alternative.
    """
    units = [_units(found, shift) for found in many.values()]
    ranges = _units([piece for found in many.values() for piece in found], shift)
    if all(len(found) == 1 for found in units) and shift:
        ranges = [(ranges[0][0], ranges[-1][1])]
    within = " OR ".join(f"{column} BETWEEN {low} AND {high}" for low, high in ranges)
    return Condition(
        "(runtime, trial, attempt) IN arrayZip({mr:Array(String)}, {mt:Array(UInt32)}, {ma:Array(UInt32)}) "
        f"AND {column} >= transform(runtime, {{mr:Array(String)}}, {{mf:Array(Int64)}}, toInt64(0)) "
        f"AND {column} <= transform(runtime, {{mr:Array(String)}}, {{ml:Array(Int64)}}, toInt64(0)) AND ({within})",
        {
            "mr": list(many),
            "mt": [found[0].trial.trial for found in many.values()],
            "ma": [found[0].attempt for found in many.values()],
            "mf": [found[0][0] for found in units],
            "ml": [found[-1][1] for found in units],
        },
    )


def _units(pieces: Iterable[StepRange], shift: int) -> list[tuple[int, int]]:
    """Return the units of `2**shift` steps that pieces touch, as ranges in order that do not meet."""
    found: list[tuple[int, int]] = []
    for low, high in sorted((piece.first >> shift, piece.last >> shift) for piece in pieces):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return found


def in_trials(trials: Iterable[TrialRef]) -> Condition:
    """Select the rows of trials, whatever the attempt; trial 0: of the whole runtime."""
    numbers: dict[str, set[int]] = {}
    for trial in trials:
        numbers.setdefault(trial.runtime_id, set()).add(trial.trial)
    alternatives = []
    parameters: dict[str, Any] = {}
    for index, (runtime_id, of_runtime) in enumerate(numbers.items()):
        parameters[f"r{index}"] = runtime_id
        alternative = f"runtime = {{r{index}:String}}"
        if 0 not in of_runtime:
            parameters[f"t{index}"] = sorted(of_runtime)
            alternative += f" AND trial IN {{t{index}:Array(UInt32)}}"
        alternatives.append(f"({alternative})")
    return Condition(" OR ".join(alternatives) or "0", parameters)


def in_keys(keys: Sequence[str]) -> Condition:
    """Select the rows of series; without keys, of all series."""
    return Condition("key IN {keys:Array(String)}", {"keys": list(keys)}) if keys else Condition("key != ''")


def before(pin: Pin | None) -> Condition:
    """Select the rows up to a position; None: all."""
    if pin is None:
        return Condition()
    return Condition(
        "stream_id < {pin_stream:UInt64} OR (stream_id = {pin_stream:UInt64} AND log_seq <= {pin_sequence:UInt64})",
        {"pin_stream": pin.stream_id, "pin_sequence": pin.sequence},
    )


def after(pin: Pin) -> Condition:
    """Select the rows behind a position."""
    return Condition(
        "stream_id > {after_stream:UInt64} "
        "OR (stream_id = {after_stream:UInt64} AND log_seq > {after_sequence:UInt64})",
        {"after_stream": pin.stream_id, "after_sequence": pin.sequence},
    )


def all_of(*conditions: Condition) -> Condition:
    """Select the rows that meet every condition."""
    parts = [c for c in conditions if c.sql != "1"]
    parameters: dict[str, Any] = {}
    for part in parts:
        parameters |= part.parameters
    return Condition(" AND ".join(f"({part.sql})" for part in parts) or "1", parameters)


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Join neighbouring numbers into ranges."""
    first = last = None
    for number in sorted(set(numbers)):
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = number
    if first is not None and last is not None:
        yield first, last
