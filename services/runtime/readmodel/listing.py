"""Lists of runtimes: filters, orders, pages, and watching them change."""

from __future__ import annotations

import asyncio
import bisect
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import runtime
from milepost.errors import InvalidArgument, Violation
from services.pages import page_size, read_token, write_token
from services.readmodel.filters import Term, parse_filter
from services.rpc.limits import fitting
from services.runtime.readmodel.messages import runtime_message
from services.runtime.readmodel.view import RuntimeView, Summary, time_text
from services.runtime.readmodel.views import Views

DEFAULT_PAGE = 50
MAX_PAGE = 1_000
# Lists that are kept sorted for the next page.
KEPT_LISTS = 32
# Messages of runtimes that are kept for the next page.
KEPT_MESSAGES = 4_000

Predicate = Callable[[Summary], bool]
Key = tuple[Any, ...]


# --- filters --------------------------------------------------------------------------------------------------------


def parse_predicate(text: str) -> Predicate:
    """Read a filter such as `status=Failed AND label.team=nlp AND name:lm`.

    Raises:
        InvalidArgument: it is not one.
    """
    terms = [_predicate(term) for term in parse_filter(text)]
    return lambda summary: all(accepts(summary) for accepts in terms)


def _predicate(term: Term) -> Predicate:
    if not term.field:
        return lambda summary: term.accepts(summary.runtime_id) or term.accepts(summary.name)
    label = term.field.removeprefix("label.")
    if label and label != term.field:
        return lambda summary: term.accepts(summary.labels.get(label, ""))
    text = _TEXTS.get(term.field)
    if text is None:
        raise term.unknown([*_TEXTS, "label.<key>"])
    term = _normalised(term)
    return lambda summary: term.accepts(text(summary))


def _normalised(term: Term) -> Term:
    """Write the value of a term as the views write theirs."""
    if term.field == "create_time":
        try:
            time = datetime.fromisoformat(term.value)
        except ValueError as error:
            raise term.refused("create_time is compared with a time like 2026-01-01T00:00:00Z") from error
        return replace(term, value=time_text(time if time.tzinfo is not None else time.replace(tzinfo=UTC)))
    words = _WORDS.get(term.field)
    return term if words is None else term.as_one_of(words)


_TEXTS: dict[str, Callable[[Summary], str]] = {
    "status": lambda summary: summary.status,
    "phase": lambda summary: summary.phase,
    "name": lambda summary: summary.name,
    "id": lambda summary: summary.runtime_id,
    "created_by": lambda summary: summary.created_by,
    "create_time": lambda summary: summary.create_time,
}

_WORDS = {"status": [status.value for status in runtime.Status], "phase": [phase.value for phase in runtime.Phase]}


# --- orders ---------------------------------------------------------------------------------------------------------


_STARTED = runtime.Status.STARTED.value

_ORDERS: dict[str, Callable[[Summary], Key]] = {
    "activity": lambda summary: (0 if summary.status == _STARTED else 1, -summary.created_sequence),
    "create_time": lambda summary: (summary.created_sequence,),
    "create_time desc": lambda summary: (-summary.created_sequence,),
    "update_time": lambda summary: (summary.sequence,),
    "update_time desc": lambda summary: (-summary.sequence,),
    "display_name": lambda summary: (summary.name.lower(), summary.created_sequence),
    "display_name desc": lambda summary: (_backwards(summary.name.lower()), summary.created_sequence),
    "status": lambda summary: (summary.status, -summary.created_sequence),
    "status desc": lambda summary: (_backwards(summary.status), -summary.created_sequence),
    "created_by": lambda summary: (summary.created_by, -summary.created_sequence),
    "created_by desc": lambda summary: (_backwards(summary.created_by), -summary.created_sequence),
}
_LAST_CHARACTER = 0x10FFFF


def _backwards(text: str) -> str:
    """Write a text so that the results sort the other way round; a beginning of a text comes after it then."""
    return "".join(chr(_LAST_CHARACTER - ord(character)) for character in text) + chr(_LAST_CHARACTER)


class _Sorted:
    """Runtimes in an order. Sorted once, then only those that changed are put at their new place."""

    def __init__(self, views: Views, place: Callable[[Summary], Key | None]) -> None:
        self._views = views
        self._place = place
        self._revision = -1
        self._key_of: dict[str, Key] = {}
        # The id of a runtime is the last part of its key.
        self.keys: list[Key] = []

    def refresh(self) -> None:
        changes = self._views.list_changes(self._revision) if self._revision >= 0 else None
        if changes is None:
            places = ((summary.runtime_id, self._place(summary)) for summary in self._views.summaries())
            self._key_of = {runtime_id: key for runtime_id, key in places if key is not None}
            self.keys = sorted(self._key_of.values())
        else:
            for runtime_id in set(changes):
                self._move(runtime_id)
        self._revision = self._views.list_revision

    def _move(self, runtime_id: str) -> None:
        old, new = self._key_of.pop(runtime_id, None), self._place(self._views.summary(runtime_id))
        if old is not None:
            del self.keys[bisect.bisect_left(self.keys, old)]
        if new is not None:
            self._key_of[runtime_id] = new
            bisect.insort(self.keys, new)


