"""Make the file of one runtime that can be checked without a server; the format is in `milepost.bundle`."""

from __future__ import annotations

import asyncio
import json
import tempfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
from google.protobuf.json_format import MessageToDict

from milepost import bundle
from milepost.errors import Unavailable
from milepost.eventlog import EventLog, chain_of
from milepost.eventlog.codec import format_time
from milepost.eventlog.telemetry import Telemetry
from milepost.protojson import to_json
from services.runtime.events import subjects_of
from services.runtime.messages import runtime_message
from services.runtime.peers import Peers
from services.runtime.views import RuntimeView

_BLOCK = 256 << 10
_MESSAGES = 500
_WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a bundle is made from."""

    event_log: EventLog
    stream_created: int
    telemetry: Telemetry
    peers: Peers


async def export_bundle(view: RuntimeView, until: int, origin: Origin, directory: Path) -> AsyncIterator[bytes]:
    """Write the bundle of a runtime to a temporary file below `directory`, and give it in pieces."""
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=directory) as folder:
        path = Path(folder) / "bundle.zip"
        await _write(path, Path(folder), view, until, origin)
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


async def _write(path: Path, folder: Path, view: RuntimeView, until: int, origin: Origin) -> None:
    peers = origin.peers
    trials, moment = await peers.trials(view.runtime_id)
    manifest: dict[str, Any] = {
        "format": bundle.FORMAT,
        "runtime": view.runtime_id,
        "sequence": until,
        "telemetry_sequence": moment.telemetry_sequence,
        "stream_created": origin.stream_created,
        "created": format_time(datetime.now(UTC)),
        "files": {},
        "heads": {},
    }
    state = {
        "runtime": to_json(runtime_message(view)),
        "trials": [to_json(trial) for trial in trials],
        # They cannot be computed again: what was estimated depends on what the service had read by then.
        "estimates": {
            str(trial.trial): MessageToDict(await peers.estimates(trial.name), preserving_proto_field_name=True)
            for trial in trials
        },
    }
    configuration = {
        "text": view.configuration_text,
        "resolved": to_json(view.state.configuration) if view.state.configuration is not None else None,
        "digest": view.state.configuration_digest,
    }

    async def events(file: Path) -> None:
        with file.open("wb") as out:
            async for event in origin.event_log.read(0, until, subjects_of(view.runtime_id)):
                manifest["heads"][chain_of(event.subject)] = event.hash
                out.write(bundle.event_line(event))

    async def series(file: Path) -> None:
        await _write_rows(file, peers.rows(view.runtime_id, "points"))

    async def logs(file: Path) -> None:
        await _write_rows(file, peers.rows(view.runtime_id, "logs"))

    async def batches(file: Path) -> None:
        with file.open("wb") as out:
            async for batch in _batches(origin.telemetry, view.runtime_id, moment.telemetry_sequence):
                out.write(bundle.batch_line(batch))

    writers: dict[str, Callable[[Path], Awaitable[None]]] = {
        bundle.EVENTS: events,
        bundle.STATE: _writer_of({**state, "as_of": to_json(moment)}),
        bundle.CONFIGURATION: _writer_of(configuration),
        bundle.SERIES: series,
        bundle.LOGS: logs,
        bundle.BATCHES: batches,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in bundle.FILES:
            file = folder / name
            await writers[name](file)
            with file.open("rb") as written:
                digest = bundle.digest_of(written)
            manifest["files"][name] = {"sha256": digest, "bytes": file.stat().st_size}
            archive.write(file, name)
            file.unlink()
        archive.writestr(bundle.MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False))


def _writer_of(content: dict[str, Any]) -> Callable[[Path], Awaitable[None]]:
    async def write(file: Path) -> None:
        file.write_bytes(_line(content))

    return write


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode() + b"\n"


async def _batches(telemetry: Telemetry, runtime_id: str, until: int) -> AsyncIterator[bundle.BatchHeaders]:
    """Read the headers of the step batches of a runtime, as far as TELEMETRY still has them."""
    async with telemetry.consume(0, (f"telemetry.{runtime_id}.*.*.steps",), headers_only=True) as reader:
        await reader.open(_WAIT_SECONDS)
        while reader.pending:
            messages = await reader.next_batch(_MESSAGES, _WAIT_SECONDS)
            if not messages:
                raise Unavailable("telemetry cannot be read at the moment", reason="TELEMETRY_UNREADABLE")
            for message in messages:
                if message.sequence > until:
                    return
                headers = {name: value for name, value in message.headers.items() if name.startswith("mp-")}
                yield bundle.BatchHeaders(message.sequence, message.time, message.subject, headers)


async def _write_rows(file: Path, pieces: AsyncIterator[bytes]) -> None:
    """Keep the Arrow stream on disk, then write it as Parquet block by block: a run may have billions of points."""
    arrow = file.with_suffix(".arrow")
    with arrow.open("wb") as out:
        async for piece in pieces:
            out.write(piece)
    await asyncio.to_thread(_to_parquet, arrow, file)
    arrow.unlink()


def _to_parquet(arrow: Path, file: Path) -> None:
    with pa.ipc.open_stream(pa.memory_map(str(arrow))) as reader:
        with parquet.ParquetWriter(file, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
