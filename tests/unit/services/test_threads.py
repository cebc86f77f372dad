"""Work that hangs holds its caller's places, and nobody else's."""

from __future__ import annotations

import asyncio
import threading

import pytest

from milepost.errors import DeadlineExceeded
from services.rpc.threads import Threads


async def test_what_hangs_takes_the_share_of_its_caller_and_no_more() -> None:
    threads = Threads(total=4, per_caller=2, what="checking")
    hangs = threading.Event()
    for _ in range(2):
        with pytest.raises(DeadlineExceeded, match="checking took more than"):
            await threads.run("ann", 0.05, hangs.wait)
    with pytest.raises(DeadlineExceeded):
        await threads.run("ann", 0.05, int, "1")
    assert await threads.run("bob", 20, int, "7") == 7
    waiting = asyncio.create_task(threads.run("ann", 20, int, "8"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    hangs.set()
    assert await waiting == 8, "the places are free again once it returns"


async def test_what_a_function_raises_is_raised() -> None:
    threads = Threads(total=1, per_caller=1, what="checking")

    def slow() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await threads.run("ann", 20, slow)
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.run("ann", None, int, "x")
