"""`milepost up` and `milepost demo`: the whole of Milepost on this machine."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from milepost import errors
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from milepost.cli.local import checks, ports
from milepost.cli.local.datadir import DataDirectory, DataDirectoryInUse, DataDirectoryUnusable
from milepost.cli.local.ports import PortInUse
from milepost.cli.local.supervisor import Part, PartFailed, Supervisor, child_environment, readable
from milepost.cli.output import say
from milepost.cli.runs.following import ENDED, ProgressPrinter, follow
from milepost.cli.runs.runtimes import exit_of_runtime
from milepost.client import Client
from milepost.eventlog.nats.credentials import InvalidCredentials, open_authority, write_service_credentials
from milepost.eventlog.nats.server import NatsServerNotFound, nats_server_binary, storage_limit, write_nats_config
from milepost.installation import endpoints
from milepost.installation.endpoints import Endpoints
from milepost.installation.json_logs import JsonFormatter
from milepost.installation.page_files import page_problem
from milepost.installation.settings import LOOPBACK, SETTINGS, InvalidSettings, Settings, collect
from milepost.security.tokens import TokenError
from milepost.security.transport import ClientTls, is_loopback_address

Command = TypeVar("Command", bound=Callable[..., Any])

SERVICES = ("runtime", "trials", "metrics", "gateway", "rules")
# The rule service starts beside the gateway: the services that runs need have the processors first.
NATS_LEVEL, SERVICE_LEVEL, LAST_LEVEL = 0, 1, 2
# What stopping the trainers may take of the ten seconds in which everything ends.
STOP_TRAINERS_SECONDS = 4.0
PORT_TRIES = 3
# The settings that the help of `up` and `demo` lists.
STARTING = (
    *("data_dir", "gateway_listen", "gateway_hosts", "authentication", "tls_certificate", "tls_key"),
    *("local_cpus", "local_gpus", "log_level"),
)
# Terminals and wrappers send one wish to end more than once.
SAME_SIGNAL_SECONDS = 1.0
NEEDED_MODULES = ("chdb", "clickhouse_connect", "grpc_health", "starlette", "uvicorn")


class CannotStart(Exception):
    """The stack cannot start; the message says why and what to do."""


_CANNOT_START = (
    CannotStart,
    DataDirectoryInUse,
    DataDirectoryUnusable,
    PortInUse,
    NatsServerNotFound,
    PartFailed,
    InvalidCredentials,
    TokenError,
)


def settings_options(*shown: str) -> Callable[[Command], Command]:
    """Give a command a flag for each setting, and the settings themselves as first argument.

    Args:
        shown: the settings that its help lists, by name; the others are named by `milepost config --help`. None: all.
    """
    return lambda command: _with_settings(command, frozenset(shown or (setting.name for setting in SETTINGS)))


def _with_settings(command: Command, shown: frozenset[str]) -> Command:
    def run(config: str | None, **options: Any) -> Any:
        flags = {setting.name: options.pop(setting.name) for setting in SETTINGS}
        try:
            settings = collect({**flags, "config": config}, os.environ)
        except InvalidSettings as error:
            raise click.UsageError(str(error)) from error
        return command(settings, **options)

    decorated: Any = run
    decorated.__name__, decorated.__doc__ = command.__name__, command.__doc__
    if len(shown) < len(SETTINGS):
        words = inspect.cleandoc(command.__doc__ or "")
        decorated.__doc__ = f"{words}\n\nEvery other setting is an option too: milepost config --help."
    decorated.__click_params__ = getattr(command, "__click_params__", [])
    for setting in reversed(SETTINGS):
        text = f"{setting.description} ({setting.variable}; default {setting.default or 'none'})"
        hidden = setting.name not in shown
        decorated = click.option(setting.flag, setting.name, help=text, hidden=hidden)(decorated)
    return click.option("--config", help="YAML file with settings (MILEPOST_CONFIG)")(decorated)  # type: ignore[return-value]


@click.command()
@click.option("--stop-trainers", is_flag=True, help="End running trainers too when this ends.")
@settings_options(*STARTING)
def up(settings: Settings, stop_trainers: bool) -> int:
    """Start nats-server and all services on this machine and keep them running. Ctrl-C ends them."""
    return _run(settings, lambda stack: _up(stack, stop_trainers))


@click.command()
@click.option("--logs", is_flag=True, help="Show the log lines of all parts.")
@click.option("--exit-when-done", is_flag=True, help="End everything when the training has ended.")
@settings_options(*STARTING)
def demo(settings: Settings, logs: bool, exit_when_done: bool) -> int:
    """Start everything and train a small language model. Ctrl-C ends it, the training included."""
    return _run(settings, lambda stack: _demo(stack, exit_when_done), quiet=not logs)


class _Said(logging.Handler):
    """Says what this process itself logs, such as a key that is damaged, as a line of its parts is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{'milepost':<8} | {readable(_FORMATTER.format(record))}")


