"""Reading what callers name: resources, series, moments. Bad input is collected, so that all of it is said at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from milepost.errors import InvalidArgument, Violation
from services.metrics.selection import TrialRef

_TRIAL = re.compile(r"runtimes/([a-z0-9][a-z0-9_-]{0,62})/trials/([1-9][0-9]{0,8})")
_RUNTIME = re.compile(r"runtimes/([a-z0-9][a-z0-9_-]{0,62})")
_KEY = re.compile(r"[A-Za-z0-9_./-]{1,128}")

MAXIMUM_PARENTS = 50
MAXIMUM_KEYS = 100


class Checker:
    """Collects what is wrong with a request."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def refuse(self, field: str, description: str) -> None:
        self.violations.append(Violation(field, description))

    def finish(self) -> None:
        """Raise `InvalidArgument` with everything that was refused."""
        if self.violations:
            raise InvalidArgument(self.violations)

    def trial(self, field: str, name: str) -> TrialRef:
        match = _TRIAL.fullmatch(name)
        if match is None:
            self.refuse(field, "must be runtimes/{runtime_id}/trials/{trial}")
            return TrialRef("", 0)
        return TrialRef(match[1], int(match[2]))

    def trials(self, field: str, names: Sequence[str]) -> list[TrialRef]:
        if not 1 <= len(names) <= MAXIMUM_PARENTS:
            self.refuse(field, f"must have 1 to {MAXIMUM_PARENTS} names")
        found = [self.trial(f"{field}[{index}]", name) for index, name in enumerate(names[:MAXIMUM_PARENTS])]
        return list(dict.fromkeys(found))

    def runtime(self, field: str, name: str) -> str:
        match = _RUNTIME.fullmatch(name)
        if match is None:
            self.refuse(field, "must be runtimes/{runtime_id}")
            return ""
        return match[1]

    def runtime_or_trial(self, field: str, name: str) -> TrialRef:
        """Trial 0: the whole runtime."""
        runtime, trial = _RUNTIME.fullmatch(name), _TRIAL.fullmatch(name)
        if trial is not None:
            return TrialRef(trial[1], int(trial[2]))
        if runtime is not None:
            return TrialRef(runtime[1], 0)
        self.refuse(field, "must be runtimes/{runtime_id} or runtimes/{runtime_id}/trials/{trial}")
        return TrialRef("", 0)

    def keys(self, field: str, keys: Sequence[str], *, required: bool) -> list[str]:
        if required and not keys:
            self.refuse(field, "must have at least one key")
        if len(keys) > MAXIMUM_KEYS:
            self.refuse(field, f"must have at most {MAXIMUM_KEYS} keys")
        for index, key in enumerate(keys[:MAXIMUM_KEYS]):
            if not _KEY.fullmatch(key):
                self.refuse(f"{field}[{index}]", "must be 1 to 128 letters, digits or _ . / -")
        return list(dict.fromkeys(keys))

    def number(self, field: str, value: int, low: int, high: int) -> int:
        if not low <= value <= high:
            self.refuse(field, f"must be {low:,} to {high:,}")
        return value
