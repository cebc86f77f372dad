"""Programs of the pages for people who have nothing of Milepost, run with the packages only that the page names."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.programs.guides import ROOT, block

_RUN = """
import json, runpy, sys

class Missing:
    # As where nothing else is installed.
    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing(frozenset(json.loads(sys.argv[1]))))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def packages_named(page: str, before: str) -> str:
    """Return what the `pip install` says that stands last before a text of a page."""
    text = (ROOT / page).read_text()
    return re.findall(r"pip install '?([^'`\s]+)", text[: text.index(before)])[-1]


def _with_dependencies(text: str, seen: set[str]) -> Iterator[str]:
    requirement = Requirement(text)
    for extra in ("", *sorted(requirement.extras)):
        if (known := f"{canonicalize_name(requirement.name)}[{extra}]") in seen:
            continue
        seen.add(known)
        yield canonicalize_name(requirement.name)
        for line in importlib.metadata.requires(requirement.name) or []:
            marker = Requirement(line).marker
            if marker is None or marker.evaluate({"extra": extra}):
                yield from _with_dependencies(line.partition(";")[0], seen)


def run_program_of(page: str, containing: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Extract a program from a page and run it where only the packages that the page names are installed."""
    program = block(page, "python", containing)
    assert "import milepost" not in program
    path = folder / "program.py"
    path.write_text(program)
    installed = set(_with_dependencies(packages_named(page, containing), set()))
    modules = importlib.metadata.packages_distributions()
    missing = [name for name, owners in modules.items() if not installed & set(map(canonicalize_name, owners))]
    return subprocess.run(
        [sys.executable, "-I", "-c", _RUN, json.dumps(missing), str(path), *arguments],
        capture_output=True, text=True, timeout=60, cwd=folder, check=False,
    )  # fmt: skip
