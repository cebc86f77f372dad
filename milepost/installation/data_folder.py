"""Which data folder a command, a service, a client or a script means: one rule for all of them.

It is the one that is named (`--data-dir`, `data_dir=`), else `MILEPOST_DATA_DIR`, else `data_dir` in the file that
`MILEPOST_CONFIG` names, else `./.milepost` where that folder exists, else `~/.milepost`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "MILEPOST_DATA_DIR"
CONFIG_VARIABLE = "MILEPOST_CONFIG"
HERE = Path(".milepost")
OF_THE_USER = Path("~/.milepost")

FLAG, ENVIRONMENT, FILE, FOLDER, DEFAULT = "flag", "environment", "file", "this folder", "default"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """An absolute path, and which part of the rule gave it: one of the constants of this module."""

    path: Path
    origin: str

    def said(self) -> str:
        """Say in a line which folder was found; empty where it is the default, or named by an option or a variable."""
        why = {
            FILE: f"named by the file in {CONFIG_VARIABLE}",
            FOLDER: "found in this folder",
        }.get(self.origin, "")
        return f"data folder {self.path} ({why})" if why else ""


def find(named: str | Path | None = None, environment: Mapping[str, str] = os.environ) -> DataFolder:
    """Return the data folder. Nothing is made.

    Raises:
        InvalidSettings: the file that `MILEPOST_CONFIG` names is not readable.
    """
    if named:
        return DataFolder(_absolute(named), FLAG)
    if environment.get(VARIABLE):
        return DataFolder(_absolute(environment[VARIABLE]), ENVIRONMENT)
    if environment.get(CONFIG_VARIABLE):
        # Imports a parser of YAML, which most clients need not have loaded.
        from milepost.installation.settings import read_file

        in_file = read_file(environment[CONFIG_VARIABLE]).get("data_dir")
        if in_file:
            return DataFolder(_absolute(str(in_file)), FILE)
    return unnamed()


def unnamed() -> DataFolder:
    """Return the data folder that is used where none is named: that of this folder, else the user's."""
    return DataFolder(_absolute(HERE), FOLDER) if HERE.is_dir() else DataFolder(_absolute(OF_THE_USER), DEFAULT)


def _absolute(path: str | Path) -> Path:
    return Path(_expanded(path)).absolute()


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        # No home: a user without an entry, and HOME is not set.
        return Path(str(path).replace("~", str(Path.cwd()), 1))
