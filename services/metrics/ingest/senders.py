"""Which batch numbers of which sender are settled: accepted in memory, stored in ClickHouse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from services.metrics.ingest.ranges import RangeSet
from services.metrics.storage.batches import SenderKey

Attempt = tuple[str, int, int]

# Attempts that sent nothing for this long are told nothing more and may be forgotten: their numbers are read back
# from ClickHouse when they send again.
IDLE_SECONDS = 60.0
MAX_ATTEMPTS = 20_000
# Ranges told at once. A sender with more gaps than that hears of the newest ones.
MAX_RANGES = 2_000


@dataclass(slots=True)
class Numbers:
    """The numbers of one sender and kind. `accepted` includes what is on its way into ClickHouse."""

    accepted: RangeSet
    stored: RangeSet


@dataclass(slots=True)
class _Attempt:
    numbers: dict[tuple[str, str], Numbers] = field(default_factory=dict)
    # Kinds whose numbers were read from ClickHouse.
    loaded: set[str] = field(default_factory=set)
    heard_at: float = 0.0


class Senders:
    """The numbers of all senders that were heard of lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._attempts: dict[Attempt, _Attempt] = {}

    def missing(self, kind: str, attempts: Iterable[Attempt]) -> list[Attempt]:
        """List the attempts whose numbers have to be read from ClickHouse first."""
        known = self._attempts
        return [key for key in dict.fromkeys(attempts) if key not in known or kind not in known[key].loaded]

    def load(self, kind: str, attempts: Iterable[Attempt], stored: dict[SenderKey, RangeSet]) -> None:
        """Take over what ClickHouse has of some attempts."""
        for key in attempts:
            self._attempts.setdefault(key, _Attempt()).loaded.add(kind)
        for sender, numbers in stored.items():
            attempt = self._attempts[sender.runtime_id, sender.trial, sender.attempt]
            attempt.numbers[sender.source, kind] = Numbers(numbers.copy(), numbers)

    def accept(self, kind: str, sender: SenderKey, number: int) -> bool:
        """Note that a batch came. False: its number is settled already."""
        attempt = self._attempts[sender.runtime_id, sender.trial, sender.attempt]
        attempt.heard_at = self._clock()
        numbers = attempt.numbers.get((sender.source, kind))
        if numbers is None:
            numbers = attempt.numbers[sender.source, kind] = Numbers(RangeSet(), RangeSet())
        return numbers.accepted.add(number)

    def settle(self, kind: str, sender: SenderKey, number: int) -> None:
        """Note that ClickHouse has a batch, or never will."""
        self._attempts[sender.runtime_id, sender.trial, sender.attempt].numbers[sender.source, kind].stored.add(number)

    def message(self, key: Attempt, watched: bool) -> telemetry.Stored:
        """Say what is stored of an attempt."""
        message = telemetry.Stored(watched=watched, takes_rows=True)
        attempt = self._attempts.get(key)
        for (source, kind), numbers in attempt.numbers.items() if attempt else ():
            for first, last in list(numbers.stored)[-MAX_RANGES:]:
                message.ranges.add(source=source, kind=kind, first=first, last=last)
        return message

    def recent(self) -> list[Attempt]:
        """List the attempts that were heard of lately."""
        earliest = self._clock() - IDLE_SECONDS
        return [key for key, attempt in self._attempts.items() if attempt.heard_at >= earliest]

    def attempts_of(self, runtime_id: str, trial: int) -> list[Attempt]:
        """List the known attempts of a trial; trial 0: of all of its runtime."""
        return [key for key in self._attempts if key[0] == runtime_id and trial in (0, key[1])]

    def forget_idle(self, in_use: set[Attempt]) -> None:
        """Forget the longest idle attempts beyond the number that is kept in memory."""
        surplus = len(self._attempts) - MAX_ATTEMPTS
        if surplus <= 0:
            return
        earliest = self._clock() - IDLE_SECONDS
        idle = sorted(
            (a.heard_at, key) for key, a in self._attempts.items() if a.heard_at < earliest and key not in in_use
        )
        for _, key in idle[:surplus]:
            del self._attempts[key]
