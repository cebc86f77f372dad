"""Long reads of one caller leave a reader for the others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from milepost.security.tokens import Identity, Role
from services.access import authentication
from services.access.authentication import Caller
from services.metrics.storage.store import READERS, READS_PER_CALLER, Store


class SlowReader:
    """Answers `SELECT slow` when it may, and everything else at once."""

    def __init__(self, going_on: threading.Event) -> None:
        self._going_on = going_on

    def select(self, sql: str, parameters: Any) -> str:
        if sql == "SELECT slow":
            self._going_on.wait()
        return sql


async def test_one_caller_does_not_hold_all_readers() -> None:
    going_on = threading.Event()
    readers: Any = [SlowReader(going_on) for _ in range(READERS)]
    writer: Any = None
    store = Store(writer, readers, None)

    async def read(actor: str, sql: str) -> Any:
        authentication._current.set(Caller(actor, Role.VIEWER, True, Identity(actor, Role.VIEWER)))
        return await store.read(sql)

    slow = [asyncio.create_task(read("ann", "SELECT slow")) for _ in range(2 * READERS)]
    await asyncio.sleep(0)
    assert await read("bob", "SELECT 1") == "SELECT 1"
    abandoned = slow.pop()
    abandoned.cancel()
    assert store._reading["ann"] == READS_PER_CALLER
    going_on.set()
    assert await asyncio.gather(*slow) == ["SELECT slow"] * len(slow)
    assert await read("ann", "SELECT 2") == "SELECT 2"
    store._read_threads.shutdown()
    store._write_thread.shutdown()
