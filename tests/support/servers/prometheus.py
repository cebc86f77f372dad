"""The Prometheus of this machine, which reads services of a test and evaluates the rules of deploy/."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.servers.ports import free_ports
from tests.support.servers.processes import Program
from tests.support.servers.servers import wait_until
from tests.support.servers.topology import DEPLOY

RULES = DEPLOY / "prometheus" / "rules.yaml"
BINARY = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")


def promtool(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run promtool with something on its standard input."""
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], input=given, capture_output=True, check=False, timeout=60)


@dataclass
class Prometheus(Program):
    """One that is in a folder of its own."""

    folder: Path
    port: int

    def start(self) -> None:
        assert BINARY is not None
        command = [
            BINARY,
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        log = self.folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        wait_until(lambda: self._is_ready(log), "Prometheus is ready")

    def _is_ready(self, log: Path) -> bool:
        assert self.process is not None and self.process.poll() is None, log.read_text()[-4_000:]
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
        return False

    def get(self, path: str, **query: str) -> Any:
        """Ask its API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[float]:
        """Evaluate an expression now."""
        return [float(one["value"][1]) for one in self.get("query", query=expression)["result"]]

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]


@contextmanager
def running_prometheus(folder: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """One that reads these host:port each second, for the length of a block."""
    folder.mkdir()
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "milepost", "static_configs": [{"targets": list(targets)}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    (port,) = free_ports(1)
    server = Prometheus(folder, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
