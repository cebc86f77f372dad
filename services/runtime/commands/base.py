"""What the commands on runtimes have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from milepost import configuration as configurations
from milepost.errors import Aborted, InvalidArgument, MilepostError, Violation
from milepost.installation import observability
from milepost.security.redaction import Redactor
from services.access.authentication import COMMAND_RATE, current_caller
from services.rpc.limits import RateLimiter
from services.runtime.commands.preflight import Preflight
from services.runtime.commands.request_ids import Requests, Reservation
from services.runtime.decisions import Cause, Decisions
from services.runtime.readmodel.events import Events
from services.runtime.readmodel.queries import RuntimeQueries
from services.runtime.readmodel.view import RuntimeView
from services.runtime.readmodel.views import Views
from services.runtime.scheduling.steps import Steps
from services.runtime.searching.importances import ImportanceReader
from services.runtime.snapshots import SnapshotStorage

# Configurations that are checked and start nothing count as so many more commands: ten a second of one caller, in the end.
# They cost others as much as commands do, and nothing else holds back who sends them.
COST_IN_VAIN = 49.0
Commands = Mapping[int | None, list[object]]


class RuntimeCommands(RuntimeQueries):
    """What every command on a runtime needs: the views that it is decided on, and how it is decided once."""

    def __init__(
        self,
        views: Views,
        decisions: Decisions,
        requests: Requests,
        preflight: Preflight,
        storage: SnapshotStorage,
        events: Events,
        steps: Steps,
        importances: ImportanceReader,
        restore_window: timedelta = timedelta(),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(views, events, views.queue.position, importances.answer)
        self._decisions = decisions
        self._requests = requests
        self._preflight = preflight
        self._storage = storage
        self._steps = steps
        self._restore_window = restore_window
        self._clock = clock
        self._checks = RateLimiter(COMMAND_RATE)

    @asynccontextmanager
    async def _charging(self, validates_only: bool) -> AsyncIterator[None]:
        """Check something in a block, in the caller's turn. What starts nothing counts for more than a start."""
        actor = current_caller().actor
        await self._checks.wait_turn(actor)
        try:
            yield
        except MilepostError:
            self._checks.charge(actor, COST_IN_VAIN)
            raise
        if validates_only:
            self._checks.charge(actor, COST_IN_VAIN)

    async def _decide_once(self, request: Any, runtime_id: str, commands: Commands) -> Reservation:
        """Decide the commands of a request in its name, unless the same was done before under the same id."""

        async def act(runtime_id: str) -> int:
            return (await self._decisions.decide(runtime_id, commands, behind(request))).sequence

        return await self._requests.once(request, current_caller().actor, runtime_id, act)


def behind(request: Any) -> Cause:
    """Return who asks for something, and what made them ask."""
    caller = current_caller()
    cause = caller.cause or (f"request:{request.request_id}" if request.request_id else "")
    return Cause(caller.actor, cause, observability.current_traceparent())


def check_etag(view: RuntimeView, etag: str) -> None:
    """Refuse to change what has changed since it was read. Raises Aborted."""
    if etag and etag != str(view.head.sequence):
        raise Aborted(f"runtime {view.runtime_id} has changed since it was read", reason="ETAG_MISMATCH")


def checked_reason(text: str) -> str:
    """Return a reason that somebody gave, with its secrets made unreadable. Raises InvalidArgument."""
    if len(text) > 1_000 or any(ord(c) < 32 and c not in "\n\t" for c in text):
        raise InvalidArgument(
            [Violation("reason", "must be text of at most 1,000 characters without control characters")]
        )
    return Redactor().text(text)


def parse_changes(text: str) -> dict[str, Any]:
    """Return changes of a configuration from YAML. Raises InvalidArgument."""
    try:
        return configurations.parse_text(text)
    except InvalidArgument as error:
        raise InvalidArgument(
            [Violation("configuration_changes_text", v.description) for v in error.violations]
        ) from error
