"""Ports for servers of tests."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress

# Below those that the system gives to connections: none of them takes one while its server is not there yet, or away.
PORTS = range(12_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Find ports that nobody uses now."""
    found: list[int] = []
    while len(found) < count:
        found += [port for port in adjacent_ports(1) if port not in found]
    return found


def adjacent_ports(count: int) -> list[int]:
    """Find ports one after the other that nobody uses now."""
    while True:
        first = random.choice(PORTS[: -count - 1])
        ports = list(range(first, first + count))
        with suppress(OSError), ExitStack() as held:
            for port in ports:
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return ports
