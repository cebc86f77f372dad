"""The scheduler's workers: one a runtime, and no happening without one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from services.runtime.scheduling import scheduler as module
from services.runtime.scheduling.scheduler import Scheduler

RUNTIME = "rt-" + "0" * 26


async def test_what_happens_while_a_worker_ends_is_worked_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that came in that very moment was looked at by nobody, for ever where nothing else happened."""
    parts: dict[str, Any] = {
        name: MagicMock()
        for name in ("decisions", "lease", "liveness", "storage", "purger", "recovery", "launches", "steps")
    }
    views = SimpleNamespace(runtimes={RUNTIME: object()})
    scheduler = Scheduler(views=views, launchers={}, **parts)  # type: ignore[arg-type]
    scheduler._leading = True
    monkeypatch.setattr(module, "_is_at_rest", lambda view, now: False)
    advanced: list[int] = []

    async def advance(view: object) -> None:
        advanced.append(len(advanced))
        if len(advanced) == 1:
            # It runs once the worker has come to its end, and before anybody hears of that end.
            asyncio.get_running_loop().call_soon(scheduler._mark, RUNTIME)

    monkeypatch.setattr(scheduler, "_advance", advance)
    scheduler._mark(RUNTIME)
    for _ in range(10):
        await asyncio.sleep(0)
    assert advanced == [0, 1]
    assert not scheduler._tasks and not scheduler._due
