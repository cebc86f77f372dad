"""`milepost backup` and `milepost restore`: both stores, taken while everything runs, and put back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from milepost import files
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.bundle import imports_folder
from milepost.cli.exits import Exit
from milepost.cli.local.datadir import DataDirectory, DataDirectoryInUse, DataDirectoryUnusable
from milepost.cli.local.own_broker import own_broker
from milepost.cli.local.stack import has_external_nats
from milepost.cli.local.supervisor import child_environment
from milepost.cli.output import say
from milepost.cli.tokens import with_settings
from milepost.client import Client
from milepost.eventlog import EVENTS, REQUESTS_BUCKET, TELEMETRY, EventLogError, LogUnavailable
from milepost.eventlog.backup import restore_stream, save_stream
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.credentials import (
    ADMIN,
    InvalidCredentials,
    find_credentials,
)
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.server import NatsServerNotFound
from milepost.eventlog.proof.anchor import AnchorFile, anchors_path
from milepost.eventlog.proof.examination import adopt_restored
from milepost.installation import endpoints
from milepost.installation.endpoints import Endpoints
from milepost.installation.settings import Settings

MANIFEST = "backup.json"
FORM = "milepost-backup-1"
TABLES = ("points", "samples", "logs")
# Files that are put back where they were; the others are streams and tables.
PUT_BACK = ("anchors/", "keys/", "imports/", "mlflow/", "tokens.json", "destinations.yaml")
# In the order in which they are taken: what is told of a runtime is never older than its telemetry.
STREAMS = (TELEMETRY, EVENTS, f"KV_{REQUESTS_BUCKET}")


class NoBackup(Exception):
    """A folder is no whole backup. The message says what is wrong."""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@with_settings
def backup(settings: Settings, folder: Path) -> int:
    """Copy the event log, telemetry, points, log lines, imported runs and keys into FOLDER while everything runs.

    The folder must be new or empty, and is again if this fails. It holds keys: keep it as you keep passwords. Snapshots
    of training are files in `runtimes/` of the data directory, or wherever `snapshots.storage` says: copy them by other
    means.
    """
    if folder.exists() and any(folder.iterdir()):
        say(f"error: {folder} is not empty")
        return Exit.USAGE
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    manifest = None
    try:
        manifest = asyncio.run(_backup(settings, folder))
    except (EventLogError, InvalidCredentials) as error:
        say(f"error: {error}")
        return Exit.UNAVAILABLE if isinstance(error, LogUnavailable) else Exit.PRECONDITION
    finally:
        if manifest is None:
            _remove(folder, is_new)
    say(
        f"{manifest['streams'][EVENTS]['last_sequence']:,} events, {manifest['tables']['points']['rows']:,} rows of points "
        f"and {manifest['tables']['logs']['rows']:,} of logs, {_size(folder) / 1e6:.1f} MB, in {folder}"
    )
    return Exit.OK


async def _backup(settings: Settings, folder: Path) -> dict[str, Any]:
    found = endpoints.find(str(settings.data_dir))
    credentials = find_credentials(settings.keys_dir, ADMIN)
    # Spools first: what they no longer hold is in the tables by then, and what is in both is taken once.
    copy_files({str(path.relative_to(settings.data_dir)): path for path in _spools(settings)}, folder)
    # Then tables: what they lack at the end of this is in the copy of TELEMETRY, and the writer goes on from there.
    tables = await asyncio.to_thread(_save_tables, found, folder)
    streams = {}
    async with await connect(found.nats, name="milepost backup", timeout_seconds=10, credentials=credentials) as nats:
        for stream in STREAMS:
            state = await save_stream(nats, stream, folder)
            streams[stream] = {"created": state.created, "last_sequence": state.last_sequence}
    copy_files(_kept_files(settings), folder)
    manifest = {
        "form": FORM,
        "version": metadata.version("milepost"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "streams": streams,
        "tables": tables,
        "files": {str(path.relative_to(folder)): _sha256(path) for path in _files(folder)},
    }
    # Last: a folder without it is no backup.
    files.sync_tree(folder)
    files.write(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return manifest


def _save_tables(found: Endpoints, folder: Path) -> dict[str, dict[str, int]]:
    tables = {table: {"rows": 0, "stream_id": 0, "telemetry_sequence": 0} for table in TABLES}
    files = {table: (folder / f"{table}.arrows").open("wb") for table in TABLES}
    try:
        with Client(found) as client:
            for part in client.metrics.ExportTables(metric_api.ExportTablesRequest()):
                files[part.table].write(len(part.arrow).to_bytes(8, "little") + part.arrow)
                tables[part.table]["rows"] += part.row_count
                tables[part.table]["stream_id"] = part.stream_id
                tables[part.table]["telemetry_sequence"] = part.telemetry_sequence
    finally:
        for file in files.values():
            file.close()
    return tables


def _spools(settings: Settings) -> list[Path]:
    """What clients of MLflow have sent and is not stored yet."""
    # What SQLite has beside a database is in the copy of it.
    beside = ("-wal", "-shm", "-journal")
    found = sorted((settings.data_dir / "mlflow").rglob("*"))
    return [path for path in found if path.is_file() and not path.name.endswith(beside)]


def _kept_files(settings: Settings) -> dict[str, Path]:
    """What else belongs to an installation: its name in the backup, and where it is."""
    files = {name: place(settings, name) for name in ("anchors/EVENTS.jsonl", "tokens.json", "destinations.yaml")}
    for folder, name in ((settings.keys_dir, "keys"), (imports_folder(settings.data_dir), "imports")):
        if folder.is_dir():
            files |= {f"{name}/{path.name}": path for path in sorted(folder.iterdir()) if path.is_file()}
    return files


def place(settings: Settings, name: str) -> Path:
    """Return where a file of a backup belongs."""
    if name == "anchors/EVENTS.jsonl":
        return anchors_path(settings.data_dir)
    if name == "tokens.json":
        return settings.tokens_file
    if name == "destinations.yaml" and settings["destinations_file"]:
        return Path(settings["destinations_file"]).expanduser()
    if name.startswith("keys/"):
        return settings.keys_dir / name.removeprefix("keys/")
    return settings.data_dir / name


def copy_files(chosen: dict[str, Path], folder: Path) -> None:
    """Copy files under names, those that are there; a database as it is at one moment, whoever writes to it."""
    for name, path in chosen.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            if path.suffix == ".sqlite":
                with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as there:
                    with closing(sqlite3.connect(target)) as here:
                        there.backup(here)
            else:
                shutil.copyfile(path, target)
        except (FileNotFoundError, sqlite3.Error):
            if path.exists():
                raise
            # It was removed meanwhile: it had been sent.
            target.unlink(missing_ok=True)
            continue
        target.chmod(0o600)


def _remove(folder: Path, is_new: bool) -> None:
    """Leave nothing behind of a backup that failed: the room may be needed, and half of one restores nothing."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if is_new:
        folder.rmdir()


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@with_settings
def restore(settings: Settings, folder: Path) -> int:
    """Put a backup back into an empty installation, with its services stopped.

    Anchors, tokens and keys that are there already stay as they are. If the anchors are newer than the backup, the
    services notice at their start and refuse to write, until a person decides with `milepost audit accept`.
    """
    try:
        manifest = read_manifest(folder)
        with DataDirectory(settings.data_dir) as directory:
            _put_files_back(settings, folder, manifest)
            telemetry_created = asyncio.run(_restore_streams(settings, directory.path, folder))
            status = _restore_tables(settings, folder, manifest["streams"][TELEMETRY]["created"], telemetry_created)
    except (NoBackup, DataDirectoryInUse, DataDirectoryUnusable, NatsServerNotFound, InvalidCredentials) as error:
        say(f"error: {error}")
        return Exit.PRECONDITION
    except EventLogError as error:
        say(f"error: {error}")
        return Exit.UNAVAILABLE if isinstance(error, LogUnavailable) else Exit.PRECONDITION
    if status:
        return Exit.PRECONDITION
    say(f"restored the backup of {manifest['time']}; start the services, then run: milepost audit verify --read-models")
    return Exit.OK


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what a backup holds, and check every file of it.

    Raises:
        NoBackup: it is none, it is not whole, or a file was changed.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise NoBackup(f"{folder} is no whole backup: {MANIFEST} is missing or not readable") from error
    if manifest.get("form") != FORM:
        raise NoBackup(f"{folder} has the form {manifest.get('form')!r}; this version reads {FORM!r}")
    for name, digest in manifest["files"].items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise NoBackup(f"{name!r} is outside of the backup")
        if not path.is_file() or _sha256(path) != digest:
            raise NoBackup(f"{path} is missing or not as it was written: take another backup")
    return manifest


