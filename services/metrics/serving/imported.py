"""Imported points and log lines: rows of a bundle in a database of their own, beside those of this installation.

The database is made anew at each start from the bundles, which are the record. Rows keep the stream and the position
that they had where they come from, so cursors and moments mean there and here the same.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from milepost import bundle
from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.api.log.v1 import log_service_pb2 as log_pb
from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.bundle import imports_folder
from milepost.errors import OutOfRange
from services.metrics.engine import Engine, Moment, is_stored
from services.metrics.ingest.live import Hub
from services.metrics.ingest.writer import Pipeline
from services.metrics.lineage import Lineages
from services.metrics.queries.kept_parts import KeptParts
from services.metrics.serving.logs import LogService
from services.metrics.serving.service import MetricService
from services.metrics.storage.batches import LOGS, STEPS
from services.metrics.storage.selection import TrialRef
from services.metrics.storage.store import LOGS as LOGS_TABLE
from services.metrics.storage.store import POINTS, Store
from services.readmodel.imports import Import, Imports, ImportSeam, Part, Routing, runtimes_in
from services.readmodel.moments import past_the_end

METRICS = pb.DESCRIPTOR.services_by_name["MetricService"]
LOG_SERVICE = log_pb.DESCRIPTOR.services_by_name["LogService"]
READS = frozenset(method.name for method in METRICS.methods) - {"PurgeRuntime", "VerifyStored"}
LOG_READS = frozenset(method.name for method in LOG_SERVICE.methods)
# Rows inserted at once, as for those of this installation.
BLOCK_ROWS = 100_000


class _Position:
    """Where the rows of a table end; nothing will come behind."""

    def __init__(self, kind: str, stream_id: int, stored: int) -> None:
        self.kind = kind
        self.table = POINTS if kind == STEPS else LOGS_TABLE
        self.stream_id = stream_id
        self.accepted = self.stored = stored

    async def wait_stored(self, position: int) -> None:
        """What is not there will not come, so nobody waits for it."""


class _Positions:
    """What `Writer` is to readers: the positions of both tables, and hubs in which nothing is ever published."""

    def __init__(self, steps: _Position, logs: _Position) -> None:
        self.steps, self.logs = steps, logs
        self.steps_hub, self.logs_hub = Hub(), Hub()


class _Follower:
    """What `EventFollower` is to readers: lineages that stand at the end of the bundle."""

    def __init__(self, lineages: Lineages) -> None:
        self.lineages = lineages

    async def catch_up(self) -> None:
        """Nothing more will come."""

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        return condition()


class ImportedEngine(Engine):
    """What the services stand on for one imported runtime."""

    def __init__(self, record: Import, store: Store, positions: _Positions) -> None:
        lineages = Lineages()
        for event in record.bundle.events:
            lineages.apply(event)
        lineages.sequence = record.bundle.sequence
        self._bundle = record.bundle
        self.follower = cast(Any, _Follower(lineages))
        self._store = store
        self._writer = cast(Any, positions)
        self._kept_parts = KeptParts()

    async def wait_stored(self, pipeline: Pipeline, position: int) -> None:
        """Raises OutOfRange: the bundle does not go that far."""
        if position > self._bundle.telemetry_sequence:
            raise past_the_end("TELEMETRY of the bundle", self._bundle.telemetry_sequence, position)

    async def _was_sent(self, one: TrialRef) -> bool:
        return await is_stored(self.store, one)

    async def check_cursor(self, pipeline: Pipeline, stream_id: int, sequence: int) -> None:
        """A cursor behind the last line is one that `StreamLogs` gave: nothing follows it."""

    async def moment(self, as_of: AsOf, pipeline: Pipeline, runtime_ids: list[str]) -> Moment:
        if as_of.events_sequence > self._bundle.sequence:
            raise OutOfRange(f"the bundle ends at {self._bundle.sequence} of EVENTS")
        return await super().moment(as_of, pipeline, runtime_ids)

    async def _time_of_event(self, sequence: int) -> int:
        # Events of other runtimes are not in the bundle: the last one before counts.
        times = [event.recorded_time for event in self._bundle.events if event.sequence <= sequence]
        return int(times[-1].timestamp() * 1000) if times else 0


class ImportedTelemetry:
    """Who answers for one imported runtime, and how its rows go away again."""

    def __init__(self, record: Import, store: Store, positions: _Positions) -> None:
        engine = ImportedEngine(record, store, positions)
        self.runtime_id = record.bundle.runtime_id
        self.metrics = MetricService(engine)
        self.logs = LogService(engine)


async def load(store: Store, record: Import, scratch: Path) -> _Positions:
    """Insert the rows of a bundle, after removing what an interrupted load has left."""
    await remove(store, record.bundle.runtime_id)
    positions = {}
    with tempfile.TemporaryDirectory(prefix="import-", dir=scratch) as folder:
        for kind, table, name in ((STEPS, POINTS, bundle.SERIES), (LOGS, LOGS_TABLE, bundle.LOGS)):
            path = await asyncio.to_thread(record.bundle.extract, name, Path(folder))
            last = (0, 0)
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(BLOCK_ROWS):
                    rows = _only(batch, record.bundle.runtime_id)
                    if rows.num_rows:
                        await store.insert(table, rows)
                        last = max(last, *zip(rows["stream_id"].to_pylist(), rows["log_seq"].to_pylist(), strict=True))
            positions[kind] = _Position(kind, *last)
    return _Positions(positions[STEPS], positions[LOGS])


def _only(batch: Any, runtime_id: str) -> Any:
    """Rows of the runtime of the bundle; others, which no export has written, are left out."""
    table = pa.Table.from_batches([batch])
    return table.filter(compute.equal(table["runtime"], runtime_id))


async def remove(store: Store, runtime_id: str) -> None:
    """Remove the rows of a runtime."""
    for table in (POINTS, LOGS_TABLE):
        await store.command(f"DELETE FROM {table} WHERE runtime = {{runtime:String}}", {"runtime": runtime_id})


def imports_of(data_dir: Path, engine: Engine) -> Imports[ImportedTelemetry]:
    """Follow the imports of a data directory. Opens them once the store of this installation is open."""
    scratch = imports_folder(data_dir)

    async def open_one(record: Import) -> ImportedTelemetry:
        store = await engine.imported_store()
        return ImportedTelemetry(record, store, await load(store, record, scratch))

    async def close_one(opened: ImportedTelemetry) -> None:
        await remove(await engine.imported_store(), opened.runtime_id)

    return Imports(data_dir, open_one, close_one, engine.follower.lineages.is_known)


class MetricRouting(Routing):
    """MetricService over the trials of this installation and the imported ones."""

    def __init__(self, own: MetricService, imports: Mapping[str, ImportedTelemetry]) -> None:
        super().__init__(METRICS, own, Part(imports, "metrics"), READS)

    async def QuerySeries(self, request: pb.QuerySeriesRequest, context: grpc.aio.ServicerContext) -> Any:
        """Comparing takes trials of both kinds: each is asked where it is. Positions are those of the last asked."""
        runtimes = runtimes_in(request)
        foreign = runtimes & self.imported.keys()
        if not foreign or len(runtimes) == 1:
            return await self.servicer(request, "QuerySeries", True).QuerySeries(request, context)
        answer = pb.QuerySeriesResponse()
        for group in [*({runtime_id} for runtime_id in sorted(foreign)), runtimes - foreign]:
            asked = pb.QuerySeriesRequest()
            asked.CopyFrom(request)
            del asked.parents[:]
            asked.parents.extend(name for name in request.parents if name.split("/")[1] in group)
            if asked.parents:
                answer.MergeFrom(await self.servicer(asked, "QuerySeries", True).QuerySeries(asked, context))
        return answer

    async def GetCompleteness(self, request: pb.GetCompletenessRequest, context: grpc.aio.ServicerContext) -> Any:
        servicer = self.servicer(request, "GetCompleteness", True)
        answer = await servicer.GetCompleteness(request, context)
        answer.imported = servicer is not self.own
        return answer


class LogRouting(Routing):
    """LogService over the trials of this installation and the imported ones."""

    def __init__(self, own: LogService, imports: Mapping[str, ImportedTelemetry]) -> None:
        super().__init__(LOG_SERVICE, own, Part(imports, "logs"), LOG_READS)


def seam_of(imports: Mapping[str, ImportedTelemetry], metrics: MetricService, logs: LogService) -> ImportSeam:
    """Return where the server of these servicers takes notice of imported runtimes."""
    return ImportSeam(imports, MetricRouting(metrics, imports), LogRouting(logs, imports))
