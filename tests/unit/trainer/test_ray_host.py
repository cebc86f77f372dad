"""Where Ray listens."""

from __future__ import annotations

import pytest

from trainer.on_ray.ray_host import ON_LOOPBACK, settings_for


@pytest.mark.parametrize(("cluster", "alone"), [("", True), ("127.0.0.1:6379", True), ("10.0.0.5:6379", False)])
def test_ray_is_kept_to_loopback_only_where_its_cluster_is(cluster: str, alone: bool) -> None:
    """Told to stay there, a driver would not find the nodes of a cluster that has several."""
    assert (settings_for(cluster).items() >= ON_LOOPBACK.items()) is alone
