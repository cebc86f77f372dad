"""The programs of `docs/guides`, before and after, and running them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent.parent
GUIDES = ROOT / "docs" / "guides"
SECONDS = 300.0


@dataclass(frozen=True)
class Guide:
    """A program as a page shows it."""

    before: str
    after: str


def block(page: str, language: str, containing: str) -> str:
    """Return the block of code of a page (a path in the repository) that has a line like this."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    return str(next(text for text in blocks if containing in text))


def read_guide(name: str, folder: Path) -> Guide:
    """Read the program of a page, and make the one after by applying the page's diff."""
    text = (GUIDES / f"{name}.md").read_text()
    before = re.search(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    diff = re.search(r"^```diff\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert before is not None and diff is not None, f"{name}.md has a program and a diff"
    return Guide(before[1], apply_diff(before[1], diff[1], "train.py", folder))


def apply_diff(program: str, diff: str, name: str, folder: Path) -> str:
    """Return a program with a diff applied that names it so."""
    (folder / name).write_text(program)
    applied = subprocess.run(
        ["git", "apply", "-"], input=diff, text=True, cwd=folder, capture_output=True,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}, check=False,
    )  # fmt: skip
    assert applied.returncode == 0, f"the diff of {name} does not apply: {applied.stderr}"
    after = (folder / name).read_text()
    assert after != program
    return after


def run_program(
    program: str,
    folder: Path,
    environment: dict[str, str],
    python: str = sys.executable,
    launch: tuple[str, ...] = (),
    arguments: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder of its own, as a user would."""
    (folder / "train.py").write_text(program)
    return subprocess.run(
        [python, *launch, "train.py", *arguments], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
