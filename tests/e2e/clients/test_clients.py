"""Clients that other people's generators make of the contract compile, and take a run from its start to its deletion.

Run by `make test-clients`, which installs the generators. The commands are those of docs/http.md and docs/grpc.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.runs import PACED_STEPS, paced
from tests.e2e.stack import ROOT, StackProcess
from tests.support.programs.guides import block

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

PROGRAMS = ROOT / "tests" / "assets" / "clients"
MODULES = ROOT / "deploy" / "clients" / "node_modules"
PYTHON = ROOT / ".venv-clients" / "bin"
COMMAND_SECONDS = 300
STEP_SECONDS = 0.05


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of somebody else: the protos, the programs, and the packages they need."""
    assert MODULES.exists() and PYTHON.exists(), "run it by `make test-clients`, which installs the generators"
    project = tmp_path / "project"
    shutil.copytree(PROGRAMS, project)
    (project / "protos").symlink_to(ROOT / "protos")
    (project / "node_modules").symlink_to(MODULES)
    (project / "package.json").write_text('{"type": "module"}')
    return project


def run(folder: Path, *command: str | Path) -> str:
    """Run a command of a foreign project, with what is generated and installed for it, and nothing of Milepost."""
    path = os.pathsep.join([str(MODULES / ".bin"), str(Path(sys.executable).parent), str(PYTHON), os.environ["PATH"]])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MILEPOST_"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder, env={**environment, "PATH": path, "PYTHONPATH": "milepost-client"},
        capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-8_000:]
    return done.stdout


def generate(folder: Path, page: str, generator: str, stack: StackProcess) -> None:
    """Do what a page says to generate a client, against this stack."""
    script = block(page, "sh", generator).replace("http://127.0.0.1:8470", stack.endpoints.gateway)
    commands = [line for line in script.splitlines() if not line.startswith(("pip install", "npm install"))]
    run(folder, "bash", "-euc", "\n".join(commands))


def compile_typescript(folder: Path) -> None:
    """Compile with the compiler of today; the one that the generators need is older."""
    run(folder, "node", MODULES / "typescript-7" / "bin" / "tsc", "-p", ".")


def assert_whole(seen: dict[str, Any], words: tuple[str, str], stack: StackProcess) -> None:
    """The client has seen the run stopped and completed, each step once, and gone: as it was."""
    assert seen["statuses"] == list(words)
    assert seen["steps"] == list(range(1, PACED_STEPS + 1))
    assert len(seen["values"]) == PACED_STEPS
    assert seen["every_steps"] == 10
    assert seen["after_delete"] == "NOT_FOUND"
    types = [event.type for event in stack.events(f"runtimes/{seen['runtime_id']}")]
    for asked in ("stop", "resume", "delete"):
        assert types.count(f"milepost.runtime.{asked}_requested.v1") == 1, types


def test_the_client_of_openapi_python_client(stack: StackProcess, folder: Path) -> None:
    generate(folder, "docs/http.md", "openapi-python-client", stack)
    program = (PYTHON / "python", "openapi_client.py", stack.endpoints.gateway, paced("python", STEP_SECONDS))
    assert_whole(json.loads(run(folder, *program)), ("Aborted", "Completed"), stack)


def test_the_client_of_openapi_typescript(stack: StackProcess, folder: Path) -> None:
    (folder / "grpc_client.ts").unlink()
    generate(folder, "docs/http.md", "openapi-typescript", stack)
    compile_typescript(folder)
    program = ("node", "out/openapi_client.js", stack.endpoints.gateway, paced("typescript", STEP_SECONDS))
    assert_whole(json.loads(run(folder, *program)), ("Aborted", "Completed"), stack)


def test_the_client_of_ts_proto(stack: StackProcess, folder: Path) -> None:
    (folder / "openapi_client.ts").unlink()
    generate(folder, "docs/grpc.md", "ts_proto", stack)
    compile_typescript(folder)
    known = stack.endpoints
    addresses = (known.runtime, known.trials, known.metrics)
    program = ("node", "out/grpc_client.js", *addresses, paced("grpc", STEP_SECONDS))
    words = ("RUNTIME_STATUS_ABORTED", "RUNTIME_STATUS_COMPLETED")
    assert_whole(json.loads(run(folder, *program)), words, stack)
