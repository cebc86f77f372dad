"""How much a caller may ask for: calls a second by kind, streams at once, bytes of an answer; and who goes first."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from milepost.errors import ResourceExhausted

# Callers that are remembered; the one that was silent longest is forgotten first, and begins anew with a full bucket.
MAX_CALLERS = 10_000
# How long a call over the rate waits for its turn, or for its refusal: whoever asks again as soon as there is an answer
# is held to the rate by that, and being refused a thousand times a second costs others as much as being served.
PATIENCE_SECONDS = 1.0
# Calls that wait for their refusal at once, in all and of one caller. More are refused right away.
MAX_HELD = 1_000
MAX_HELD_PER_CALLER = 100
# What the messages of a page may have together: gRPC clients take 4 MiB unless they are told otherwise.
ANSWER_BYTES = 3 << 20
# How long reads make way for a command.
PRECEDENCE_SECONDS = 0.05


M = TypeVar("M", bound=Message)


def fitting(messages: Iterable[M], most: int = ANSWER_BYTES, may_be_empty: bool = False) -> list[M]:
    """Take as many messages as have so many bytes together; the first one always, unless none has to be there."""
    taken: list[M] = []
    size = 0
    for message in messages:
        size += message.ByteSize()
        if size > most and (taken or may_be_empty):
            break
        taken.append(message)
    return taken


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
        self._held = Slots(MAX_HELD, MAX_HELD_PER_CALLER, "refusals")

    async def wait_turn(self, caller: str) -> None:
        """Count a call, and return when it may go on.

        Raises:
            ResourceExhausted: that is more than `PATIENCE_SECONDS` away. Said after that time.
        """
        try:
            wait = self.take(caller, PATIENCE_SECONDS)
        except ResourceExhausted:
            if self._held.is_free(caller):
                with self._held.taken(caller):
                    await asyncio.sleep(PATIENCE_SECONDS)
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
        if len(self._buckets) > MAX_CALLERS:
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

    def charge(self, caller: str, calls: float) -> None:
        """Count a call that was let through as so many more: it cost as much."""
        bucket = self._buckets.get(caller)
        if bucket is not None:
            bucket.tokens -= calls


class Slots:
    """At most so many things at once, in all and for each caller.

    Args:
        what: in words, for the refusal.
        reason: of the refusal.
    """

    def __init__(self, total: int, per_caller: int, what: str, reason: str = "TOO_MANY_STREAMS") -> None:
        self._total = total
        self._per_caller = per_caller
        self._what = what
        self._reason = reason
        self._used = 0
        self._by_caller: dict[str, int] = {}

    @property
    def used(self) -> int:
        return self._used

    def is_free(self, caller: str) -> bool:
        """Return whether a caller could take a slot."""
        return self._by_caller.get(caller, 0) < self._per_caller and self._used < self._total

    def take(self, caller: str, shares: bool = True) -> None:
        """Take a slot; give it back with `release`.

        Args:
            shares: the caller is one of many, and has no more than its share.

        Raises:
            ResourceExhausted: none is free.
        """
        mine = self._by_caller.get(caller, 0)
        if shares and mine >= self._per_caller:
            raise ResourceExhausted(
                f"{self._per_caller} {self._what} are open for this caller already; end some, or wait until some end",
                reason=self._reason,
            )
        if self._used >= self._total:
            raise ResourceExhausted(f"{self._total} {self._what} are open already", reason=self._reason)
        self._used += 1
        self._by_caller[caller] = mine + 1

    @contextmanager
    def taken(self, caller: str, shares: bool = True) -> Iterator[None]:
        """Have a slot for the length of a block. Raises as `take`."""
        self.take(caller, shares)
        try:
            yield
        finally:
            self.release(caller)

    def release(self, caller: str) -> None:
        self._used -= 1
        self._by_caller[caller] -= 1
        if not self._by_caller[caller]:
            del self._by_caller[caller]


class Turns:
    """Slots whose callers wait until one is free. For work that must not be at once too often, however it is asked for."""

    def __init__(self, total: int, per_caller: int, what: str) -> None:
        self._slots = Slots(total, per_caller, what)
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Have a slot for the length of a block, once it is the caller's turn."""
        while not self._slots.is_free(caller):
            await self._freed.wait()
        try:
            with self._slots.taken(caller):
                yield
        finally:
            freed, self._freed = self._freed, asyncio.Event()
            freed.set()


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
