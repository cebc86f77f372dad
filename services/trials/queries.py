"""Names, filters, orders and pages of trials. Pure."""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from milepost import names
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.errors import InvalidArgument, Violation
from milepost.protojson import enum_words
from services import pages
from services.readmodel.filters import Term, parse_filter
from services.trials.messages import best_of, completion_of, status_of
from services.trials.readmodel.progress import elapsed_nanoseconds, step_of
from services.trials.readmodel.view import Key, TrialView
from services.trials.readmodel.views import Views

DEFAULT_PAGE = 100
MAX_PAGE = 1_000
# Runtimes that are named in one call.
MAX_RUNTIMES = 1_000

_STATUS_WORDS = enum_words(api.TrialStatus.DESCRIPTOR)
_WAITING_WORDS = enum_words(api.WaitingReason.DESCRIPTOR)


@dataclass(frozen=True, slots=True)
class Scope:
    """The trials a call is about: all, those of a runtime, or one."""

    runtime_id: str = ""
    trial: int = 0

    def holds(self, key: Key) -> bool:
        return (not self.runtime_id or key.runtime_id == self.runtime_id) and (
            not self.trial or key.trial == self.trial
        )


def parse_trial_name(name: str, field: str = "name") -> Key:
    """Read `runtimes/{runtime_id}/trials/{trial}`.

    Raises:
        InvalidArgument: it is not such a name.
    """
    return Key(*names.parse_trial(name, field))


def parse_parent(parent: str, trial_allowed: bool = False) -> Scope:
    """Read `runtimes/{runtime_id}`, `runtimes/-`, or, where allowed, the name of a trial.

    Raises:
        InvalidArgument: it is none of them.
    """
    if parent == names.ALL:
        return Scope()
    found = names.match_trial(parent) if trial_allowed else None
    if found is not None:
        return Scope(*found)
    runtime_id = names.match_runtime(parent)
    if runtime_id is None:
        forms = (names.TRIAL_FORM,) if trial_allowed else ()
        raise names.refusal("parent", parent, names.RUNTIME_FORM, f"{names.ALL} for all", *forms)
    return Scope(runtime_id)


# --- filters --------------------------------------------------------------------------------------------------------

# (views, trial, now) -> the text a term compares with
Read = Callable[[Views, TrialView, int], str]

_FIELDS: dict[str, Read] = {
    "status": lambda views, view, now: _STATUS_WORDS[status_of(view)[0]] or "",
    "waiting_reason": lambda views, view, now: _WAITING_WORDS[status_of(view)[1]] or "",
    "runtime": lambda views, view, now: view.runtime_id,
    "trial": lambda views, view, now: str(view.number),
    "step": lambda views, view, now: str(step_of(view, views.position_of(view))),
    "completion": lambda views, view, now: _text(_completion(views, view)),
    "elapsed": lambda views, view, now: str(elapsed_nanoseconds(view, now) / 1e9),
    "best": lambda views, view, now: _text(_best(views, view)),
    "attempt": lambda views, view, now: str(view.state.attempt),
}


_WORDS = {
    "status": [word for word in _STATUS_WORDS.values() if word],
    "waiting_reason": [word for word in _WAITING_WORDS.values() if word],
}


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _completion(views: Views, view: TrialView) -> float | None:
    return completion_of(view, step_of(view, views.position_of(view)))


def _best(views: Views, view: TrialView) -> float | None:
    best = best_of(view, views.runtimes[view.runtime_id])
    return best.value if best is not None else None


def _parameter(name: str) -> Read:
    def read(views: Views, view: TrialView, now: int) -> str:
        text = view.parameters.get(name, "")
        return str(json.loads(text)) if text.startswith('"') else text

    return read


def _reader(term: Term) -> Read:
    if not term.field:
        return lambda views, view, now: f"{view.runtime_id} {view.reason}"
    parameter = term.field.removeprefix("parameters.")
    if parameter and parameter != term.field:
        return _parameter(parameter)
    read = _FIELDS.get(term.field)
    if read is None:
        raise term.unknown([*_FIELDS, "parameters.<name>"])
    return read


