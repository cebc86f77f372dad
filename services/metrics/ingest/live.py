"""From the writer to whoever watches: messages of TELEMETRY as they are decoded, in memory and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from services.metrics.storage.batches import Batch

# A trial of a runtime; trial 0: all trials of it.
Topic = tuple[str, int]

# Points or lines that may wait for one reader. More than that, and it reads them from the store instead.
MAX_WAITING_ITEMS = 100_000
MAX_WAITING_BATCHES = 4_000


class Subscription:
    """What one reader has not taken yet. `overflowed`: it was too slow, and what was waiting is gone."""

    def __init__(self, hub: Hub, topics: Iterable[Topic]) -> None:
        self.topics = frozenset(topics)
        self.overflowed = False
        self._hub = hub
        self._waiting: deque[Batch] = deque()
        self._items = 0
        self._arrived = asyncio.Event()

    def put(self, batch: Batch) -> None:
        if self.overflowed:
            return
        self._waiting.append(batch)
        self._items += batch.items
        if self._items > MAX_WAITING_ITEMS or len(self._waiting) > MAX_WAITING_BATCHES:
            self.overflowed = True
            self._waiting.clear()
            self._items = 0
        self._arrived.set()

    def wake(self) -> None:
        """Let `take` return though nothing came."""
        self._arrived.set()

    async def take(self) -> list[Batch]:
        """Wait until something came or the reader was woken, and take all that waits."""
        await self._arrived.wait()
        self._arrived.clear()
        return self.take_now()

    def take_now(self) -> list[Batch]:
        """Take all that waits."""
        batches = list(self._waiting)
        self._waiting.clear()
        self._items = 0
        return batches

    def restart(self) -> None:
        """Begin to wait for messages again after an overflow."""
        self.take_now()
        self.overflowed = False

    def close(self) -> None:
        self._hub.remove(self)


class Hub:
    """Hand each message to the readers of its trial."""

    def __init__(self, on_watched: Callable[[Topic], None] | None = None) -> None:
        self._subscriptions: dict[Topic, set[Subscription]] = {}
        self._on_watched = on_watched

    def subscribe(self, topics: Iterable[Topic]) -> Subscription:
        """Begin to receive the messages of some trials. Close it when done."""
        subscription = Subscription(self, topics)
        for topic in subscription.topics:
            readers = self._subscriptions.setdefault(topic, set())
            readers.add(subscription)
            if len(readers) == 1 and self._on_watched is not None:
                self._on_watched(topic)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        for topic in subscription.topics:
            readers = self._subscriptions.get(topic, set())
            readers.discard(subscription)
            if not readers:
                self._subscriptions.pop(topic, None)

    def publish(self, batch: Batch) -> None:
        for subscription in self._readers(batch.sender.runtime_id, batch.sender.trial):
            subscription.put(batch)

    def wake(self, runtime_id: str, trial: int) -> None:
        """Wake the readers of a trial: something else about it changed."""
        for subscription in self._readers(runtime_id, trial):
            subscription.wake()

    def is_watched(self, runtime_id: str, trial: int) -> bool:
        return (runtime_id, trial) in self._subscriptions or (runtime_id, 0) in self._subscriptions

    @property
    def is_anything_watched(self) -> bool:
        return bool(self._subscriptions)

    def _readers(self, runtime_id: str, trial: int) -> set[Subscription]:
        readers = self._subscriptions.get((runtime_id, trial), set())
        return readers | self._subscriptions.get((runtime_id, 0), set())
