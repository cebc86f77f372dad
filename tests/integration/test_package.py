"""What is shipped: one wheel with the page's files and the protos, light to install and light to import."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
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


def test_installing_the_library_alone_pulls_nothing_heavy(wheel: zipfile.ZipFile) -> None:
    (path,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    metadata = Parser().parsestr(wheel.read(path).decode())
    always = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]

    assert len(always) < 10
    assert not [line for line in always if line.startswith(HEAVY)]


@pytest.mark.parametrize("module", ["milepost", "milepost.client", "milepost.cli", "milepost.domain"])
def test_importing_the_library_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
