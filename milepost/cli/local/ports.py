"""Which ports a local stack uses."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass

# Below the range from which systems take the ports of outgoing connections: a port that is free for a moment while its
# service restarts must not be taken by a client, least of all by one that connects to that very port.
FREE_PORTS = range(15_000, 32_000)
TRIES = 200


class PortInUse(Exception):
    """A port that was asked for is taken."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A port as it is wanted: `explicit` means this one or none; 0 stands for any free one."""

    part: str
    host: str
    port: int
    explicit: bool
    # The one that was in use last time, to be tried before the others where the port is not explicit.
    previous: int = 0


def is_free(host: str, port: int) -> bool:
    """Return whether a listener could have the port now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: connections of an earlier listener that linger are no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose(wanted: list[Wanted], anywhere: bool = False) -> dict[str, int]:
    """Choose a free port for each part, no two the same. `anywhere`: at random, where no port is asked for explicitly.

    Raises:
        PortInUse: one that was asked for explicitly is taken.
    """
    taken = {item.port for item in wanted if item.explicit and item.port}
    chosen = {}
    for item in sorted(wanted, key=lambda item: not (item.explicit and item.port)):
        if item.explicit and item.port:
            if not is_free(item.host, item.port):
                raise PortInUse(
                    f"port {item.port} on {item.host}, asked for by {item.part}, is in use; free it or ask for another"
                )
            chosen[item.part] = item.port
            continue
        port = next(port for port in _candidates(item, anywhere) if port not in taken and is_free(item.host, port))
        taken.add(port)
        chosen[item.part] = port
    return chosen


def _candidates(item: Wanted, anywhere: bool) -> list[int]:
    """Ports to try, in order. Trainers of the stack's last life look for it where it was."""
    if anywhere:
        return random.sample(FREE_PORTS, TRIES)
    previous = [item.previous] if item.previous else []
    following = range(item.port, min(item.port + TRIES, 65_536)) if item.port else ()
    return [*previous, *following, *random.sample(FREE_PORTS, TRIES)]
