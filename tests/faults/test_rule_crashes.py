"""The rule service is killed a hundred times between points and what it makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faults.rule_actions import check_action_crashes
from tests.support.faults.rule_crashes import check_crashes
from tests.support.servers.servers import running_nats


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_a_hundred_kills_lose_no_firing_and_say_none_twice(tmp_path: Path) -> None:
    with running_nats(tmp_path / "nats") as nats:
        await check_crashes(nats, tmp_path / "data", kills=100)


@pytest.mark.faults
@pytest.mark.timeout(1_800)
async def test_a_hundred_kills_leave_no_action_undone_and_do_none_twice(tmp_path: Path) -> None:
    with running_nats(tmp_path / "nats") as nats:
        await check_action_crashes(nats, tmp_path, kills=100)
