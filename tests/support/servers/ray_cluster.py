"""A Ray cluster for tests: on loopback only, with a token, ended by the ids of its processes."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.servers.servers import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent.parent
START_SECONDS = 120.0
STOP_SECONDS = 20.0


@dataclass
class RayCluster:
    """One machine that is a whole cluster, in `directory` (its name must be short: it holds sockets)."""

    directory: Path
    cpus: int = 2
    process: subprocess.Popen[bytes] | None = None
    address: str = ""
    _family: list[psutil.Process] = field(default_factory=list)

    @property
    def token_file(self) -> Path:
        return self.directory / "token"

    @property
    def output(self) -> Path:
        return self.directory / "ray.log"

    def start(self) -> RayCluster:
        """Start it and wait until its job server answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(secrets.token_hex(32))
        options = {
            "--node-ip-address": "127.0.0.1",
            "--dashboard-host": "127.0.0.1",
            "--temp-dir": str(self.directory / "ray"),
            "--num-cpus": str(self.cpus),
            "--object-store-memory": str(80 << 20),
            **{f"--{port}": "0" for port in ("port", "dashboard-port", "dashboard-agent-listen-port")},
        }
        words = [word for pair in options.items() for word in pair]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**_environment(), "RAY_AUTH_TOKEN_PATH": str(self.token_file)},
                start_new_session=True,
            )
        wait_until(self._answers, f"the Ray cluster answers; see {self.output}", START_SECONDS)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        text = self.output.read_text(errors="replace")
        assert self.process.poll() is None, text
        found = re.search(r"RAY_API_SERVER_ADDRESS='(http://[0-9.:]+)'", text)
        if found is None:
            return False
        self.address = found[1]
        with suppress(OSError, ValueError):
            # The job server starts after the command says that all is well.
            self.ask("/api/jobs/")
            self._family = self.processes()
            return True
        return False

    def ask(self, path: str) -> Any:
        """Ask its HTTP API as somebody who knows the token."""
        headers = {"Authorization": f"Bearer {self.token_file.read_text()}"}
        with urllib.request.urlopen(urllib.request.Request(self.address + path, headers=headers), timeout=20) as answer:
            return json.loads(answer.read())

    def processes(self) -> list[psutil.Process]:
        """List what belongs to the cluster now, jobs included."""
        assert self.process is not None
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def stop(self) -> None:
        """End everything that it started."""
        if self.process is None:
            return
        family = {*self._family, *self.processes()}
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(list(family), STOP_SECONDS)
        self.process = None


@contextmanager
def running_cluster(cpus: int = 2) -> Iterator[RayCluster]:
    """A cluster for the length of a block."""
    # The folders of pytest have names too long for sockets.
    cluster = RayCluster(Path(tempfile.mkdtemp(prefix="r-")), cpus)
    try:
        yield cluster.start()
    finally:
        cluster.stop()
        shutil.rmtree(cluster.directory, ignore_errors=True)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
        # Without it Ray listens on every interface, whatever address it is given.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
