"""Milepost as a user has it: a wheel in an environment of its own, a home and a folder with nothing in them.

Dependencies are taken from the environment of the tests instead of the network.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milepost.eventlog.nats.server import nats_server_binary
from milepost.installation import endpoints
from milepost.installation.endpoints import Endpoints
from tests.e2e.stack import FREE_PORTS, START_SECONDS, STOP_SECONDS, until

ROOT = Path(__file__).resolve().parent.parent.parent.parent
SECONDS = 300.0


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout, as `pip wheel .` does."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (path,) = folder.glob("*.whl")
    return path


@dataclass(frozen=True)
class Installed:
    """An environment with a wheel in it, and the folder that a user works in."""

    bin: Path
    home: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MILEPOST_DATA"))}
        return {**kept, "HOME": str(self.home), "PATH": f"{self.bin}{os.pathsep}{kept['PATH']}", "OMP_NUM_THREADS": "1"}

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment in the user's folder."""
        program, *arguments = command
        return subprocess.run(
            [str(self.bin / program), *arguments], cwd=self.folder, env={**self.environment, **(environment or {})},
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    def up(self) -> UserStack:
        """Start `milepost up`, on ports that nobody has."""
        return UserStack(self)


def install(folder: Path, wheel: Path) -> Installed:
    """Make an environment with nothing but the wheel and its dependencies, and a home and a folder beside it."""
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(environment / "bin" / "python"),
         "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    # Behind its own packages, and without what an editable installation of this checkout puts there.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # A dependency that is a program.
    (environment / "bin" / "nats-server").symlink_to(nats_server_binary())
    for name in ("home", "work"):
        (folder / name).mkdir()
    return Installed(environment / "bin", folder / "home", folder / "work")


class UserStack:
    """`milepost up` of an installation, in the user's folder."""

    def __init__(self, installed: Installed) -> None:
        self.data_dir = installed.home / ".milepost"
        self.output = installed.home / "up.log"
        with self.output.open("wb") as output:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [str(installed.bin / "milepost"), "up", "--stop-trainers", *FREE_PORTS],
                cwd=installed.folder, env=installed.environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        until(self._is_up, "the stack serves", START_SECONDS)

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()
        return endpoints.read(self.data_dir) is not None

    @property
    def endpoints(self) -> Endpoints:
        found = endpoints.read(self.data_dir)
        assert found is not None
        return found

    def __enter__(self) -> UserStack:
        return self

    def __exit__(self, *error: Any) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_SECONDS)
