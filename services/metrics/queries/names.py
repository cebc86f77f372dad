"""Reading what callers name: resources, series, moments. Bad input is collected, so that all of it is said at once."""

from __future__ import annotations

from collections.abc import Sequence

from milepost import names, series_names
from milepost.errors import InvalidArgument, Violation
from services.metrics.storage.selection import TrialRef

MAX_PARENTS = 50
MAX_KEYS = 100


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
        found = names.match_trial(name)
        if found is None:
            self.refuse(field, names.refused(name, names.TRIAL_FORM))
            return TrialRef("", 0)
        return TrialRef(*found)

    def trials(self, field: str, given: Sequence[str]) -> list[TrialRef]:
        if not 1 <= len(given) <= MAX_PARENTS:
            self.refuse(field, f"must have 1 to {MAX_PARENTS} names")
        found = [self.trial(f"{field}[{index}]", name) for index, name in enumerate(given[:MAX_PARENTS])]
        return list(dict.fromkeys(found))

    def runtime(self, field: str, name: str) -> str:
        runtime_id = names.match_runtime(name)
        if runtime_id is None:
            self.refuse(field, names.refused(name, names.RUNTIME_FORM))
        return runtime_id or ""

    def runtime_or_trial(self, field: str, name: str) -> TrialRef:
        """Trial 0: the whole runtime."""
        runtime_id, trial = names.match_runtime(name), names.match_trial(name)
        if trial is not None:
            return TrialRef(*trial)
        if runtime_id is None:
            self.refuse(field, names.refused(name, names.RUNTIME_FORM, names.TRIAL_FORM))
        return TrialRef(runtime_id or "", 0)

    def keys(self, field: str, keys: Sequence[str], *, required: bool) -> list[str]:
        if required and not keys:
            self.refuse(field, "must have at least one key")
        if len(keys) > MAX_KEYS:
            self.refuse(field, f"must have at most {MAX_KEYS} keys")
        found: list[str] = []
        for index, key in enumerate(keys[:MAX_KEYS]):
            try:
                found.append(series_names.parse(key))
            except series_names.BadName as error:
                self.refuse(f"{field}[{index}]", f"must be {series_names.FORM}: {error}")
        return list(dict.fromkeys(found))

    def number(self, field: str, value: int, low: int, high: int) -> int:
        if not low <= value <= high:
            self.refuse(field, f"must be {low:,} to {high:,}")
        return value
