"""Fail if a lock file does not pin, with hashes, what pyproject.toml asks for directly, or the two pin otherwise."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
# What each file holds, besides the dependencies of the library.
LOCKS = {
    "requirements.lock": ("server", "trainer"),
    "requirements-dev.lock": ("server", "trainer", "dev", "bench"),
}
# Installed apart, see the Makefile.
APART = {"torch"}


def wanted(extras: tuple[str, ...]) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines]


def pinned(lock: str) -> dict[str, str]:
    return {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^ ;]+).*\\$", (ROOT / lock).read_text(), re.MULTILINE)
    }


def problems() -> list[str]:
    found = []
    for lock, extras in LOCKS.items():
        versions = pinned(lock)
        for requirement in wanted(extras):
            name = canonicalize_name(requirement.name)
            if name in APART:
                continue
            if name not in versions:
                found.append(f"{requirement} is not in {lock}")
            elif not requirement.specifier.contains(versions[name], prereleases=True):
                found.append(f"{requirement} is {versions[name]} in {lock}")
    run, dev = (pinned(lock) for lock in LOCKS)
    found += [f"{name} is {run[name]} to run and {dev.get(name)} to test" for name in run if dev.get(name) != run[name]]
    return found


if __name__ == "__main__":
    if found := problems():
        raise SystemExit(
            "the lock files are not up to date, run `make lock`:\n" + "\n".join(f"  {line}" for line in found)
        )
