"""Names of resources: `runtimes/{runtime_id}`, and `runtimes/{runtime_id}/trials/{trial}` below it; and who writes for one.

One place that makes them, takes them apart and refuses what is none, for every service and client.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from milepost.api.telemetry.v1.telemetry_pb2 import Sender
from milepost.errors import InvalidArgument, Violation
from milepost.eventlog import attempt_subject, trial_chain
from milepost.ids import TOKEN

ALL = "runtimes/-"
RUNTIME = re.compile(rf"runtimes/({TOKEN.pattern})")
TRIAL = re.compile(rf"runtimes/({TOKEN.pattern})/trials/([1-9][0-9]{{0,8}})")
RUNTIME_FORM = "runtimes/{runtime_id}"
TRIAL_FORM = "runtimes/{runtime_id}/trials/{trial}"


def trial_name(runtime_id: str, trial: int) -> str:
    return f"runtimes/{runtime_id}/trials/{trial}"


def match_runtime(name: str) -> str | None:
    """Return the id in the name of a runtime; None: it is not one."""
    found = RUNTIME.fullmatch(name)
    return found[1] if found else None


def match_trial(name: str) -> tuple[str, int] | None:
    """Return the id and the number in the name of a trial; None: it is not one."""
    found = TRIAL.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def refused(name: str, *forms: str) -> str:
    """Return the words for a name that has none of some forms."""
    return f"must be {' or '.join(forms)}, not {name[:80]!r}"


def refusal(field: str, name: str, *forms: str) -> InvalidArgument:
    """Return the error for a name that has none of some forms."""
    return InvalidArgument([Violation(field, refused(name, *forms))])


def parse_runtime(name: str, field: str = "name") -> str:
    """Return the id in the name of a runtime.

    Raises:
        InvalidArgument: it is not such a name.
    """
    runtime_id = match_runtime(name)
    if runtime_id is None:
        raise refusal(field, name, RUNTIME_FORM)
    return runtime_id


def parse_trial(name: str, field: str = "name") -> tuple[str, int]:
    """Return the id and the number in the name of a trial.

    Raises:
        InvalidArgument: it is not such a name.
    """
    found = match_trial(name)
    if found is None:
        raise refusal(field, name, TRIAL_FORM)
    return found


def parse_runtime_or_trial(name: str, field: str = "parent") -> tuple[str, int]:
    """Return the id, and the number of the trial or 0, in the name of a runtime or of a trial.

    Raises:
        InvalidArgument: it is neither.
    """
    found = match_trial(name)
    if found is not None:
        return found
    runtime_id = match_runtime(name)
    if runtime_id is None:
        raise refusal(field, name, RUNTIME_FORM, TRIAL_FORM)
    return runtime_id, 0


def parse_runtime_or_all(name: str, field: str = "parent") -> str:
    """Return the id in the name of a runtime; empty for `runtimes/-`.

    Raises:
        InvalidArgument: it is neither.
    """
    return "" if name == ALL else parse_runtime(name, field)


@dataclass(frozen=True, slots=True)
class AttemptKey:
    """One attempt of a trial: who writes on its subject, and below its folder."""

    runtime_id: str
    trial: int
    attempt: int

    @property
    def chain(self) -> str:
        return trial_chain(self.runtime_id, self.trial)

    @property
    def subject(self) -> str:
        return attempt_subject(self.runtime_id, self.trial, self.attempt)

    @property
    def source(self) -> str:
        return f"/{trial_name(self.runtime_id, self.trial)}/attempts/{self.attempt}"

    def is_of(self, sender: Sender) -> bool:
        """Return whether a sender is a process of this attempt."""
        return (sender.runtime_id, sender.trial, sender.attempt) == (self.runtime_id, self.trial, self.attempt)

    def may_send(self, sender: Sender) -> bool:
        """Return whether telemetry of a sender may lie in the folder of this attempt: also that of earlier ones."""
        return (sender.runtime_id, sender.trial) == (self.runtime_id, self.trial) and sender.attempt <= self.attempt

    def directory(self, data_dir: Path) -> Path:
        """Return the folder of the attempt below a data directory."""
        return data_dir / "runtimes" / self.runtime_id / f"trial-{self.trial}" / f"attempt-{self.attempt}"
