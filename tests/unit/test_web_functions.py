"""The pure functions of the page, run by Node: each file of tests/unit/web is a set of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from deploy.vendor_web import node

FOLDER = Path(__file__).parent / "web"
WEB = Path(__file__).resolve().parent.parent.parent / "services" / "gateway" / "web"


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


def test_every_module_of_the_page_is_checked_by_the_compiler() -> None:
    """`make lint` reads the types of all of them, and an editor too."""
    modules = [path for path in WEB.rglob("*.js") if "vendor" not in path.relative_to(WEB).parts]
    assert len(modules) > 80
    assert [path.name for path in modules if not path.read_text().startswith("// @ts-check\n")] == []
    quiet = [path.name for path in modules if re.search(r"@ts-(ignore|nocheck|expect-error)", path.read_text())]
    assert quiet == [], "what the compiler says is mended, not silenced"
