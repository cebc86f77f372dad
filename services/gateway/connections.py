"""HTTP connections within limits: so many in all and for each address, and none that says nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from services.access.exposure import LOOPBACK_NAMES
from services.gateway.middleware import NO_PROXIES, Proxies

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 2_000
# For each address of another machine; a proxy on this one, or one that is trusted, speaks for many.
MAX_CONNECTIONS_PER_ADDRESS = 200
# The head of the first request must have come by then. Later ones are under the time limit of idle connections.
HEAD_SECONDS = 15.0
MAX_HEAD_BYTES = 32 << 10
# Refusals are counted, and said at most this often: a flood of connections is not to become one of log lines.
SAY_SECONDS = 1.0


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, for strangers. One process has one set of limits."""

    proxies: ClassVar[Proxies] = NO_PROXIES
    _by_address: ClassVar[Counter[str]] = Counter()
    _refused: ClassVar[int] = 0
    _said: ClassVar[float] = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._address = str(self.client[0]) if self.client else ""
        self._by_address[self._address] += 1
        limit = MAX_CONNECTIONS
        if self._address and self._address not in LOOPBACK_NAMES and not self.proxies.trust(self._address):
            limit = MAX_CONNECTIONS_PER_ADDRESS
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._give_up)
        if len(self.connections) > MAX_CONNECTIONS or self._by_address[self._address] > limit:
            self._say_refused()
            transport.abort()

    def _say_refused(self) -> None:
        cls, now = type(self), time.monotonic()
        cls._refused += 1
        if now - cls._said < SAY_SECONDS:
            return
        cls._said = now
        extra = {"client": self._address, "open": len(self.connections), "refused": cls._refused}
        log.warning("http.too_many_connections", extra=extra)
        cls._refused = 0

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        self._by_address[self._address] -= 1
        if not self._by_address[self._address]:
            del self._by_address[self._address]
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.abort()


def bounded_protocol(proxies: Proxies) -> type[BoundedProtocol]:
    """Make the protocol of a server that stands behind these proxies."""
    return type("BoundedProtocol", (BoundedProtocol,), {"proxies": proxies})
