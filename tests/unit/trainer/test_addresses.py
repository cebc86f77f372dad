"""Where a driver listens."""

from __future__ import annotations

from trainer.addresses import own_address


def test_the_driver_listens_where_the_ranks_can_reach_it() -> None:
    assert own_address("") == own_address("127.0.0.1:6379") == own_address("ray://localhost:10001") == "127.0.0.1"
