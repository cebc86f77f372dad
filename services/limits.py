"""How much a caller may ask for: calls a second by kind, streams at once; and who goes first."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from milepost.errors import ResourceExhausted

# Callers that are remembered; the one that was silent longest is forgotten first, and begins anew with a full bucket.
MAXIMUM_CALLERS = 10_000
# How long a call over the rate waits for its turn, or for its refusal: whoever asks again as soon as there is an answer
# is held to the rate by that, and being refused a thousand times a second costs others as much as being served.
PATIENCE_SECONDS = 1.0
# Calls that wait for their refusal at once. More are refused right away.
MAXIMUM_HELD = 1_000
# How long reads make way for a command.
PRECEDENCE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls a second on the long run, and how many may come at once."""

    per_second: float
    burst: float


@dataclass(slots=True)
class _Bucket:
    tokens: float
    time: float


class RateLimiter:
    """A token bucket for each caller.

    Each call takes one token; tokens come back at the rate. Time is that of a clock that never goes back.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._held = 0

    async def wait_turn(self, caller: str) -> None:
        """Count a call, and return when it may go on.

        Raises:
            ResourceExhausted: that is more than `PATIENCE_SECONDS` away. Said after that time.
        """
        try:
            wait = self.take(caller, PATIENCE_SECONDS)
        except ResourceExhausted:
            if self._held < MAXIMUM_HELD:
                self._held += 1
                try:
                    await asyncio.sleep(PATIENCE_SECONDS)
                finally:
                    self._held -= 1
            raise
        if wait:
            await asyncio.sleep(wait)

    def take(self, caller: str, patience: float = 0.0) -> float:
        """Count a call. Returns the seconds until its turn, at most `patience`.

        Raises:
            ResourceExhausted: the caller is over its rate; the metadata says after how many seconds to come back.
        """
        now = self._clock()
        bucket = self._buckets.pop(caller, None) or _Bucket(self._rate.burst, now)
        self._buckets[caller] = bucket
        if len(self._buckets) > MAXIMUM_CALLERS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._rate.burst, bucket.tokens + (now - bucket.time) * self._rate.per_second)
        bucket.time = now
        wait = max(0.0, (1 - bucket.tokens) / self._rate.per_second)
        if wait > patience:
            raise ResourceExhausted(
                f"more than {self._rate.per_second:g} calls a second; come back in {wait:.2f} s",
                reason="RATE_EXCEEDED",
                metadata={"retry_after_seconds": f"{wait:.3f}"},
            )
        # Less than none: those that wait have theirs already.
        bucket.tokens -= 1
        return wait


class Slots:
    """At most so many things at once, in all and for each caller."""

    def __init__(self, total: int, per_caller: int, what: str) -> None:
        self._total = total
        self._per_caller = per_caller
        self._what = what
        self._used = 0
        self._by_caller: dict[str, int] = {}

    @property
    def used(self) -> int:
        return self._used

    def take(self, caller: str) -> None:
        """Take a slot; give it back with `release`.

        Raises:
            ResourceExhausted: none is free.
        """
        mine = self._by_caller.get(caller, 0)
        if mine >= self._per_caller:
            raise ResourceExhausted(
                f"{self._per_caller} {self._what} are open for this caller already", reason="TOO_MANY_STREAMS"
            )
        if self._used >= self._total:
            raise ResourceExhausted(f"{self._total} {self._what} are open already", reason="TOO_MANY_STREAMS")
        self._used += 1
        self._by_caller[caller] = mine + 1

    def release(self, caller: str) -> None:
        self._used -= 1
        self._by_caller[caller] -= 1
        if not self._by_caller[caller]:
            del self._by_caller[caller]


class Precedence:
    """Commands go first: a read that comes while one is at work waits until that is done, but never for long.

    A command goes through the event loop several times; under a flood of reads it would stand behind them each time.
    """

    def __init__(self) -> None:
        self._at_work = 0
        self._until = 0.0
        self._free = asyncio.Event()

    @contextmanager
    def command(self) -> Iterator[None]:
        """Be at work for the length of a block. Reads wait for `PRECEDENCE_SECONDS` of it at most."""
        self._at_work += 1
        self._until = time.monotonic() + PRECEDENCE_SECONDS
        self._free.clear()
        try:
            yield
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._free.set()

    async def wait(self) -> None:
        """Wait for the turn of a read."""
        left = self._until - time.monotonic()
        if not self._at_work or left <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._free.wait()
