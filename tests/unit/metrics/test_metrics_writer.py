"""The writer of telemetry with a store that takes its time: who watches does not wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pyarrow as pa
import pytest

from milepost.eventlog.nats.messages import StoredMessage
from milepost.eventlog.telemetry import steps_subject
from services.metrics.ingest import writer
from services.metrics.ingest.live import Hub
from services.metrics.ingest.senders import Senders
from services.metrics.ingest.writer import Pipeline
from services.metrics.storage.batches import KINDS, STEPS, decode
from services.metrics.storage.store import StoreFailed
from tests.support.servers.metrics_service import step_batch

DEADLINE_SECONDS = 10.0


class SlowStore:
    """Takes an insert and does not finish it before it may."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.may_finish = asyncio.Event()
        self.begun = asyncio.Event()

    async def newest_stream(self, table: str) -> int:
        return 0

    async def offset(self, table: str, stream_id: int) -> int:
        return 0

    async def read(self, *_: Any) -> pa.Table:
        """It knows no sender and no series."""
        return pa.table({name: [] for name in ("runtime", "trial", "attempt", "source", "numbers", "key")})

    async def insert(self, table: str, rows: Any) -> None:
        self.begun.set()
        await self.may_finish.wait()
        self.rows.append(rows.num_rows)


class Messages:
    """TELEMETRY as a queue."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[StoredMessage] = asyncio.Queue()
        self._sent = 0

    def send(self) -> None:
        """One more batch of ten steps."""
        self._sent += 1
        first = 10 * self._sent - 9
        batch = step_batch("rt-1", self._sent, range(first, first + 10), {"train/loss": [1.0] * 10})
        headers = {"mp-number": str(self._sent), "mp-source": "rank-0"}
        subject = steps_subject("rt-1", 1, 1)
        self._waiting.put_nowait(
            StoredMessage(self._sent, subject, headers, batch.SerializeToString(), 1_800_000_000 * 10**9, 0)
        )

    async def state(self) -> Any:
        class State:
            created, first_sequence, last_sequence = 7, 1, 0

        return State()

    def consume(self, *_: Any, **__: Any) -> Messages:
        return self

    async def __aenter__(self) -> Messages:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def next_batch(self, maximum: int, wait_seconds: float) -> list[StoredMessage]:
        try:
            async with asyncio.timeout(wait_seconds):
                return [await self._waiting.get()]
        except TimeoutError:
            return []


class NoLineages:
    def is_deleted(self, runtime_id: str) -> bool:
        return False


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "INSERT_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(writer, "WATCHED_INSERT_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(writer, "POLL_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
async def test_who_watches_gets_new_points_while_an_insert_takes_its_time() -> None:
    store, messages, hub, stopping = SlowStore(), Messages(), Hub(), asyncio.Event()
    pipeline = Pipeline(STEPS, store, messages, Senders(), NoLineages(), hub, lambda _: None)  # type: ignore[arg-type]
    watching = hub.subscribe([("rt-1", 1)])
    running = asyncio.create_task(pipeline.run(stopping))
    async with asyncio.timeout(DEADLINE_SECONDS):
        messages.send()
        await store.begun.wait()
        seen: list[int] = [batch.sequence for batch in await watching.take()]
        for _ in range(5):
            messages.send()
            # Long enough for the next block to be due by its age.
            await asyncio.sleep(0.05)
            seen += [batch.sequence for batch in watching.take_now()]
        while len(seen) < 6:
            seen += [batch.sequence for batch in await watching.take()]
        assert seen == [1, 2, 3, 4, 5, 6]
        assert store.rows == [], "nothing is stored yet"

        store.may_finish.set()
        await pipeline.wait_stored(6)
        assert pipeline.stored == 6
        assert len(store.rows) >= 2
        stopping.set()
        await running


@pytest.mark.usefixtures("quick")
async def test_no_more_than_one_block_is_taken_while_an_insert_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_MESSAGES", 3)
    store, messages, hub, stopping = SlowStore(), Messages(), Hub(), asyncio.Event()
    pipeline = Pipeline(STEPS, store, messages, Senders(), NoLineages(), hub, lambda _: None)  # type: ignore[arg-type]
    running = asyncio.create_task(pipeline.run(stopping))
    async with asyncio.timeout(DEADLINE_SECONDS):
        messages.send()
        await store.begun.wait()
        for _ in range(20):
            messages.send()
        while pipeline.accepted < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert pipeline.accepted == 4
        store.may_finish.set()
        await pipeline.wait_stored(21)
        stopping.set()
        await running


class PickyStore(SlowStore):
    """Refuses every block with a certain message, as ClickHouse would one of content that we let through by mistake."""

    def __init__(self, refused: int) -> None:
        super().__init__()
        self.refused = refused
        self.kinds: dict[int, int] = {}

    async def insert(self, table: str, rows: pa.Table) -> None:
        sequences, kinds = rows["log_seq"].to_pylist(), rows["kind"].to_pylist()
        content = {sequence for sequence, kind in zip(sequences, kinds, strict=True) if kind == 0}
        if self.refused in content:
            raise StoreFailed("a value that the table cannot hold")
        self.kinds |= {sequence: kind for sequence, kind in zip(sequences, kinds, strict=True) if kind != 0}


@pytest.mark.usefixtures("quick")
async def test_a_message_that_clickhouse_never_takes_is_set_aside_and_those_around_it_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "FIRST_PAUSE_SECONDS", 0.001)
    store, messages, stopping = PickyStore(refused=3), Messages(), asyncio.Event()
    pipeline = Pipeline(STEPS, store, messages, Senders(), NoLineages(), Hub(), lambda _: None)  # type: ignore[arg-type]
    for _ in range(6):
        messages.send()
    running = asyncio.create_task(pipeline.run(stopping))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await pipeline.wait_stored(6)
        stopping.set()
        await running
    names = {sequence: KINDS[kind] for sequence, kind in store.kinds.items()}
    assert names == {1: "stored", 2: "stored", 3: "rejected", 4: "stored", 5: "stored", 6: "stored"}
    (said,) = pipeline.set_aside.sentences("rt-1")
    assert "message 3 on telemetry.rt-1.1.1.steps" in said
    assert "a value that the table cannot hold" in said


@pytest.mark.usefixtures("quick")
async def test_a_table_that_takes_nothing_sets_nothing_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(writer, "MAX_PAUSE_SECONDS", 0.01)

    class WrongTable(SlowStore):
        tries = 0
        mended = False

        async def insert(self, table: str, rows: pa.Table) -> None:
            self.tries += 1
            if not self.mended:
                raise StoreFailed("no such column")
            self.rows.append(rows.num_rows)

    store, messages, stopping = WrongTable(), Messages(), asyncio.Event()
    pipeline = Pipeline(STEPS, store, messages, Senders(), NoLineages(), Hub(), lambda _: None)  # type: ignore[arg-type]
    for _ in range(3):
        messages.send()
    running = asyncio.create_task(pipeline.run(stopping))
    async with asyncio.timeout(DEADLINE_SECONDS):
        while store.tries < 40:
            await asyncio.sleep(0.01)
        assert pipeline.problem == "no such column"
        store.mended = True
        await pipeline.wait_stored(3)
        stopping.set()
        await running
    assert store.rows == [11, 11, 11], "all points of all messages"
    assert pipeline.set_aside.count == 0


@pytest.mark.usefixtures("quick")
async def test_a_message_that_breaks_the_writer_costs_that_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode_or_break(message: StoredMessage) -> Any:
        if message.sequence == 2:
            raise KeyError(99)
        return decode(message)

    monkeypatch.setattr(writer, "decode", decode_or_break)
    store, messages, stopping = PickyStore(refused=0), Messages(), asyncio.Event()
    pipeline = Pipeline(STEPS, store, messages, Senders(), NoLineages(), Hub(), lambda _: None)  # type: ignore[arg-type]
    for _ in range(3):
        messages.send()
    running = asyncio.create_task(pipeline.run(stopping))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await pipeline.wait_stored(3)
        stopping.set()
        await running
    assert [KINDS[kind] for kind in store.kinds.values()] == ["stored", "rejected", "stored"]
    assert "KeyError: 99" in pipeline.set_aside.sentences()[0]
