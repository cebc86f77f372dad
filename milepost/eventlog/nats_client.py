"""nats-py, imported without aiohttp.

It would use aiohttp for web sockets, which we do not speak, and where Ray is installed aiohttp is too: to import it takes
longer than everything else that a training process imports of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Have a module that is not imported yet look as if it were not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _without("aiohttp"):
    from nats import errors
    from nats.aio.client import PING_PROTO, Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription as ClientSubscription

__all__ = ["PING_PROTO", "Client", "ClientSubscription", "Msg", "errors"]
