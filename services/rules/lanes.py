"""Tries what is pending until it is done, in lanes: one try of a lane at a time, so one that hangs keeps no other waiting."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

MAX_AT_ONCE = 16

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
Outcome = TypeVar("Outcome")


@dataclass(slots=True)
class Tries(Generic[Outcome]):
    """What was tried since this process began."""

    made: int = 0
    last: Outcome | None = None
    # By the clock of the loop.
    not_before: float = 0.0


class Lanes(ABC, Generic[Item, Key, Outcome]):
    """Begins with what is due, and looks again when something ended, when it is woken, and every `look_seconds`."""

    # What waits for its next try keeps those behind it in its lane waiting.
    in_order: ClassVar[bool] = False

    def __init__(self, look_seconds: float) -> None:
        self._look_seconds = look_seconds
        self._tries: dict[Key, Tries[Outcome]] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()

    @abstractmethod
    def _pending(self) -> Iterable[Item]:
        """Return what is not done yet, the oldest first."""

    @abstractmethod
    def _key(self, item: Item) -> Key:
        """Return what the tries of an item are counted by."""

    @abstractmethod
    def _lane(self, item: Item) -> str:
        """Return what an item shares with those that are not to be tried beside it."""

    @abstractmethod
    async def _one(self, item: Item, tries: Tries[Outcome]) -> None:
        """Try an item once, and say in `tries` when it may be tried again."""

    def wake(self) -> None:
        """There may be something new."""
        self._news.set()

    async def run(self) -> None:
        """Try for ever."""
        try:
            while True:
                self._begin()
                # Not `wait_for`: that of Python 3.11 loses a cancellation that comes with the news.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_seconds):
                        await self._news.wait()
                self._news.clear()
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    def _begin(self) -> None:
        for lane in [lane for lane, task in self._busy.items() if task.done()]:
            # What went wrong with the log stays pending; the task is watched by whoever runs this.
            self._busy.pop(lane).result()
        pending = list(self._pending())
        for gone in self._tries.keys() - {self._key(item) for item in pending}:
            del self._tries[gone]
        now = asyncio.get_running_loop().time()
        kept: set[str] = set()
        for item in pending:
            lane = self._lane(item)
            if lane in kept or lane in self._busy or len(self._busy) >= MAX_AT_ONCE:
                continue
            if self._tries.setdefault(self._key(item), Tries()).not_before <= now:
                self._busy[lane] = asyncio.create_task(self._try(item), name=f"{type(self).__name__} {lane}")
            elif self.in_order:
                kept.add(lane)

    async def _try(self, item: Item) -> None:
        await self._one(item, self._tries.setdefault(self._key(item), Tries()))
        self.wake()