def _written(term: Term) -> Term:
    """Write the value of a term as the fields write theirs; what does not wait has an empty reason."""
    words = _WORDS.get(term.field)
    return term if words is None or not term.value else term.as_one_of(words)


def compile_filter(text: str) -> Callable[[Views, TrialView, int], bool] | None:
    """Return what tells whether a trial is accepted; None: all are.

    Raises:
        InvalidArgument: the filter is not understood.
    """
    conditions = [(_written(term), _reader(term)) for term in parse_filter(text)]
    if not conditions:
        return None
    return lambda views, view, now: all(term.accepts(read(views, view, now)) for term, read in conditions)


# --- orders ---------------------------------------------------------------------------------------------------------

# (views, trial, now) -> number by which trials are ordered, ascending
Rank = Callable[[Views, TrialView, int], float]

_LAST = math.inf


def _or_last(value: float | None) -> float:
    return _LAST if value is None else value


def _remaining(views: Views, view: TrialView, now: int) -> float:
    rest = views.estimate_of(view, now)
    return _or_last(rest.seconds if rest is not None else None)


_ORDERS: dict[str, Rank] = {
    "status": lambda views, view, now: float(status_of(view)[0]),
    "completion": lambda views, view, now: _or_last(_completion(views, view)),
    "best": lambda views, view, now: _or_last(_best(views, view)),
    "elapsed": lambda views, view, now: elapsed_nanoseconds(view, now) / 1e9,
    "remaining": _remaining,
    "step": lambda views, view, now: float(step_of(view, views.position_of(view))),
    "start_time": lambda views, view, now: view.start_time / 1e9 if view.start_time else _LAST,
}


def parse_order(text: str) -> tuple[Rank | None, bool]:
    """Read `<field>` or `<field> desc`. Returns what ranks (None: by trial) and whether it descends.

    Raises:
        InvalidArgument: there is no such order.
    """
    match = re.fullmatch(r"\s*(?:(?P<field>[a-z_]+)(?P<desc>\s+desc)?|)\s*", text)
    field = match["field"] if match is not None else None
    if match is None or (field is not None and field != "trial" and field not in _ORDERS):
        known = ", ".join(["trial", *_ORDERS])
        raise InvalidArgument([Violation("order_by", f"must be one of {known}, each with or without desc")])
    return (_ORDERS.get(field) if field else None), match["desc"] is not None


# (rank, newest runtime first, trial number): no two trials have the same.
Place = tuple[float, int, int]


def place_of(views: Views, view: TrialView, rank: Rank | None, descending: bool, now: int) -> Place:
    """Return where a trial stands in an order. Without a value it stands last, either way."""
    created = views.runtimes[view.runtime_id].created_sequence
    if rank is None:
        return (0.0, created, -view.number) if descending else (0.0, -created, view.number)
    value = rank(views, view, now)
    return (-value if descending and value != _LAST else value, -created, view.number)


# --- pages ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    views: list[TrialView]
    total_size: int
    # Where each of them stands, whether others follow, and what a token holds for.
    places: list[Place]
    more: bool
    digest: str

    def token_after(self, count: int) -> str:
        """Return the token of the page that follows the first so many of this one; empty: none does."""
        if not self.views or (count == len(self.views) and not self.more):
            return ""
        return _token(self.places[count - 1], self.digest)


def page_size_of(size: int) -> int:
    """Return the size of a page.

    Raises:
        InvalidArgument: it is negative or too large.
    """
    if not 0 <= size <= MAX_PAGE:
        raise InvalidArgument([Violation("page_size", f"must be from 0 to {MAX_PAGE}")])
    return size or DEFAULT_PAGE


Placed = list[tuple[Place, Key]]


