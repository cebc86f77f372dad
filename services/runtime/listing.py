"""Lists of runtimes: filters, orders, pages, and watching them change."""

from __future__ import annotations

import asyncio
import base64
import bisect
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime
from milepost.errors import InvalidArgument, Violation
from services.filters import Term, parse_filter
from services.runtime.messages import runtime_message
from services.runtime.views import RuntimeView, Views

DEFAULT_PAGE = 50
LARGEST_PAGE = 1_000
# Lists that are kept sorted for the next page.
KEPT_LISTS = 32

Predicate = Callable[[RuntimeView], bool]
Key = tuple[Any, ...]


# --- filters --------------------------------------------------------------------------------------------------------


def parse_predicate(text: str) -> Predicate:
    """Read a filter such as `status=Failed AND label.team=nlp AND name:lm`.

    Raises:
        InvalidArgument: it is not one.
    """
    terms = [_predicate(term) for term in parse_filter(text)]
    return lambda view: all(accepts(view) for accepts in terms)


def _predicate(term: Term) -> Predicate:
    if not term.field:
        return lambda view: term.accepts(view.runtime_id) or term.accepts(_name(view))
    if term.field.startswith("label."):
        label = term.field.partition(".")[2]
        return lambda view: term.accepts(_labels(view).get(label, ""))
    text = _TEXTS.get(term.field)
    if text is None:
        raise _bad_filter(f"{term.field} is not a known field; known: {', '.join(_TEXTS)}, label.<key>")
    term = _normalised(term)
    return lambda view: term.accepts(text(view))


def _normalised(term: Term) -> Term:
    """Write the value of a term as the views write theirs."""
    if term.field == "create_time":
        try:
            time = datetime.fromisoformat(term.value)
        except ValueError as error:
            raise _bad_filter("create_time is compared with a time like 2026-01-01T00:00:00Z") from error
        return replace(term, value=_time_text(time if time.tzinfo is not None else time.replace(tzinfo=UTC)))
    words = _WORDS.get(term.field)
    if words is None or term.operator == ":":
        return term
    for word in words:
        if word.lower() == term.value.lower():
            return replace(term, value=word)
    raise _bad_filter(f"{term.field} is one of {', '.join(words)}")


def _bad_filter(description: str) -> InvalidArgument:
    return InvalidArgument([Violation("filter", description)])


def _name(view: RuntimeView) -> str:
    return view.state.configuration.name if view.state.configuration is not None else ""


def _labels(view: RuntimeView) -> Mapping[str, str]:
    return view.state.configuration.labels if view.state.configuration is not None else {}


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_TEXTS: dict[str, Callable[[RuntimeView], str]] = {
    "status": lambda view: view.state.status.value if view.state.status is not None else "",
    "phase": lambda view: view.phase.value if view.phase is not None else "",
    "name": _name,
    "id": lambda view: view.runtime_id,
    "created_by": lambda view: view.created.actor if view.created is not None else "",
    "create_time": lambda view: _time_text(view.created.time) if view.created is not None else "",
}

_WORDS = {"status": [status.value for status in runtime.Status], "phase": [phase.value for phase in runtime.Phase]}


# --- orders ---------------------------------------------------------------------------------------------------------


def _created(view: RuntimeView) -> int:
    return view.created.sequence if view.created is not None else 0


_ORDERS: dict[str, Callable[[RuntimeView], Key]] = {
    "activity": lambda view: (0 if view.state.in_progress else 1, -_created(view)),
    "create_time": lambda view: (_created(view),),
    "create_time desc": lambda view: (-_created(view),),
    "display_name": lambda view: (_name(view).lower(), _created(view)),
    "status": lambda view: (view.state.status.value if view.state.status else "", -_created(view)),
}


@dataclass(frozen=True, slots=True)
class _Sorted:
    revision: int
    keys: list[Key]
    views: list[RuntimeView]


