"""The gateway is killed and started again 20 times under 50 clients of its live streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faults.gateway_restarts import check_restarts

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_200)]


async def test_no_client_loses_or_repeats_anything_over_twenty_kills(tmp_path: Path) -> None:
    clients = await check_restarts(tmp_path, clients=50, kills=20, seconds_between=4.0)
    assert len(clients) == 50