class Lists:
    """Pages of runtimes. Sorted lists are kept for the next page."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._lists: OrderedDict[tuple[str, str, bool], _Sorted] = OrderedDict()
        self._messages: OrderedDict[str, tuple[tuple[int, int], api.Runtime]] = OrderedDict()

    def page(self, request: api.ListRuntimesRequest) -> api.ListRuntimesResponse:
        """Answer one page.

        Raises:
            InvalidArgument: with all that is wrong with the request.
        """
        violations: list[Violation] = []
        size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE, violations)
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
        keys = self._sorted(request.filter.strip(), order, request.show_deleted, predicate).keys
        start = _position_after(keys, last)
        chosen = keys[start : start + size]
        shown = fitting(self._message(self._views.runtimes[key[-1]]) for key in chosen)
        more = start + len(shown) < len(keys)
        counts = {status.value: self._views.status_counts[status.value] for status in runtime.Status}
        return api.ListRuntimesResponse(
            runtimes=shown,
            next_page_token=write_token(query, list(chosen[len(shown) - 1])) if more else "",
            total_size=len(keys),
            status_counts=counts,
            sequence=self._views.sequence,
        )

    def _sorted(self, text: str, order: str, show_deleted: bool, predicate: Predicate) -> _Sorted:
        known = self._lists.get((text, order, show_deleted))
        if known is None:
            order_key = _ORDERS[order]

            def place(summary: Summary) -> Key | None:
                shown = summary.exists and (show_deleted or not summary.deleting) and predicate(summary)
                return (*order_key(summary), summary.runtime_id) if shown else None

            known = self._lists[text, order, show_deleted] = _Sorted(self._views, place)
            while len(self._lists) > KEPT_LISTS:
                self._lists.popitem(last=False)
        self._lists.move_to_end((text, order, show_deleted))
        known.refresh()
        return known

    def _message(self, view: RuntimeView) -> api.Runtime:
        position = self._views.queue.position(view.runtime_id)
        known = self._messages.get(view.runtime_id)
        if known is None or known[0] != (view.sequence, position):
            known = ((view.sequence, position), runtime_message(view, position=position))
            self._messages[view.runtime_id] = known
            while len(self._messages) > KEPT_MESSAGES:
                self._messages.popitem(last=False)
        return known[1]


# --- pages ----------------------------------------------------------------------------------------------------------


def _position_after(keys: list[Key], last: list[Any] | None) -> int:
    """Return where a page begins.

    Raises:
        InvalidArgument: the token holds what no key of this list holds.
    """
    try:
        return bisect.bisect_right(keys, tuple(last)) if last is not None else 0
    except TypeError:
        raise InvalidArgument([Violation("page_token", "is not one that was given for this query")]) from None


# --- watching -------------------------------------------------------------------------------------------------------


async def watch(
    views: Views, runtime_id: str, filter_text: str, after: int
) -> AsyncIterator[api.WatchRuntimesResponse]:
    """Give the runtimes that changed after a position, then each change.

    A slow reader gets the newest state of each runtime, never the ones between. Sequences only grow, so whoever comes
    back with the last one has missed nothing. Of one that waits, whoever watches it alone is also told when it moves up in
    the queue: nothing happened to it, so its sequence stays. With many such runtimes that would be most of what there is to
    tell, so whoever watches all of them is not.
    """
    predicate = parse_predicate(filter_text)
    # The runtimes to be told of, the one that changed first in front.
    due: dict[str, int] = {}
    changed = asyncio.Event()
    shown: set[str] = set()
    position = 0

    def on_change(view: RuntimeView, sequence: int) -> None:
        if runtime_id and view.runtime_id != runtime_id:
            if views.queue.position(runtime_id) != position:
                due[runtime_id] = sequence
                changed.set()
            return
        if view.state.exists:
            due.pop(view.runtime_id, None)
            due[view.runtime_id] = sequence
            changed.set()

    with views.listening(on_change):
        begin = views.sequence
        due.update(_changed_after(views, runtime_id, after))
        caught_up = False
        while True:
            while due:
                next_id, sequence = next(iter(due.items()))
                if not caught_up and sequence > begin:
                    break
                del due[next_id]
                if predicate(views.summary(next_id)) or next_id in shown:
                    shown.add(next_id)
                    view, position = views.runtimes[next_id], views.queue.position(next_id)
                    message = runtime_message(view, position=position)
                    yield api.WatchRuntimesResponse(runtime=message, sequence=view.sequence)
            if not caught_up:
                caught_up = True
                yield api.WatchRuntimesResponse(sequence=max(begin, after), caught_up=True)
                continue
            changed.clear()
            await changed.wait()


def _changed_after(views: Views, runtime_id: str, after: int) -> list[tuple[str, int]]:
    """List the runtimes that changed after a position, with the positions, in their order."""
    summaries = [views.summary(runtime_id)] if runtime_id else views.summaries()
    return sorted(
        (
            (one.runtime_id, one.sequence)
            for one in summaries
            if one.exists and one.sequence > after and (after or runtime_id or not one.deleting)
        ),
        key=lambda pair: pair[1],
    )