class Order:
    """All trials in their usual order, sorted anew only when one comes or goes."""

    def __init__(self) -> None:
        self._revision = -1
        self._placed: dict[bool, Placed] = {}

    def placed(self, views: Views, descending: bool) -> Placed:
        if self._revision != views.revision:
            self._revision = views.revision
            self._placed.clear()
        if descending not in self._placed:
            self._placed[descending] = _sorted(views, _candidates(views, Scope()), None, descending, 0)
        return self._placed[descending]


def _sorted(views: Views, candidates: Sequence[TrialView], rank: Rank | None, descending: bool, now: int) -> Placed:
    return sorted((place_of(views, view, rank, descending, now), view.key) for view in candidates)


def list_page(views: Views, scope: Scope, request: api.ListTrialsRequest, now: int, order: Order | None = None) -> Page:
    """Return one page of the trials of a scope. `order` is that of these views, where many calls share it.

    Raises:
        InvalidArgument: filter, order, size or token are not understood.
    """
    accepts = compile_filter(request.filter)
    rank, descending = parse_order(request.order_by)
    size = page_size_of(request.page_size)
    wanted = _wanted(request)
    digest = _digest(request)
    after = _parse_token(request.page_token, digest) if request.page_token else None
    if wanted:
        candidates = [view for runtime_id in wanted for view in _of_runtime(views, runtime_id, deleted=False)]
        placed = _sorted(views, candidates, rank, descending, now)
    elif rank is None and not scope.runtime_id and order is not None:
        placed = order.placed(views, descending)
    else:
        placed = _sorted(views, _candidates(views, scope), rank, descending, now)
    if accepts is not None:
        placed = [(place, key) for place, key in placed if accepts(views, views.trials[key], now)]
    start = bisect.bisect_right(placed, (after, Key("\U0010ffff", 0))) if after is not None else 0
    chosen = placed[start : start + size]
    more = start + size < len(placed)
    shown = [views.trials[key] for _, key in chosen]
    return Page(shown, len(placed), [place for place, _ in chosen], more, digest)


def _candidates(views: Views, scope: Scope) -> Sequence[TrialView]:
    if scope.runtime_id:
        return _of_runtime(views, scope.runtime_id, deleted=True)
    return [view for view in views.trials.values() if not views.runtimes[view.runtime_id].deleted]


def _of_runtime(views: Views, runtime_id: str, *, deleted: bool) -> list[TrialView]:
    """List the trials of a runtime. `deleted`: also of one that is deleted."""
    runtime = views.runtimes.get(runtime_id)
    if runtime is None or (runtime.deleted and not deleted):
        return []
    return [views.trials[Key(runtime_id, number)] for number in runtime.trials]


def _wanted(request: api.ListTrialsRequest) -> list[str]:
    """Return the runtimes whose trials are asked for; none: all.

    Raises:
        InvalidArgument: they are too many, or asked for beside a runtime.
    """
    if request.runtime_ids and request.parent != names.ALL:
        raise InvalidArgument([Violation("runtime_ids", f"belong to the parent {names.ALL} only")])
    if len(request.runtime_ids) > MAX_RUNTIMES:
        raise InvalidArgument(
            [Violation("runtime_ids", f"are {len(request.runtime_ids):,}, more than {MAX_RUNTIMES:,}")]
        )
    return list(dict.fromkeys(request.runtime_ids))


def _digest(request: api.ListTrialsRequest) -> str:
    """A page token holds only for the call it was given for."""
    call: list[Any] = [request.parent, request.filter, request.order_by]
    if request.runtime_ids:
        call.append(sorted(request.runtime_ids))
    return hashlib.sha256(json.dumps(call).encode()).hexdigest()[:12]


def _token(place: Place, digest: str) -> str:
    # JSON has no infinity: the last place is null.
    value = None if place[0] == _LAST else place[0]
    return pages.encode([digest, value, *place[1:]])


def _parse_token(token: str, digest: str) -> Place:
    try:
        given, value, created, number = pages.decode(token)
        if given != digest:
            raise ValueError
        return (_LAST if value is None else float(value), int(created), int(number))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidArgument([Violation("page_token", "is not one that this call has given")]) from error
