"""The programs of `docs/guides`, before and after, and running them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GUIDES = ROOT / "docs" / "guides"
SECONDS = 300.0


@dataclass(frozen=True)
class Guide:
    """A program as a page shows it."""

    before: str
    after: str


def read_guide(name: str, folder: Path) -> Guide:
    """Read the program of a page, and make the one after by applying the page's diff."""
    text = (GUIDES / f"{name}.md").read_text()
    before = re.search(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    diff = re.search(r"^```diff\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert before is not None and diff is not None, f"{name}.md has a program and a diff"
    (folder / "train.py").write_text(before[1])
    applied = subprocess.run(
        ["git", "apply", "-"], input=diff[1], text=True, cwd=folder, capture_output=True,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}, check=False,
    )  # fmt: skip
    assert applied.returncode == 0, f"the diff of {name}.md does not apply: {applied.stderr}"
    after = (folder / "train.py").read_text()
    assert after != before[1]
    return Guide(before[1], after)


def run_program(
    program: str, folder: Path, environment: dict[str, str], python: str = sys.executable, launch: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder of its own, as a user would."""
    (folder / "train.py").write_text(program)
    return subprocess.run(
        [python, *launch, "train.py"], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
