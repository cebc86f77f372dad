"""Resource names as requests give them, taken apart or refused."""

from __future__ import annotations

import re

from milepost.errors import InvalidArgument, Violation

_ID = r"[a-z0-9][a-z0-9_-]{0,62}"
_RUNTIME = re.compile(rf"runtimes/({_ID})")
_TRIAL = re.compile(rf"runtimes/({_ID})/trials/([1-9][0-9]{{0,8}})")
ALL = "runtimes/-"


def runtime_id(name: str, field: str = "name") -> str:
    """Return the id in `runtimes/{id}`.

    Raises:
        InvalidArgument: it is not such a name.
    """
    match = _RUNTIME.fullmatch(name)
    if match is None:
        raise InvalidArgument([Violation(field, f"must be runtimes/{{id}} with an id of {_ID}, not {name[:80]!r}")])
    return match[1]


def trial_name(name: str, field: str = "name") -> tuple[str, int]:
    """Return the id and the number in `runtimes/{id}/trials/{number}`.

    Raises:
        InvalidArgument: it is not such a name.
    """
    match = _TRIAL.fullmatch(name)
    if match is None:
        raise InvalidArgument([Violation(field, f"must be runtimes/{{id}}/trials/{{number}}, not {name[:80]!r}")])
    return match[1], int(match[2])


def runtime_or_trial(name: str, field: str = "parent") -> tuple[str, int]:
    """Return the id, and the number of the trial or 0, in the name of a runtime or of a trial."""
    return trial_name(name, field) if "/trials/" in name else (runtime_id(name, field), 0)


def runtime_or_all(name: str, field: str = "parent") -> str:
    """Return the id in `runtimes/{id}`; empty for `runtimes/-`."""
    return "" if name == ALL else runtime_id(name, field)