def _put_files_back(settings: Settings, folder: Path, manifest: dict[str, Any]) -> None:
    for name in sorted(manifest["files"]):
        if not name.startswith(PUT_BACK):
            continue
        path = place(settings, name)
        if path.exists():
            if _sha256(path) != manifest["files"][name]:
                say(f"{path} stays as it is; the one of the backup differs")
            continue
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(folder / name, path)
        path.chmod(0o600)


async def _restore_streams(settings: Settings, data_dir: Path, folder: Path) -> int:
    """Returns the identity that TELEMETRY has now."""
    if has_external_nats(settings):
        url, credentials = settings["nats_url"], find_credentials(settings.keys_dir, ADMIN)
        async with await connect(url, name="milepost restore", timeout_seconds=10, credentials=credentials) as nats:
            return await _restore_into(nats, settings, folder)
    async with own_broker(settings, data_dir, "restore") as nats:
        return await _restore_into(nats, settings, folder)


async def _restore_into(nats: Connection, settings: Settings, folder: Path) -> int:
    created = {}
    for stream in STREAMS:
        state = await restore_stream(nats, stream, folder)
        created[stream] = state.created
        say(f"{stream}: {state.message_count:,} messages")
    if not await adopt_restored(JetStreamLog(nats), AnchorFile(anchors_path(settings.data_dir))):
        say("this backup lacks events that were anchored: services will not write to it until a person decides")
    return created[TELEMETRY]


def _restore_tables(settings: Settings, folder: Path, old_stream: int, new_stream: int) -> int:
    """Have the metric service's own program put the rows back: only it speaks to ClickHouse."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "services.metrics.upkeep.restore",
        str(folder),
        str(old_stream),
        str(new_stream),
    ]
    return subprocess.run(
        command, env=child_environment({**settings, "data_dir": str(settings.data_dir)}), check=False
    ).returncode


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
