"""Waiting for a read model: until it has folded something.

Each read model has two waits. `wait_for(sequence)` returns once it has seen that position of the log. `catch_up()`
returns once it has seen everything that is in the log now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Condition = Callable[[], bool]


class Waiters:
    """Those who wait for one read model. Whoever folds calls `wake` after each step."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Condition, asyncio.Future[None]]] = []

    async def wait(self, condition: Condition, seconds: float | None = None) -> bool:
        """Wait until the read model meets a condition. Returns whether it does; seconds None: for ever.

        Raises: what `fail` was given.
        """
        if condition():
            return True
        entry = (condition, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            # Not `wait_for` of asyncio: before Python 3.12 it swallows a cancellation that comes with the result.
            async with asyncio.timeout(seconds):
                await entry[1]
        except TimeoutError:
            return condition()
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
        return True

    def fail(self, error: Exception) -> None:
        """Have those who wait now raise an error: nothing is folded any more."""
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(error)

    def wake(self) -> None:
        """Let those go on whose condition is met now."""
        if not self._waiting:
            return
        for entry in [entry for entry in self._waiting if entry[0]()]:
            self._waiting.remove(entry)
            if not entry[1].done():
                entry[1].set_result(None)
