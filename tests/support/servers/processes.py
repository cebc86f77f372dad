"""Services as processes of their own, on free ports, that can be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from services.health import Target, serving
from tests.support.servers.servers import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent.parent
START_SECONDS = 90.0
STOP_SECONDS = 20.0
# These call the others, in this order.
BEFORE = ("mlflow", "gateway")


class Program:
    """A program that runs, or does not, and can be ended in both ways."""

    process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end in order, and wait until it is gone."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


@dataclass
class ServiceProcess(Program):
    """`python -m services.<name>` on a data directory. The port of its first start is kept."""

    name: str
    data_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.data_dir / f"{self.name}.log"

    def start(self, wait_serving: bool = True) -> None:
        """Start it and wait until it listens, and until it is healthy."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        settings = {"data_dir": str(self.data_dir), f"{self.name}_listen": self.address, **self.settings}
        flags = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", value)]
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.name}", *flags],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        wait_until(lambda: self._has_port(offset), f"{self.name} listens", START_SECONDS)
        if wait_serving:
            is_http = self.name == "gateway"
            target = Target(self.address, is_http)
            wait_until(lambda: serving(target), f"{self.name} is healthy; see its log", START_SECONDS)

    def _has_port(self, offset: int) -> bool:
        assert self.process is not None
        text = self.log_path.read_bytes()[offset:].decode()
        assert self.process.poll() is None, text[-4_000:]
        for line in text.splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") in ("server.started", "gateway.started"):
                    self.port = entry["port"]
                    return True
        return False


@contextmanager
def running_services(data_dir: Path, nats_url: str, names: Sequence[str]) -> Iterator[dict[str, ServiceProcess]]:
    """Run services of these names; those that stand before others, if they are among them, know where these are."""
    services: dict[str, ServiceProcess] = {}
    try:
        for name in sorted(names, key=lambda name: BEFORE.index(name) if name in BEFORE else -1):
            settings = {"nats_url": nats_url}
            if name in BEFORE:
                settings |= {f"{other}_address": service.address for other, service in services.items()}
            services[name] = ServiceProcess(name, data_dir, settings)
            services[name].start()
        yield services
    finally:
        for service in reversed(services.values()):
            service.stop()
