"""Threads of their own for work that may hang on what somebody named: a path, an address."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from milepost.errors import DeadlineExceeded
from services.rpc.limits import Slots

Result = TypeVar("Result")


class Threads:
    """At most so many calls at once, in all and for each caller; the others wait for their turn.

    A call that hangs holds one place of its caller until it returns. Nobody else's work waits for it, nor does the end of
    the process: the threads of an ordinary executor are waited for.
    """

    def __init__(self, total: int, per_caller: int, what: str) -> None:
        """`what` they do, in words, for what is said when it takes too long."""
        self._slots = Slots(total, per_caller, what)
        self._what = what
        self._freed = asyncio.Event()

    async def run(self, caller: str, seconds: float | None, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function in a thread, when it is the caller's turn.

        Args:
            seconds: in which it must be its turn, and the function return. None: there is no limit.

        Raises:
            DeadlineExceeded: it did not. The function goes on, and holds its place until it returns.
        """
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                while not self._slots.is_free(caller):
                    await self._freed.wait()
                return await asyncio.wrap_future(self._begin(caller, function, arguments))
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                f"{self._what} took more than {seconds:g} s; look whether the storage that is named answers",
                reason="TOOK_TOO_LONG",
            ) from error

    def _begin(self, caller: str, function: Callable[..., Result], arguments: Any) -> Future[Result]:
        self._slots.take(caller)
        loop = asyncio.get_running_loop()
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                result = function(*arguments)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            # A loop that has ended is told nothing any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._release, caller)

        threading.Thread(target=work, name=self._what, daemon=True).start()
        return future

    def _release(self, caller: str) -> None:
        self._slots.release(caller)
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()
