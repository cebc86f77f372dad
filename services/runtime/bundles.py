"""Make the file of one runtime that can be checked without a server; the format is in `milepost.bundle`."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from milepost import bundle
from milepost.eventlog import EventLog, chain_of
from milepost.eventlog.codec import format_time
from milepost.protojson import to_json
from services.runtime.events import subjects_of
from services.runtime.messages import runtime_message
from services.runtime.peers import Peers
from services.runtime.views import RuntimeView

_BLOCK = 256 << 10


async def export_bundle(
    view: RuntimeView, until: int, event_log: EventLog, peers: Peers, directory: Path
) -> AsyncIterator[bytes]:
    """Write the bundle of a runtime to a temporary file below `directory`, and give it in pieces."""
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=directory) as folder:
        path = Path(folder) / "bundle.zip"
        await _write(path, Path(folder), view, until, event_log, peers)
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


async def _write(path: Path, folder: Path, view: RuntimeView, until: int, event_log: EventLog, peers: Peers) -> None:
    manifest: dict[str, Any] = {
        "format": bundle.FORMAT,
        "runtime": view.runtime_id,
        "sequence": until,
        "created": format_time(datetime.now(UTC)),
        "files": {},
        "heads": {},
    }
    trials, moment = await peers.trials(view.runtime_id)
    state = {"runtime": to_json(runtime_message(view)), "trials": [to_json(trial) for trial in trials]}
    configuration = {
        "text": view.configuration_text,
        "resolved": to_json(view.state.configuration) if view.state.configuration is not None else None,
        "digest": view.state.configuration_digest,
    }

    async def events(file: Path) -> None:
        with file.open("wb") as out:
            async for event in event_log.read(0, until, subjects_of(view.runtime_id)):
                manifest["heads"][chain_of(event.subject)] = event.hash
                out.write(bundle.event_line(event))

    async def series(file: Path) -> None:
        await _write_series(file, peers, [trial.name for trial in trials])

    async def logs(file: Path) -> None:
        with file.open("wb") as out:
            async for entry in peers.log_lines(view.runtime_id):
                out.write(_line(to_json(entry)))

    writers: dict[str, Callable[[Path], Awaitable[None]]] = {
        bundle.EVENTS: events,
        "state.json": _writer_of({**state, "as_of": to_json(moment)}),
        "configuration.json": _writer_of(configuration),
        "series.parquet": series,
        "logs.ndjson": logs,
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


async def _write_series(file: Path, peers: Peers, trials: list[str]) -> None:
    """Keep the Arrow stream on disk, then write it as Parquet block by block: a run may have billions of points."""
    arrow = file.with_suffix(".arrow")
    with arrow.open("wb") as out:
        if trials:
            async for piece in peers.series(trials):
                out.write(piece)
    if arrow.stat().st_size:
        with pa.ipc.open_stream(pa.memory_map(str(arrow))) as reader:
            with parquet.ParquetWriter(file, reader.schema, compression="zstd") as writer:
                for batch in reader:
                    writer.write_batch(batch)
    else:
        parquet.write_table(pa.table({}), file)
    arrow.unlink()
