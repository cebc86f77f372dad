"""nats-py, imported without aiohttp.

It would use aiohttp for web sockets, which we do not speak, and where Ray is installed aiohttp is too. Importing nats-py takes
260 ms with aiohttp and 118 without, in every training process and every command. A nats-py that needs aiohttp would fail
here at import, before anything runs.
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
    from nats.errors import ProtocolError
    from nats.protocol.parser import Parser

__all__ = ["PING_PROTO", "Client", "ClientSubscription", "Msg", "Parser", "ProtocolError", "errors"]
