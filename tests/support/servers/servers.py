"""Real servers for tests: a nats-server in a directory that can be killed and started again."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from milepost.eventlog.nats.server import nats_server_binary, write_nats_config

START_SECONDS = 30.0
STOP_SECONDS = 20.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Poll until a condition holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


@dataclass
class NatsServer:
    """A running nats-server with JetStream in `directory`, on 127.0.0.1, with `sync_interval: always`."""

    directory: Path
    port: int = -1
    config: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def store_directory(self) -> Path:
        return self.directory / "nats"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it and wait until it takes connections. The port of the first start is kept."""
        assert not self.is_running, "it runs already"
        ports_directory = self.directory / "ports"
        ports_directory.mkdir(parents=True, exist_ok=True)
        path = write_nats_config(
            self.directory / "nats.conf",
            store_directory=self.store_directory,
            port=self.port,
            ports_directory=ports_directory,
            **self.config,
        )
        with (self.directory / "nats.log").open("ab") as output:
            self.process = subprocess.Popen(
                [str(nats_server_binary()), "-c", str(path)], stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        ports_file = ports_directory / f"nats-server_{self.process.pid}.ports"
        wait_until(lambda: self._has_ports(ports_file), f"nats-server starts; see {self.directory / 'nats.log'}")
        wait_until(self._answers, "nats-server takes connections")

    def _has_ports(self, path: Path) -> bool:
        assert self.is_running, (self.directory / "nats.log").read_text()
        with suppress(OSError, ValueError):
            self.port = int(json.loads(path.read_text())["nats"][0].rsplit(":", 1)[1])
            return True
        return False

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            return connection.recv(5) == b"INFO "
        return False

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end in order, and wait until it is gone."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(STOP_SECONDS)
        self.process = None

    def restart(self) -> None:
        """Start again after `kill` or `stop`, on the same port with the same files."""
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def unpause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


def start_nats(directory: Path, port: int = 0, **config: Any) -> NatsServer:
    """Start a nats-server that keeps its files in `directory`.

    Args:
        directory: a temporary folder of the test.
        port: 0: a free one, chosen by the server.
        config: more arguments of `write_nats_config`, for example `maximum_store_bytes`.
    """
    server = NatsServer(directory, port or -1, config)
    server.start()
    return server


@contextmanager
def running_nats(directory: Path, **config: Any) -> Iterator[NatsServer]:
    """A nats-server for the length of a block."""
    server = start_nats(directory, **config)
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            if server.is_running:
                server.unpause()
        server.kill()
