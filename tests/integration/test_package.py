"""What is shipped: one wheel with the page's files and the protos, light to install and light to import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# All that `pip install milepost` may bring, what is brought in turn included.
LIGHT = {
    "cffi", "click", "googleapis-common-protos", "grpcio", "grpcio-health-checking", "grpcio-status", "nats-py", "nkeys",
    "protobuf", "pycparser", "pynacl", "pyyaml", "typing-extensions",
}  # fmt: skip
HEAVY = ("ray", "torch", "chdb", "clickhouse_connect", "pyarrow", "numpy", "starlette")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_has_all_packages_the_protos_and_the_page(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())

    for name in (
        "milepost/client.py",
        "milepost/api/runtime/v1/runtime_service_pb2.py",
        "milepost/protos/milepost/api/runtime/v1/runtime_service.proto",
        "services/runtime/__init__.py",
        "services/gateway/web/index.html",
        "services/gateway/web/vendor/uplot.js",
        "trainer/__init__.py",
    ):
        assert name in names, name
    assert not [name for name in names if name.startswith(("tests/", "docs/")) or "__pycache__" in name]


def test_a_source_distribution_has_the_page_and_makes_a_wheel_without_network(tmp_path: Path) -> None:
    _build(ROOT, "sdist", tmp_path)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (one for one in tmp_path.iterdir() if one.is_dir())
    assert (source / "services/gateway/web/vendor/uplot.js").is_file()

    done = _build(source, "wheel", tmp_path, PATH=_without_npm(tmp_path))

    assert done.returncode == 0, done.stderr
    (built,) = tmp_path.glob("*.whl")
    assert "services/gateway/web/vendor/uplot.js" in zipfile.ZipFile(built).namelist()


def test_without_the_files_of_the_page_no_wheel_is_built(tmp_path: Path) -> None:
    """As of a fresh clone on a machine whose npm reaches no registry."""
    source = tmp_path / "clone"
    ignored = shutil.ignore_patterns("vendor", "node_modules", "__pycache__", ".*", "tests", "docs", "findings")
    shutil.copytree(ROOT, source, ignore=ignored)

    done = _build(source, "wheel", tmp_path, PATH=_without_npm(tmp_path))

    assert done.returncode != 0 and not list(tmp_path.glob("*.whl"))
    assert "the page's files are missing and could not be fetched: npm ci failed" in done.stderr


def test_installing_the_library_alone_pulls_nothing_heavy(wheel: zipfile.ZipFile) -> None:
    (path,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    metadata = Parser().parsestr(wheel.read(path).decode())
    always = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]

    pulled: set[str] = set()
    waiting = {Requirement(line).name for line in always}
    while waiting:
        pulled.add(name := canonicalize_name(waiting.pop()))
        needed = [Requirement(line) for line in requires(name) or [] if "extra ==" not in line]
        waiting |= {one.name for one in needed if one.marker is None or one.marker.evaluate()} - pulled

    # What comes in total, because a package that another one brings anyway weighs nothing.
    assert pulled <= LIGHT, pulled - LIGHT


def _build(source: Path, kind: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)],
        cwd=source, check=False, capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


def _without_npm(folder: Path) -> str:
    """A PATH on which npm is found, and fails."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("npm", "node"):
        (programs / name).write_text("#!/bin/sh\necho no registry >&2\nexit 1\n")
        (programs / name).chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


@pytest.mark.parametrize("module", ["milepost", "milepost.client", "milepost.cli", "milepost.domain"])
def test_importing_the_library_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
