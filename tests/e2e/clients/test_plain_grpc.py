"""The client in docs/grpc.md: 20 lines that need the protos and grpcio, and no Milepost."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.e2e.stack import ROOT, StackProcess
from tests.support.programs.guides import block

pytestmark = pytest.mark.timeout(300)

# What `pip install grpcio grpcio-tools` brings.
PACKAGES = (
    "grpc",
    "grpc_tools",
    "google/protobuf",
    "google/_upb",
    "typing_extensions.py",
    "pkg_resources",
    "setuptools",
)


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python of its own with grpcio and grpcio-tools, taken from this one instead of the network."""
    folder = tmp_path / "venv"
    venv.create(folder, symlinks=True)
    source = Path(sysconfig.get_path("purelib"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    target = folder / "lib" / version / "site-packages"
    (target / "google").mkdir()
    for name in PACKAGES:
        if (source / name).exists():
            (target / name).symlink_to(source / name)
    return folder / "bin" / "python"


def test_twenty_lines_of_plain_grpc_start_watch_and_stop_a_run(
    stack: StackProcess, bare_python: Path, tmp_path: Path
) -> None:
    script = block("docs/grpc.md", "python", "import grpc")
    assert len([line for line in script.splitlines() if line.strip()]) <= 20
    (tmp_path / "client.py").write_text(script.replace("127.0.0.1:8471", stack.endpoints.runtime))
    (tmp_path / "config.yaml").write_text(block("README.md", "yaml", "entrypoint"))
    (tmp_path / "train.py").write_text(block("README.md", "python", "def train"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MILEPOST_"))}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(bare_python), *command],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    absent = run("-c", "import milepost")
    assert "ModuleNotFoundError" in absent.stderr, "this Python has no Milepost"
    protos = [str(path) for path in (ROOT / "protos").rglob("*.proto")]
    generated = run("-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", "--python_out=.", "--grpc_python_out=.", *protos)
    assert generated.returncode == 0, generated.stderr

    done = run("client.py")

    assert done.returncode == 0, done.stderr
    assert "RUNTIME_STATUS_STARTED" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("RUNTIME_STATUS_ABORTED RUNTIME_PHASE_ENDED")
