"""The definitions of the tables of an embedded ClickHouse, kept a second time: it does not open without every one of them.

They are small files of SQL, `metadata/*.sql` and `store/*/*/*.sql` below its folder of data, and change only while a store
is opened. A copy of them stands beside, `definitions.json`. Where ClickHouse does not open, the files that differ from the
copy are put back, after what was there is set aside.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from milepost import files

FILE = "definitions.json"

log = logging.getLogger(__name__)


class Definitions:
    """The copy of one directory. Its caller owns the directory."""

    def __init__(self, directory: Path) -> None:
        self._data = directory / "data"
        self._copy = directory / FILE

    def keep(self) -> None:
        """Copy the definitions as they are. A disk that is full is logged: then there is no copy."""
        found = {str(path.relative_to(self._data)): path.read_text() for path in self._paths()}
        content = json.dumps(found)
        try:
            files.write(self._copy, json.dumps({"sha256": _hash(content), "files": found}), mode=0o600)
        except OSError as error:
            log.warning("definitions.not_kept", extra={"error": str(error)})

    def forget(self) -> None:
        """Remove the copy, before definitions change: one that is old must never be put back."""
        self._copy.unlink(missing_ok=True)

    def restore(self) -> list[Path]:
        """Put back what differs from the copy. Returns which files: none where there is no copy, or it is damaged."""
        try:
            kept = json.loads(self._copy.read_bytes())
            found = {self._data / name: str(text) for name, text in kept["files"].items()}
            if _hash(json.dumps(kept["files"])) != kept["sha256"]:
                raise ValueError("its checksum does not match")
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("definitions.unreadable", extra={"path": str(self._copy), "error": str(error)})
            return []
        restored = []
        for path, text in found.items():
            if not path.exists() or path.read_bytes() != text.encode():
                if path.exists():
                    # ClickHouse does not open either with a file of another name there.
                    files.set_aside(path, "ClickHouse does not open with it", self._copy.parent)
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write(path, text, mode=0o640)
                restored.append(path)
        return restored

    def _paths(self) -> list[Path]:
        return sorted([*self._data.glob("metadata/*.sql"), *self._data.glob("store/*/*/*.sql")])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