class Lists:
    """Pages of runtimes. Sorted lists are kept until a runtime comes, goes or changes its status."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._lists: OrderedDict[tuple[str, str, bool], _Sorted] = OrderedDict()
        self._counts: tuple[int, dict[str, int]] = (-1, {})
        self._messages: dict[str, tuple[int, api.Runtime]] = {}

    def page(self, request: api.ListRuntimesRequest) -> api.ListRuntimesResponse:
        """Answer one page.

        Raises:
            InvalidArgument: with all that is wrong with the request.
        """
        violations: list[Violation] = []
        size = page_size(request.page_size, DEFAULT_PAGE, LARGEST_PAGE, violations)
        order = request.order_by.strip() or "activity"
        if order not in _ORDERS:
            violations.append(Violation("order_by", f"must be one of {', '.join(_ORDERS)}"))
        predicate: Predicate | None = None
        try:
            predicate = parse_predicate(request.filter)
        except InvalidArgument as error:
            violations += error.violations
        query = [request.filter.strip(), order, request.show_deleted]
        last = read_token(request.page_token, query, violations)
        if violations or predicate is None:
            raise InvalidArgument(violations)
        found = self._sorted(request.filter.strip(), order, request.show_deleted, predicate)
        start = bisect.bisect_right(found.keys, tuple(last)) if last is not None else 0
        chosen = found.views[start : start + size]
        more = start + size < len(found.views)
        return api.ListRuntimesResponse(
            runtimes=[self._message(view) for view in chosen],
            next_page_token=write_token(query, list(found.keys[start + size - 1])) if more else "",
            total_size=len(found.views),
            status_counts=self._status_counts(),
            sequence=self._views.sequence,
        )

    def _sorted(self, text: str, order: str, show_deleted: bool, predicate: Predicate) -> _Sorted:
        key = (text, order, show_deleted)
        known = self._lists.get(key)
        if known is not None and known.revision == self._views.list_revision:
            self._lists.move_to_end(key)
            return known
        order_key = _ORDERS[order]
        entries = sorted(
            ((*order_key(view), view.runtime_id), view)
            for view in self._views.runtimes.values()
            if view.state.exists and (show_deleted or not view.state.deleting) and predicate(view)
        )
        found = _Sorted(self._views.list_revision, [entry[0] for entry in entries], [entry[1] for entry in entries])
        self._lists[key] = found
        while len(self._lists) > KEPT_LISTS:
            self._lists.popitem(last=False)
        return found

    def _status_counts(self) -> dict[str, int]:
        if self._counts[0] != self._views.list_revision:
            counts = {status.value: 0 for status in runtime.Status}
            for view in self._views.runtimes.values():
                if view.state.status is not None and not view.state.deleting:
                    counts[view.state.status.value] += 1
            self._counts = (self._views.list_revision, counts)
        return self._counts[1]

    def _message(self, view: RuntimeView) -> api.Runtime:
        known = self._messages.get(view.runtime_id)
        if known is None or known[0] != view.sequence:
            known = (view.sequence, runtime_message(view))
            self._messages[view.runtime_id] = known
        return known[1]


# --- pages ----------------------------------------------------------------------------------------------------------


def page_size(given: int, default: int, largest: int, violations: list[Violation]) -> int:
    """Return the size of a page, or say what is wrong with it."""
    if not 0 <= given <= largest:
        violations.append(Violation("page_size", f"must be 0 to {largest:,}"))
    return given or default


def write_token(query: list[Any], last: list[Any]) -> str:
    """Write where the next page begins. It holds for the same query only."""
    return base64.urlsafe_b64encode(json.dumps([query, last]).encode()).decode().rstrip("=")


def read_token(token: str, query: list[Any], violations: list[Violation]) -> list[Any] | None:
    """Read where a page begins; None: at the beginning."""
    if not token:
        return None
    try:
        known, last = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if known == query and isinstance(last, list) and last and _is_key(last):
            return last
    except (ValueError, TypeError, RecursionError):
        pass
    violations.append(Violation("page_token", "is not one that was given for this query"))
    return None


def _is_key(last: list[Any]) -> bool:
    return all(isinstance(part, str | int) for part in last)


# --- watching -------------------------------------------------------------------------------------------------------


async def watch(
    views: Views, runtime_id: str, filter_text: str, after: int
) -> AsyncIterator[api.WatchRuntimesResponse]:
    """Give the runtimes that changed after a position, then each change.

    A slow reader gets the newest state of each runtime, never the ones between. Sequences only grow, so whoever comes
    back with the last one has missed nothing.
    """
    predicate = parse_predicate(filter_text)
    due: dict[str, RuntimeView] = {}
    changed = asyncio.Event()
    shown: set[str] = set()

    def wanted(view: RuntimeView) -> bool:
        return view.state.exists and (not runtime_id or view.runtime_id == runtime_id)

    def on_change(view: RuntimeView, sequence: int) -> None:
        if wanted(view):
            due[view.runtime_id] = view
            changed.set()

    with views.listening(on_change):
        begin = views.sequence
        for view in views.runtimes.values():
            if wanted(view) and view.sequence > after and (after or runtime_id or not view.state.deleting):
                due[view.runtime_id] = view
        caught_up = False
        while True:
            while due:
                view = min(due.values(), key=lambda one: one.sequence)
                if not caught_up and view.sequence > begin:
                    break
                del due[view.runtime_id]
                if predicate(view) or view.runtime_id in shown:
                    shown.add(view.runtime_id)
                    yield api.WatchRuntimesResponse(runtime=runtime_message(view), sequence=view.sequence)
            if not caught_up:
                caught_up = True
                yield api.WatchRuntimesResponse(sequence=max(begin, after), caught_up=True)
                continue
            changed.clear()
            await changed.wait()
