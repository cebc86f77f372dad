"""How fast lines may be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from milepost.api.telemetry.v1.telemetry_pb2 import Sender
from milepost.training.spooling import sender as sending
from milepost.training.spooling.sender import TelemetrySender, TokenBucket
from milepost.training.spooling.spool import LOGS, STEPS, Spool

SENDER = Sender(runtime_id="rt-x", trial=1, attempt=1, source="rank-0")


def _build(size: int) -> object:
    return lambda number: ({"mp-number": str(number)}, bytes(size))


class NoBroker:
    """Stands for a connection whose broker takes everything."""

    def on_renewal(self, listener: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    async def subscribe(self, subject: str) -> AsyncIterator[Any]:
        async def nothing() -> AsyncIterator[Any]:
            await asyncio.Event().wait()
            yield

        return nothing()


async def test_lines_beyond_their_allowance_wait_and_points_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    class Taken:
        def __init__(self, connection: NoBroker) -> None:
            pass

        async def publish(self, subject: str, body: bytes, headers: dict[str, str], seconds: float) -> None:
            sent.append(subject)

    monkeypatch.setattr(sending, "Telemetry", Taken)
    spool = Spool(tmp_path / "spool.sqlite", SENDER)
    sender = TelemetrySender(spool, logs=TokenBucket(burst=1500, per_second=0.0))
    for _ in range(4):
        spool.put(LOGS, _build(1000), 1)  # type: ignore[arg-type]
    spool.put(STEPS, _build(1000), 1, 1, 1)  # type: ignore[arg-type]
    running = asyncio.create_task(sender.run(NoBroker()))  # type: ignore[arg-type]
    try:
        while not next(iter(spool.held(STEPS).values())).acknowledged:
            await asyncio.sleep(0.01)
        assert (len(sent), sender.unacknowledged()) == (3, 2)
        assert await sender.wait_sent(10.0), "the end does not wait for an allowance"
        assert len(sent) == 5
    finally:
        running.cancel()
    spool.close()


def test_an_allowance_comes_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(sending.time, "monotonic", lambda: now)
    allowance = TokenBucket(burst=100.0, per_second=10.0)
    allowance.spend(130)
    assert not allowance.has_room()
    now += 3.0
    assert not allowance.has_room()
    now += 1.0
    assert allowance.has_room()
    now += 1_000.0
    allowance.has_room()
    allowance.spend(100)
    assert not allowance.has_room(), "no more than the burst is saved up"
