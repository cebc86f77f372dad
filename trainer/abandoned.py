"""What earlier attempts of a trial began to save and never committed: it takes room, and nobody will restore it."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable

from milepost.errors import MilepostError
from milepost.storage import below, folder_of

log = logging.getLogger(__name__)

# A snapshot, or a draft of one: `.step-000000000200-a1.4711.partial`, or `.ranks.` in place of the process.
_NAME = re.compile(r"\.?(step-\d{12}-a([1-9]\d*))(?:\.(?:\d+|ranks)\.partial)?")


def abandoned(names: Iterable[str], attempt: int, committed: Collection[str]) -> list[str]:
    """List the folders that earlier attempts left and that no event names.

    Every earlier attempt is fenced or has ended, so nothing of it will be committed any more.
    """
    found = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None and int(match[2]) < attempt and (name.startswith(".") or match[1] not in committed):
            found.append(name)
    return found


def remove_abandoned(storage_uri: str, attempt: int, committed: Collection[str]) -> None:
    """Remove what earlier attempts left in the snapshot folder of a trial. What cannot be removed stays."""
    try:
        for name in abandoned(folder_of(storage_uri).folders(), attempt, committed):
            folder_of(below(storage_uri, name)).remove()
            log.info("snapshot.abandoned_removed", extra={"folder": name})
    except (OSError, MilepostError) as error:
        log.warning("snapshot.abandoned_not_removed", extra={"uri": storage_uri, "error": str(error)})
