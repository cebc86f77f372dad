"""Where processes listen."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psutil

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def listening(processes: Iterable[psutil.Process]) -> list[Any]:
    """List the addresses at which processes take connections or datagrams."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found += [
                connection.laddr
                for connection in process.net_connections("all")
                if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.status in ("LISTEN", "NONE")
            ]
    return found


def beyond_loopback(addresses: Iterable[Any]) -> list[Any]:
    """Pick those that other machines can reach."""
    return [address for address in addresses if address and address.ip not in LOOPBACK]