_FORMATTER = JsonFormatter("milepost")


def _run(settings: Settings, body: Callable[[Stack], Awaitable[int]], *, quiet: bool = False) -> int:
    missing = [name for name in NEEDED_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        say(f"error: {', '.join(missing)} not installed; the stack needs: pip install 'milepost[server,trainer]'")
        return Exit.STACK
    logging.getLogger("milepost").addHandler(_Said(logging.WARNING))
    # The short commands end when nobody reads them any more; a supervisor must outlive a connection that breaks.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        with DataDirectory(settings.data_dir) as directory:
            return _start_until_ports_are_ours(settings, directory.path, quiet, body)
    except _CANNOT_START as error:
        say(f"error: {error}")
        return Exit.STACK


def _start_until_ports_are_ours(
    settings: Settings, data_dir: Path, quiet: bool, body: Callable[[Stack], Awaitable[int]]
) -> int:
    """Run a stack; where another program took a port between choice and use, choose anew, a few times."""
    for tries_left in reversed(range(PORT_TRIES)):
        # Two that start at once would choose the same ones again and again.
        stack = Stack(settings, data_dir, quiet, ports_anywhere=tries_left < PORT_TRIES - 1)
        try:
            return asyncio.run(_supervised(stack, body))
        except PartFailed:
            if not tries_left or not any(not ports.is_free(host, port) for host, port in stack.listeners):
                raise
            say("another program has taken a port meanwhile; starting again with other ports")
    raise AssertionError("the last try returns or raises")


async def _supervised(stack: Stack, body: Callable[[Stack], Awaitable[int]]) -> int:
    """Run until the body returns or a signal comes; a second signal ends everything at once."""
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(body(stack))
    first = 0.0

    def on_signal() -> None:
        nonlocal first
        if not first:
            first = loop.time()
            running.cancel()
        elif loop.time() - first > SAME_SIGNAL_SECONDS:
            stack.supervisor.kill()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    try:
        return await running
    except asyncio.CancelledError:
        return Exit.OK
    finally:
        await stack.supervisor.stop()
        say("Milepost has ended.")


class Stack:
    """The parts of a local stack, with their addresses and settings.

    Raises:
        PortInUse: a port that was asked for is taken.
        NatsServerNotFound: nats-server is not installed.
    """

    def __init__(self, settings: Settings, data_dir: Path, quiet: bool, ports_anywhere: bool = False) -> None:
        self.quiet = quiet
        self._keys_dir = settings.keys_dir
        self._settings = settings
        self._external_nats = has_external_nats(settings)
        self.endpoints, listen = _addresses(settings, data_dir, self._external_nats, ports_anywhere)
        resolved = {**settings, **listen, "data_dir": str(data_dir), "nats_url": self.endpoints.nats}
        self._store_bytes = storage_limit(data_dir / "nats")
        if not self._external_nats and not resolved["store_megabytes"]:
            resolved["store_megabytes"] = str(self._store_bytes >> 20)
        parts = [] if self._external_nats else [self._nats(data_dir)]
        parts += [self._service(name, listen[f"{name}_listen"]) for name in SERVICES]
        self.listeners = _listeners(self.endpoints)
        self.supervisor = Supervisor(parts, child_environment(resolved), data_dir, self.show)

    def _nats(self, data_dir: Path) -> Part:
        client, monitoring = urlsplit(self.endpoints.nats), urlsplit(self.endpoints.nats_monitoring)
        assert client.port and client.hostname and monitoring.port, "they were chosen"
        authority = open_authority(self._keys_dir, data_dir / "nats")
        write_service_credentials(self._keys_dir)
        configuration = write_nats_config(
            data_dir / "nats.conf",
            store_directory=data_dir / "nats",
            host=client.hostname,
            port=client.port,
            monitoring_port=monitoring.port,
            maximum_store_bytes=self._store_bytes,
            authority=authority,
        )
        ready = checks.http_ok(client.hostname, monitoring.port, "/healthz?js-enabled-only=true")
        return Part("nats", [str(nats_server_binary()), "-c", str(configuration)], ready, NATS_LEVEL, client.port)

    def _service(self, name: str, listen: str) -> Part:
        # Without -P the working folder would come first on the path.
        command = [sys.executable, "-P", "-m", f"services.{name}", *_own_flags(self._settings, name, listen)]
        tls = ClientTls.of(self._settings) if _is_encrypted(self._settings, listen) else None
        if name == "gateway":
            address = urlsplit(self.endpoints.gateway)
            assert address.port and address.hostname, "they were chosen"
            ready = checks.http_ok(address.hostname, address.port, "/livez", tls)
            return Part(name, command, ready, LAST_LEVEL, address.port)
        found = getattr(self.endpoints, name)
        ready = checks.grpc_serving(found, tls)
        return Part(name, command, ready, LAST_LEVEL if name == "rules" else SERVICE_LEVEL, _port_of(found))

    def show(self, part: str, line: str) -> None:
        """Show a line of a part's log, marked with its name."""
        if self.quiet and part != "milepost":
            return
        if part == "nats" and "[INF]" in line:
            return  # its banner and what it says of every start are in its log file
        for text in readable(line).splitlines():
            say(f"{part:<8} | {text}")

    async def start(self) -> None:
        """Start everything, and write where it is once all of it serves.

        Raises:
            PartFailed: a part ended or was not ready in time.
        """
        await self.supervisor.start()
        endpoints.write(self.endpoints, Path(self.endpoints.data_dir))

    def client(self) -> Client:
        return Client(self.endpoints)


def _is_encrypted(settings: Settings, listen: str) -> bool:
    """Return whether a service uses TLS: where others can reach it, and on loopback if there is an authority to know it by."""
    return bool(settings["tls_certificate"]) and (bool(settings["tls_ca"]) or not is_loopback_address(listen))


def _own_flags(settings: Settings, name: str, listen: str) -> list[str]:
    """What one service is told otherwise than the others: whether it uses TLS, and where Prometheus finds it.

    The first of `SERVICES` has the port of `monitoring_listen`, each other one the next.
    """
    flags = []
    if settings["tls_certificate"] and not _is_encrypted(settings, listen):
        flags += ["--tls-certificate=", "--tls-key=", "--tls-client-ca="]
    host, _, port = settings["monitoring_listen"].rpartition(":")
    if port.isdigit() and port != "0":
        flags.append(f"--monitoring-listen={host}:{int(port) + SERVICES.index(name)}")
    return flags


def has_external_nats(settings: Settings) -> bool:
    """Return whether NATS runs elsewhere: on a host that is not this one, or several."""
    hosts = {urlsplit(url).hostname for url in settings["nats_url"].split(",")}
    return len(hosts) > 1 or not hosts <= {LOOPBACK, "localhost", "::1"}


def _addresses(
    settings: Settings, data_dir: Path, external_nats: bool, anywhere: bool
) -> tuple[Endpoints, dict[str, str]]:
    """Choose the ports. Returns where clients reach the parts, and the settings that say so to the services."""
    before = endpoints.read(data_dir) or Endpoints()
    wanted = []
    for name in SERVICES:
        host, port = _split(settings, f"{name}_listen")
        explicit = settings.origin(f"{name}_listen") != "default"
        wanted.append(ports.Wanted(name, host, port, explicit and port != 0, _port_of(getattr(before, name))))
    if not external_nats:
        url = urlsplit(settings["nats_url"])
        explicit = settings.origin("nats_url") != "default" and url.port not in (None, 0)
        port = 4222 if url.port is None else url.port
        wanted.append(ports.Wanted("nats", url.hostname or LOOPBACK, port, explicit, _port_of(before.nats)))
        monitoring = 8475 if settings.origin("nats_url") == "default" else 0
        wanted.append(
            ports.Wanted(
                "nats_monitoring", url.hostname or LOOPBACK, monitoring, False, _port_of(before.nats_monitoring)
            )
        )
    chosen = ports.choose(wanted, anywhere)
    hosts = {item.part: item.host for item in wanted}
    listen, address = {}, {}
    for name in SERVICES:
        listen[f"{name}_listen"] = f"{hosts[name]}:{chosen[name]}"
        reached = hosts[name] if hosts[name] not in ("0.0.0.0", "::", "[::]") else LOOPBACK
        listen[f"{name}_address"] = address[name] = f"{reached}:{chosen[name]}"
    scheme = "https" if _is_encrypted(settings, listen["gateway_listen"]) else "http"
    found = Endpoints(
        gateway=f"{scheme}://{address['gateway']}",
        runtime=address["runtime"],
        trials=address["trials"],
        metrics=address["metrics"],
        rules=address["rules"],
        nats=settings["nats_url"] if external_nats else f"nats://{hosts['nats']}:{chosen['nats']}",
        pid=os.getpid(),
        data_dir=str(data_dir),
    )
    if external_nats:
        return replace(found, nats_monitoring=""), listen
    return replace(found, nats_monitoring=f"http://{hosts['nats']}:{chosen['nats_monitoring']}"), listen


def _listeners(found: Endpoints) -> list[tuple[str, int]]:
    """List host and port of every part that runs here."""
    addresses = [found.runtime, found.trials, found.metrics, found.rules, urlsplit(found.gateway).netloc]
    if found.nats_monitoring:
        addresses += [urlsplit(found.nats).netloc, urlsplit(found.nats_monitoring).netloc]
    return [(address.rpartition(":")[0], _port_of(address)) for address in addresses]


def _split(settings: Mapping[str, str], name: str) -> tuple[str, int]:
    host, _, port = settings[name].rpartition(":")
    if not host or not port.isdigit():
        raise CannotStart(f"{name} must be host:port, not {settings[name]!r}")
    return host, int(port)


def _port_of(address: str) -> int:
    port = address.rpartition(":")[2]
    return int(port) if port.isdigit() else 0


async def _up(stack: Stack, stop_trainers: bool) -> int:
    started = time.monotonic()
    _say_page_problem()
    say(f"Milepost is starting at {stack.endpoints.gateway}")
    await stack.start()
    say(f"Milepost is running after {time.monotonic() - started:.1f} s: {stack.endpoints.gateway}")
    say(f"data in {stack.endpoints.data_dir}; Ctrl-C ends it" + ("" if stop_trainers else ", running trainers stay"))
    try:
        await asyncio.Event().wait()
    finally:
        if stop_trainers:
            await _stop_trainers(stack)
    return Exit.OK


def _say_page_problem() -> None:
    """Say that the page will be none, before an address of one is printed."""
    problem = page_problem()
    if problem:
        say(f"warning: {problem}")


async def _demo(stack: Stack, exit_when_done: bool) -> int:
    started = time.monotonic()
    _say_page_problem()
    say(f"Milepost is starting. Its page: {stack.endpoints.gateway} (Ctrl-C ends it, the training included)")
    await stack.start()
    say(f"ready after {time.monotonic() - started:.1f} s; training a small language model on Python's documentation")
    text = resources.files("milepost.recipes").joinpath("language_model.yaml").read_text()
    try:
        with stack.client() as client:
            runtime = await asyncio.to_thread(client.start_runtime, text)
            say(f"watch it at {stack.endpoints.gateway}/runtimes/{runtime.runtime_id}")
            ended = await asyncio.to_thread(_follow, client, runtime.name)
        if exit_when_done:
            return exit_of_runtime(ended)
        say(f"The page stays: {stack.endpoints.gateway}/runtimes/{runtime.runtime_id} (Ctrl-C ends it)")
        await asyncio.Event().wait()
    finally:
        await _stop_trainers(stack)
    return Exit.OK


def _follow(client: Client, name: str) -> runtime_api.Runtime:
    printer = ProgressPrinter()
    for view in follow(client, name):
        printer.show(view)
    printer.close()
    return view.runtime


async def _stop_trainers(stack: Stack) -> None:
    """Stop every runtime in progress, and wait a little until they have ended."""
    with stack.client() as client:
        try:
            names = await asyncio.to_thread(_stop_all, client)
        except errors.MilepostError as error:
            say(f"the trainers could not be stopped: {error.message}")
            return
        deadline = time.monotonic() + STOP_TRAINERS_SECONDS
        while names and time.monotonic() < deadline:
            with suppress(errors.MilepostError):
                names = [name for name in names if client.get_runtime(name).phase not in ENDED]
            await asyncio.sleep(0.1)
    if names:
        say(f"still ending: {', '.join(names)}")


def _stop_all(client: Client) -> list[str]:
    request = runtime_api.ListRuntimesRequest(page_size=1_000, filter="status=Started")
    names: list[str] = []
    while True:
        answer = client.runtimes.ListRuntimes(request, timeout=2.0)
        names += [item.name for item in answer.runtimes]
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    for name in names:
        with suppress(errors.FailedPrecondition, errors.NotFound):
            client.stop_runtime(name, mode=common.STOP_MODE_ABRUPT, reason="the local stack ends")
    if names:
        say(f"stopping {len(names)} runtime{'s' if len(names) > 1 else ''}")
    return names
