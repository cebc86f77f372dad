"""A bundle is packed beside the event loop: commands do not wait for it."""

from __future__ import annotations

import asyncio
import io
import threading
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from milepost import bundle
from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from services.rpc.limits import Turns
from services.rpc.threads import Threads
from services.runtime.audit import bundles
from services.runtime.audit.bundles import Origin, export_bundle
from tests.unit.runtime.test_listing import Story


class Clients:
    """A trial and a metric service with one trial and some rows."""

    async def trials(self, runtime_id: str) -> tuple[list[trial_api.Trial], AsOf]:
        name = f"runtimes/{runtime_id}/trials/1"
        return [trial_api.Trial(name=name, trial=1)], AsOf(events_sequence=7, telemetry_sequence=3)

    async def estimates(self, name: str) -> trial_api.ListEstimatesResponse:
        return trial_api.ListEstimatesResponse()

    async def rows(self, runtime_id: str, table: str) -> AsyncIterator[bytes]:
        sink = io.BytesIO()
        rows = pa.table({"step": range(1_000)})
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        yield sink.getvalue()


class Telemetry:
    """A stream with nothing in it."""

    pending = 0

    @asynccontextmanager
    async def consume(self, *wanted: Any, **options: Any) -> AsyncIterator[Telemetry]:
        yield self

    async def open(self, seconds: float) -> None:
        """There is nothing to wait for."""


class Log:
    async def read(self, after: int, until: int, subjects: Any) -> AsyncIterator[Any]:
        for _ in ():
            yield


async def test_a_bundle_is_packed_in_threads_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where: dict[str, set[str]] = {}

    def watched(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            where.setdefault(name, set()).add(threading.current_thread().name)
            return function(*arguments, **named)

        monkeypatch.setattr(owner, name, call)

    for name in ("to_json", "_line", "_to_parquet", "_add"):
        watched(bundles, name)
    watched(bundle, "digest_of")
    story = Story()
    story.complete("rt-a")
    packing: Any = Origin(Log(), 1, Telemetry(), Clients(), Turns(1, 1, "exports"), Threads(4, 2, "packing"), "ann")  # type: ignore[arg-type]
    view = story.views.runtimes["rt-a"]
    pieces = [piece async for piece in export_bundle(view, story.views.sequence, packing, tmp_path)]
    # One small configuration is all that is made in the loop.
    where["to_json"].discard(threading.main_thread().name)
    assert set(where) == {"to_json", "_line", "_to_parquet", "_add", "digest_of"}
    assert set.union(*where.values()) == {"packing"}
    path = tmp_path / "rt-a.zip"
    path.write_bytes(b"".join(pieces))
    assert bundle.verify_bundle(path) == ([], 0, "rt-a")
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo(bundle.SERIES).compress_type == zipfile.ZIP_STORED, "it is compressed already"
        assert archive.getinfo(bundle.STATE).compress_type == zipfile.ZIP_DEFLATED


async def test_a_caller_has_one_bundle_packed_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for their turn; other callers do not wait for any of them."""
    packed: list[str] = []
    going_on = asyncio.Event()

    async def write(path: Path, folder: Path, view: Any, until: int, origin: Origin) -> None:
        packed.append(origin.packer)
        if origin.packer == "ann":
            await going_on.wait()
        path.write_bytes(b"bundle")

    monkeypatch.setattr(bundles, "_write", write)
    turns, threads, nothing = Turns(3, 1, "exports"), Threads(4, 2, "packing"), Telemetry()

    async def export(packer: str) -> bytes:
        origin: Any = Origin(nothing, 1, nothing, nothing, turns, threads, packer)  # type: ignore[arg-type]
        return b"".join([piece async for piece in export_bundle(origin, 7, origin, tmp_path)])

    exports = [asyncio.create_task(export("ann")) for _ in range(3)]
    await asyncio.sleep(0)
    assert await export("bob") == b"bundle"
    assert packed == ["ann", "bob"]
    going_on.set()
    assert await asyncio.gather(*exports) == [b"bundle"] * 3
