"""Fail if requirements.lock does not pin, with hashes, what pyproject.toml asks for directly."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKED_EXTRAS = ("server", "trainer", "dev", "bench")
# Installed apart, see the Makefile.
APART = {"torch"}


def wanted() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in LOCKED_EXTRAS for line in project["optional-dependencies"][extra]),
    ]
    return [Requirement(line) for line in lines]


def pinned() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text()
    return {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^ ;]+).*\\$", text, re.MULTILINE)
    }


def problems() -> list[str]:
    versions = pinned()
    found = []
    for requirement in wanted():
        name = canonicalize_name(requirement.name)
        if name in APART:
            continue
        if name not in versions:
            found.append(f"{requirement} is not in the lock")
        elif not requirement.specifier.contains(versions[name], prereleases=True):
            found.append(f"{requirement} is locked at {versions[name]}")
    return found


if __name__ == "__main__":
    if found := problems():
        raise SystemExit(
            "requirements.lock is not up to date, run `make lock`:\n" + "\n".join(f"  {line}" for line in found)
        )
