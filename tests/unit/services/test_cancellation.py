"""A cancellation is never lost, also when it comes together with what was waited for."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from milepost.eventlog import RecordedEvent, runtime_subject
from services.runtime.readmodel.views import Views

ROOT = Path(__file__).parents[3]


async def test_a_cancellation_that_comes_with_the_awaited_event_ends_the_waiting() -> None:
    views = Views()
    waiting = asyncio.create_task(views.wait_for(1))
    await asyncio.sleep(0)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    views.apply(
        RecordedEvent(
            1, runtime_subject("rt-a"), now, "of.another.Version", b"", "e1", now, "/t", "a", "", "", 1, "", ""
        )
    )
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_nothing_waits_in_the_way_that_swallows_cancellations() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in ("milepost", "services", "trainer")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"asyncio\.wait_for\(", path.read_text())
    ]
    assert found == []
