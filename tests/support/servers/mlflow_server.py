"""A stock server of MLflow, on SQLite, from an environment of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.e2e.stack import until
from tests.support.servers.ports import free_ports


@contextmanager
def running_mlflow(binaries: Path, folder: Path) -> Iterator[str]:
    """Run one until left. Gives its address.

    Args:
        binaries: the `bin` of an environment that has MLflow.
        folder: for its database, its files and its log.
    """
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [str(binaries / "mlflow"), "server", *places, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            cwd=folder, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "GIT_PYTHON_REFRESH": "quiet"},
        )  # fmt: skip
    try:
        until(lambda: _answers(address), "the stock server answers", 180.0)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/version").status_code == 200
    except httpx.TransportError:
        return False
