"""Calls of the gateway go over the first connection that has room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.edge import spread
from services.edge.spread import Spread


class Call:
    """A call that ends when it is told to."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._told: list[Callable[[Any], None]] = []

    def add_done_callback(self, told: Callable[[Any], None]) -> None:
        self._told.append(told)

    def end(self) -> None:
        for told in self._told:
            told(self)


class Channels:
    """Makes callables, and counts them."""

    def __init__(self) -> None:
        self.opened = 0
        self.made: list[str] = []

    def another(self) -> Any:
        self.opened += 1
        return f"channel {self.opened}"

    def make(self, channel: Any) -> Callable[[Any], Call]:
        self.made.append(channel)
        return lambda request: Call(channel)


def test_a_call_goes_over_the_first_connection_that_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "ROOM", 2)
    channels: Any = Channels()
    calls = Spread("channel 0", channels.another)  # type: ignore[arg-type]
    begun = [calls.begin("A.B", channels.make, None) for _ in range(5)]
    assert [call.channel for call in begun] == ["channel 0"] * 2 + ["channel 1"] * 2 + ["channel 2"]
    assert channels.made == ["channel 0", "channel 1", "channel 2"], "once for each"
    begun[1].end()
    assert calls.begin("A.B", channels.make, None).channel == "channel 0"
    assert calls.begin("A.B", channels.make, None).channel == "channel 2"
    assert calls.connections == 3


def test_connections_are_bounded_and_filled_evenly_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "ROOM", 1)
    monkeypatch.setattr(spread, "MAX_CONNECTIONS", 2)
    channels: Any = Channels()
    calls = Spread("channel 0", channels.another)  # type: ignore[arg-type]
    begun = [calls.begin("A.B", channels.make, None).channel for _ in range(4)]
    assert begun == ["channel 0", "channel 1", "channel 0", "channel 1"]
    alone = Spread("channel 0")  # type: ignore[arg-type]
    assert {alone.begin("A.B", channels.make, None).channel for _ in range(4)} == {"channel 0"}
