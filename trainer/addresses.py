"""Where the processes of an attempt reach each other."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


def is_on_loopback(cluster: str) -> bool:
    """Return whether a Ray cluster is of this machine alone.

    Args:
        cluster: `host:port` of the cluster that is joined; empty: none is.
    """
    return _host(cluster) in ("", "localhost", LOOPBACK, "::1")


def own_address(cluster: str) -> str:
    """Return the address to listen on, so that the workers of a Ray cluster can reach this process.

    Args:
        cluster: `host:port` of the cluster that is joined; empty: none is.
    """
    if is_on_loopback(cluster):
        return LOOPBACK
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: it tells by which interface the cluster is reached.
        probe.connect((_host(cluster), 9))
        return str(probe.getsockname()[0])


def _host(cluster: str) -> str:
    return cluster.rpartition("://")[2].rpartition(":")[0].strip("[]")
