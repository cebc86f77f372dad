"""Make the file of one runtime that can be checked without a server; the format is in `milepost.bundle`."""

from __future__ import annotations

import asyncio
import json
import tempfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
from google.protobuf.json_format import MessageToDict

from milepost import bundle
from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.errors import Unavailable
from milepost.eventlog import EventLog, chain_of, events_of
from milepost.eventlog.codec import format_time
from milepost.eventlog.proof.chain import ChainVerifier
from milepost.eventlog.telemetry import Telemetry
from milepost.protojson import to_json
from milepost.security.signing import BundleKey
from services.rpc.limits import Turns
from services.rpc.threads import Result, Threads
from services.runtime.audit.service_clients import ServiceClients
from services.runtime.readmodel.events import subjects_of
from services.runtime.readmodel.messages import runtime_message
from services.runtime.readmodel.view import RuntimeView

_BLOCK = 256 << 10
_MESSAGES = 500
_WAIT_SECONDS = 10.0
# Events that are written before others get their turn.
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a bundle is made from."""

    event_log: EventLog
    stream_created: int
    telemetry: Telemetry
    clients: ServiceClients
    # Whose turn it is, and where it is packed: commands must not wait for that. `packer` is whose export it is.
    turns: Turns
    threads: Threads
    packer: str
    # None: bundles are not signed.
    key: BundleKey | None = None

    async def apart(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function that takes long, beside the event loop."""
        return await self.threads.run(self.packer, None, function, *arguments)


async def export_bundle(view: RuntimeView, until: int, origin: Origin, directory: Path) -> AsyncIterator[bytes]:
    """Write the bundle of a runtime to a temporary file below `directory`, and give it in pieces."""
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=directory) as folder:
        path = Path(folder) / "bundle.zip"
        async with origin.turns.turn(origin.packer):
            await _write(path, Path(folder), view, until, origin)
        with path.open("rb") as file:
            while block := await origin.apart(file.read, _BLOCK):
                yield block


async def _write(path: Path, folder: Path, view: RuntimeView, until: int, origin: Origin) -> None:
    clients, runtime_id = origin.clients, view.runtime_id
    trials, moment = await _trials(clients, runtime_id, until)
    manifest = _manifest(runtime_id, until, moment, origin)
    estimates = {str(trial.trial): await clients.estimates(trial.name) for trial in trials}
    state = await origin.apart(_state_of, runtime_message(view), trials, estimates, moment)
    configuration = {
        "text": view.configuration_text,
        "resolved": to_json(view.state.configuration) if view.state.configuration is not None else None,
        "digest": view.state.configuration_digest,
    }
    writers: dict[str, Callable[[Path], Awaitable[None]]] = {
        bundle.EVENTS: partial(_write_events, runtime_id, until, origin, manifest),
        bundle.STATE: _writer_of(state, origin),
        bundle.CONFIGURATION: _writer_of(configuration, origin),
        bundle.SERIES: lambda file: _write_rows(file, clients.rows(runtime_id, "points"), origin),
        bundle.LOGS: lambda file: _write_rows(file, clients.rows(runtime_id, "logs"), origin),
        bundle.BATCHES: partial(_write_batches, runtime_id, moment.telemetry_sequence, origin),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in bundle.FILES:
            file = folder / name
            await writers[name](file)
            manifest["files"][name] = await origin.apart(_add, archive, file)
        listed = json.dumps(manifest, indent=1, ensure_ascii=False).encode()
        archive.writestr(bundle.MANIFEST, listed)
        if origin.key is not None:
            archive.writestr(bundle.SIGNATURE, origin.key.sign(listed))


def _manifest(runtime_id: str, until: int, moment: AsOf, origin: Origin) -> dict[str, Any]:
    """Return what a bundle says of itself; `heads`, `oddities` and `files` are filled as it is written."""
    manifest: dict[str, Any] = {
        "format": bundle.FORMAT,
        "runtime": runtime_id,
        "sequence": until,
        "telemetry_sequence": moment.telemetry_sequence,
        "stream_created": origin.stream_created,
        "created": format_time(datetime.now(UTC)),
        "files": {},
        "heads": {},
        "oddities": [],
    }
    if origin.key is not None:
        manifest["signed_by"] = origin.key.public
    return manifest


async def _write_events(runtime_id: str, until: int, origin: Origin, manifest: dict[str, Any], file: Path) -> None:
    """Write the events, and note in the manifest where each chain ends and what is odd about it."""
    written, verifier = 0, ChainVerifier()
    with file.open("wb") as out:
        async for event in events_of(origin.event_log.read(0, until, subjects_of(runtime_id))):
            written += 1
            if written % _AT_ONCE == 0:
                await asyncio.sleep(0)
            manifest["heads"][chain_of(event.subject)] = event.hash
            manifest["oddities"] += [[f.sequence, f.kind] for f in verifier.check(event) if f.tolerated]
            out.write(bundle.event_line(event))


async def _write_batches(runtime_id: str, last_sequence: int, origin: Origin, file: Path) -> None:
    with file.open("wb") as out:
        async for batch in _batches(origin.telemetry, runtime_id, last_sequence):
            out.write(bundle.batch_line(batch))


async def _trials(clients: ServiceClients, runtime_id: str, until: int) -> tuple[list[trial_api.Trial], AsOf]:
    """Return the trials as the events up to `until` make them: the bundle has no others."""
    trials, moment = await clients.trials(runtime_id)
    if moment.events_sequence >= until and all(trial.events_sequence <= until for trial in trials):
        return trials, moment
    then = AsOf(events_sequence=until, telemetry_sequence=moment.telemetry_sequence)
    return await clients.trials(runtime_id, then)


def _state_of(runtime: Any, trials: Sequence[Any], estimates: dict[str, Any], moment: Any) -> dict[str, Any]:
    return {
        "runtime": to_json(runtime),
        "trials": [to_json(trial) for trial in trials],
        # They cannot be computed again: what was estimated depends on what the service had read by then.
        "estimates": {
            number: MessageToDict(answer, preserving_proto_field_name=True) for number, answer in estimates.items()
        },
        "as_of": to_json(moment),
    }


def _add(archive: zipfile.ZipFile, file: Path) -> dict[str, Any]:
    """Move a file into an archive. Returns what the manifest says of it."""
    with file.open("rb") as written:
        digest = bundle.digest_of(written)
    size = file.stat().st_size
    # Parquet is compressed: to do it once more takes the most time of all, and makes it no smaller.
    kind = zipfile.ZIP_STORED if file.suffix == ".parquet" else zipfile.ZIP_DEFLATED
    archive.write(file, file.name, kind)
    file.unlink()
    return {"sha256": digest, "bytes": size}


def _writer_of(content: dict[str, Any], origin: Origin) -> Callable[[Path], Awaitable[None]]:
    async def write(file: Path) -> None:
        await origin.apart(lambda: file.write_bytes(_line(content)))

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


async def _write_rows(file: Path, pieces: AsyncIterator[bytes], origin: Origin) -> None:
    """Keep the Arrow stream on disk, then write it as Parquet block by block: a run may have billions of points."""
    arrow = file.with_suffix(".arrow")
    with arrow.open("wb") as out:
        async for piece in pieces:
            await origin.apart(out.write, piece)
    await origin.apart(_to_parquet, arrow, file)
    arrow.unlink()


def _to_parquet(arrow: Path, file: Path) -> None:
    with pa.ipc.open_stream(pa.memory_map(str(arrow))) as reader:
        with parquet.ParquetWriter(file, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
