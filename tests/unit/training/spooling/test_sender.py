"""How fast lines may be sent, and what becomes of a batch that never can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from milepost.api.telemetry.v1.telemetry_pb2 import Sender, StepBatch
from milepost.eventlog import EventRefused
from milepost.training.spooling import sender as sending
from milepost.training.spooling.sender import TelemetrySender, TokenBucket
from milepost.training.spooling.spool import LOGS, STEPS, Dropped, Spool

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


async def test_a_batch_that_no_server_takes_is_set_aside_and_named_and_what_follows_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood in front of all later points, for ever."""
    sent: list[StepBatch] = []
    given_up: list[Dropped] = []

    class Strict:
        def __init__(self, connection: NoBroker) -> None:
            pass

        async def publish(self, subject: str, body: bytes, headers: dict[str, str], seconds: float) -> None:
            if len(body) > 1_000:
                raise EventRefused(f"a message on {subject} has {len(body)} bytes; the server takes 1000")
            sent.append(StepBatch.FromString(body))

    def build(key: str) -> Callable[[int], tuple[dict[str, str], bytes]]:
        def made(number: int) -> tuple[dict[str, str], bytes]:
            batch = StepBatch(sender=SENDER, number=number)
            batch.groups.add().columns.add(key=key)
            return {"mp-number": str(number)}, batch.SerializeToString()

        return made

    monkeypatch.setattr(sending, "Telemetry", Strict)
    spool = Spool(tmp_path / "spool.sqlite", SENDER, on_drop=given_up.append)
    for key, step in (("a", 1), ("b" * 2_000, 2), ("c", 3)):
        spool.put(STEPS, build(key), 7, step, step)
    sender = TelemetrySender(spool)
    running = asyncio.create_task(sender.run(NoBroker()))  # type: ignore[arg-type]
    try:
        assert await sender.wait_sent(10.0)
    finally:
        running.cancel()
    assert [batch.number for batch in sent] == [1, 2, 3]
    assert (sent[1].tombstone.point_count, sent[1].tombstone.first_step, sent[1].tombstone.last_step) == (7, 2, 2)
    assert "batch 2 of steps was refused: a message on telemetry.rt-x.1.1.steps has 2" in sent[1].tombstone.reason
    assert [(one.kind, one.items, one.reason) for one in given_up] == [(STEPS, 7, sent[1].tombstone.reason)]
    spool.close()
    # It stays given up for who takes the spool over.
    again = Spool(tmp_path / "spool.sqlite", SENDER)
    assert [held.dropped for held in again.held(STEPS).values()] == [False, True, False]
    again.close()


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
