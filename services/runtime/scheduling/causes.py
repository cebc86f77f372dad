"""Because of what the scheduler does something."""

from __future__ import annotations

from collections.abc import Mapping

from services.runtime.decisions import Cause
from services.runtime.readmodel.view import Reference

ACTOR = "service:scheduler"


def because_of(reference: Reference | None) -> Cause:
    """Return an event as a cause: what is done because of it belongs to its trace, too."""
    return Cause(ACTOR, reference.event_id, reference.traceparent) if reference is not None else Cause(ACTOR)


def behind(last: Mapping[str, Reference], *names: str) -> Cause:
    """Return the newest of some events as a cause. None of them: nothing but the scheduler itself."""
    return because_of(max((last[name] for name in names if name in last), key=lambda r: r.sequence, default=None))
