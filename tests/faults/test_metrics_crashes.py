"""Fifty kills of the writer, every third time of NATS and every second time of trainers too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faults.metrics_crashes import crash_rounds


@pytest.mark.faults
@pytest.mark.timeout(1800)
async def test_stored_is_sent_after_fifty_kills(tmp_path: Path) -> None:
    print(await crash_rounds(tmp_path, rounds=50, seed=2))
