"""The one vocabulary of errors. Each transport has one table from these to its own codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with the input: the path of the field, and what was expected of it."""

    field: str
    description: str


class MilepostError(Exception):
    """Base of all errors that callers may see.

    `reason` is stable and in UPPER_SNAKE_CASE; the message is for people.
    """

    reason = "UNKNOWN"

    def __init__(self, message: str, *, reason: str | None = None, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason
        self.metadata = dict(metadata or {})


class InvalidArgument(MilepostError):
    """The input is wrong whatever the state. Carries every violation at once."""

    reason = "INVALID_ARGUMENT"

    def __init__(
        self, violations: Iterable[Violation], message: str | None = None, *, reason: str | None = None
    ) -> None:
        self.violations = tuple(violations)
        text = message or "; ".join(f"{v.field}: {v.description}" for v in self.violations)
        super().__init__(text, reason=reason)


class NotFound(MilepostError):
    reason = "NOT_FOUND"


class AlreadyExists(MilepostError):
    reason = "ALREADY_EXISTS"


class FailedPrecondition(MilepostError):
    """The state does not allow it. Retrying does not help until the state changes."""

    reason = "FAILED_PRECONDITION"


class Aborted(MilepostError):
    """The race was lost after a bounded number of tries. The caller may retry the whole operation."""

    reason = "CONCURRENT_UPDATE"


class OutOfRange(MilepostError):
    reason = "OUT_OF_RANGE"


class ResourceExhausted(MilepostError):
    """A size, rate, quota or disk is used up, or what was asked for can never fit."""

    reason = "RESOURCE_EXHAUSTED"


class Unauthenticated(MilepostError):
    reason = "UNAUTHENTICATED"


class PermissionDenied(MilepostError):
    reason = "PERMISSION_DENIED"


class Unavailable(MilepostError):
    """Something this depends on is down. The caller may retry."""

    reason = "UNAVAILABLE"


class Unimplemented(MilepostError):
    reason = "UNIMPLEMENTED"


class DeadlineExceeded(MilepostError):
    reason = "DEADLINE_EXCEEDED"
