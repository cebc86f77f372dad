"""The gateway dies under its clients. The full form, with 50 clients and 20 kills, is in tests/faults."""

from __future__ import annotations

from pathlib import Path

from tests.support.faults.gateway_restarts import check_restarts


async def test_a_gateway_that_is_killed_and_started_again_neither_loses_nor_repeats_anything(tmp_path: Path) -> None:
    await check_restarts(tmp_path, clients=6, kills=3, seconds_between=2.0)
