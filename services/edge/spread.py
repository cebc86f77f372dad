"""Calls to one process, over as many connections as they need: a server takes so many at once of each.

What a stranger may have open on one connection is little (`services/server.py`), so that others do not stand behind it. The
gateway speaks for all of its clients and has further connections. A call goes over the first one that has room, so most of
the time there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import grpc.aio

from services.server import MAX_CALLS_PER_CONNECTION

# The rest is for what goes over the first connection without being counted here: health, and facts of access.
ROOM = MAX_CALLS_PER_CONNECTION - 10
# Together more than a service has places for; a call beyond them waits for the end of another one.
MAX_CONNECTIONS = 40
# Each has connections of its own: channels to one address share theirs otherwise.
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)

# A channel -> what an RPC is called by over it
Make = Callable[[grpc.aio.Channel], Any]


class Spread:
    """Connections to one process.

    Args:
        first: the channel that is there from the beginning. Whoever has made it closes it.
        another: opens a further one; None: there is this one only.
    """

    def __init__(self, first: grpc.aio.Channel, another: Callable[[], grpc.aio.Channel] | None = None) -> None:
        self._channels = [first]
        self._open_calls = [0]
        self._callables: list[dict[str, Any]] = [{}]
        self._another = another

    @property
    def connections(self) -> int:
        return len(self._channels)

    def begin(self, rpc: str, make: Make, request: Any, **options: Any) -> Any:
        """Begin a call. Returns it as gRPC does.

        Args:
            make: makes the callable of this RPC, once for each channel.
            options: of the call.
        """
        place = self._place()
        callables = self._callables[place]
        if rpc not in callables:
            callables[rpc] = make(self._channels[place])
        call = callables[rpc](request, **options)
        self._open_calls[place] += 1
        call.add_done_callback(partial(self._note_end, place))
        return call

    def _place(self) -> int:
        for place, count in enumerate(self._open_calls):
            if count < ROOM:
                return place
        if self._another is None or len(self._channels) >= MAX_CONNECTIONS:
            return min(range(len(self._open_calls)), key=self._open_calls.__getitem__)
        self._channels.append(self._another())
        self._open_calls.append(0)
        self._callables.append({})
        return len(self._channels) - 1

    def _note_end(self, place: int, call: object) -> None:
        self._open_calls[place] -= 1

    async def close(self) -> None:
        """Close the connections that were opened here."""
        for channel in self._channels[1:]:
            await channel.close(None)
