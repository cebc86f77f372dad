"""The writer, NATS and trainers die at any instant; nothing is lost and nothing is stored twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faults.metrics_crashes import crash_rounds


@pytest.mark.timeout(600)
async def test_stored_is_sent_after_the_writer_nats_and_trainers_were_killed(tmp_path: Path) -> None:
    print(await crash_rounds(tmp_path, rounds=5, seed=1))
