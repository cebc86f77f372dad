"""Events as people read them: pages, watches, folded repeats, causes; and the past, folded from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from milepost import names
from milepost.api.event.v1 import options_pb2 as options
from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.errors import InvalidArgument, NotFound, OutOfRange, Violation
from milepost.eventlog import SUBJECTS, EventLog, RecordedEvent, codec, events_of, parse_subject
from services.access.authentication import current_caller
from services.pages import page_size, read_token, write_token
from services.readmodel.moments import check_sequence, past_the_end, sequence_violations, violations_of
from services.rpc.limits import Turns, fitting
from services.runtime.readmodel.causes import cause_chain
from services.runtime.readmodel.messages import event_message
from services.runtime.readmodel.view import RuntimeView
from services.runtime.readmodel.views import Views

DEFAULT_PAGE = 100
MAX_PAGE = 1_000
# Events that one look backwards takes in, doubled while too few of them match.
FIRST_WINDOW = 2_000
MAX_WINDOW = 100_000
# Events of the past that are folded before others get their turn.
FOLDED_AT_ONCE = 50
# Pasts that are folded at once, in all and for one caller; the others wait for their turn.
FOLDS = 4
FOLDS_PER_CALLER = 2

Matches = Callable[[events_api.RecordedEvent], bool]
MayMatch = Callable[[RecordedEvent], bool]
# Gives views that somebody wrote down, which are to be the reader's own: the newest at or before a sequence.
Written = Callable[[int], Views]

# What rules found, in every run.
RULE_SUBJECTS = "events.*.rules"
# A run that a rule started because of a run that a rule started, and so on: as far as this is told.
MAX_RUNS_BEHIND = 20


class Events:
    """The events of the log as messages."""

    def __init__(self, event_log: EventLog, views: Views, written: Written = lambda sequence: Views()) -> None:
        self._log = event_log
        self._views = views
        self._written = written
        self._folds = Turns(FOLDS, FOLDS_PER_CALLER, "looks into the past")

    # --- pages

    async def page(self, request: api.ListEventsRequest) -> api.ListEventsResponse:
        """Answer one page of events.

        Raises:
            InvalidArgument: with all that is wrong with the request.
            NotFound: there is no such runtime, or it has no such event.
        """
        runtime_id = names.parse_runtime_or_all(request.parent)
        violations: list[Violation] = []
        size = page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE, violations)
        for field in ("after_sequence", "until_sequence", "min_sequence"):
            violations += sequence_violations(field, getattr(request, field))
        until_then, latest = _moment(request.as_of, violations)
        query = [
            request.parent,
            request.filter.SerializeToString(deterministic=True).hex(),
            request.newest_first,
            *([until_then, str(latest)] if until_then or latest else []),
        ]
        matches = _filter(request.filter, violations, latest)
        token = read_token(request.page_token, query, violations)
        if request.behind_event_id and not runtime_id:
            violations.append(Violation("behind_event_id", "needs the parent to be one runtime"))
        if violations:
            raise InvalidArgument(violations)
        await self.wait_for("min_sequence", request.min_sequence)
        self._check_known(runtime_id)
        if request.behind_event_id:
            return await self._behind(runtime_id, request.behind_event_id)
        last = self._views.sequence
        self._check_reached(until_then)
        after, until = request.after_sequence, min(request.until_sequence or last, until_then or last, last)
        if token is not None and request.newest_first:
            until = min(until, int(token[0]) - 1)
        elif token is not None:
            after = max(after, int(token[0]))
        read = self._newest_first if request.newest_first else self._oldest_first
        may_match = _prefilter(request.filter)
        found, more = await read(runtime_id, after, until, size, may_match, matches)
        shown = fitting(found)
        found, more = shown, more or len(shown) < len(found)
        position = found[-1].sequence if found else 0
        if request.fold_repeats:
            found = fold_repeats(found)
        return api.ListEventsResponse(
            events=found, next_page_token=write_token(query, [position]) if more else "", sequence=last
        )

    async def _behind(self, runtime_id: str, event_id: str) -> api.ListEventsResponse:
        """Answer an event and what is behind it."""
        last = self._views.sequence
        events = [self._message(event) async for event in events_of(self._log.read(0, last, subjects_of(runtime_id)))]
        known = {event.event_id: event for event in events}
        if event_id not in known:
            raise NotFound(f"runtime {runtime_id} has no event {event_id[:80]!r}", reason="EVENT_NOT_FOUND")
        chain = cause_chain(known[event_id], known)
        for _ in range(MAX_RUNS_BEHIND):
            other = await self._run_of_firing(chain[-1])
            if not other:
                break
            read = events_of(self._log.read(0, chain[-1].sequence, subjects_of(other)))
            known |= {event.id: self._message(event) async for event in read}
            before, chain = len(chain), cause_chain(known[event_id], known)
            if len(chain) == before:
                break
        return api.ListEventsResponse(events=chain, sequence=last)

    async def _run_of_firing(self, event: events_api.RecordedEvent) -> str:
        """Find the run in which a rule found what is behind an event; empty: what is behind it is nothing of the kind."""
        if not event.cause or event.cause.startswith("request:"):
            return ""
        async for one in events_of(self._log.read(0, event.sequence, (RULE_SUBJECTS,))):
            if one.id == event.cause:
                subject = parse_subject(one.subject)
                return "" if subject.is_platform else subject.runtime_id
        return ""

    async def _oldest_first(
        self, runtime_id: str, after: int, until: int, size: int, may_match: MayMatch, matches: Matches
    ) -> tuple[list[events_api.RecordedEvent], bool]:
        found: list[events_api.RecordedEvent] = []
        async for event in events_of(self._log.read(after, until, subjects_of(runtime_id))):
            if may_match(event) and matches(message := self._message(event)):
                if len(found) == size:
                    return found, True
                found.append(message)
        return found, False

    async def _newest_first(
        self, runtime_id: str, after: int, until: int, size: int, may_match: MayMatch, matches: Matches
    ) -> tuple[list[events_api.RecordedEvent], bool]:
        found: list[events_api.RecordedEvent] = []
        window = FIRST_WINDOW
        while until > after and len(found) <= size:
            start = max(after, until - window)
            read = events_of(self._log.read(start, until, subjects_of(runtime_id)))
            part = [self._message(event) async for event in read if may_match(event)]
            found += [message for message in reversed(part) if matches(message)]
            until, window = start, min(window * 2, MAX_WINDOW)
        return found[:size], len(found) > size

    # --- watching

    async def watch(self, request: api.WatchEventsRequest) -> AsyncIterator[api.WatchEventsResponse]:
        """Give the events after a position, then each new one, without gap or repeat."""
        runtime_id = names.parse_runtime_or_all(request.parent)
        violations: list[Violation] = []
        matches, may_match = _filter(request.filter, violations), _prefilter(request.filter)
        violations += sequence_violations("after_sequence", request.after_sequence)
        if violations:
            raise InvalidArgument(violations)
        await self.wait_for("after_sequence", request.after_sequence)
        self._check_known(runtime_id)
        end = self._views.sequence
        position = request.after_sequence
        if position < end:
            async for event in events_of(self._log.read(position, end, subjects_of(runtime_id))):
                if may_match(event) and matches(message := self._message(event)):
                    yield api.WatchEventsResponse(event=message, sequence=event.sequence)
        position = max(position, end)
        yield api.WatchEventsResponse(sequence=position, caught_up=True)
        async for event in events_of(self._log.follow(position, subjects_of(runtime_id))):
            # `ignored` is known once the views have it.
            await self._views.wait_for(event.sequence)
            if may_match(event) and matches(message := self._message(event)):
                yield api.WatchEventsResponse(event=message, sequence=event.sequence)

    async def wait_for(self, field: str, sequence: int) -> None:
        """Wait until everything up to a position that a client names is known here.

        Raises:
            InvalidArgument: it is no position.
            OutOfRange: the log does not go that far.
            Unavailable: it was not read in time.
        """
        check_sequence(field, sequence)
        if sequence <= self._views.sequence:
            return
        last = await self._log.last_sequence()
        if sequence > last:
            raise past_the_end("the log", last, sequence)
        await self._views.wait_for(sequence)

    def _message(self, event: RecordedEvent) -> events_api.RecordedEvent:
        return event_message(event, self._views.ignored)

    def _check_known(self, runtime_id: str) -> None:
        if runtime_id and runtime_id not in self._views.runtimes:
            raise NotFound(f"there is no runtime {runtime_id}", reason="RUNTIME_NOT_FOUND")

    # --- the past

    async def runtime_as_of(self, runtime_id: str, as_of: events_api.AsOf) -> RuntimeView:
        """Fold one runtime up to a moment.

        Raises:
            NotFound: it was not there yet.
            OutOfRange: the moment is after the end of the log.
        """
        views = await self._fold(as_of, subjects_of(runtime_id))
        view = views.runtimes.get(runtime_id)
        if view is None or not view.state.exists:
            raise NotFound(f"there was no runtime {runtime_id} then", reason="RUNTIME_NOT_FOUND")
        return view

    async def views_as_of(self, as_of: events_api.AsOf) -> Views:
        """Fold everything up to a moment. Raises OutOfRange: the moment is after the end of the log."""
        return await self._fold(as_of, (SUBJECTS,), self._written)

    async def _fold(
        self, as_of: events_api.AsOf, subjects: tuple[str, ...], written: Written = lambda sequence: Views()
    ) -> Views:
        violations: list[Violation] = []
        until, latest = _moment(as_of, violations)
        if violations:
            raise InvalidArgument(violations)
        self._check_reached(until)
        folded = 0
        async with self._folds.turn(current_caller().actor):
            # Of a time it is not known yet at which event it is.
            views = await asyncio.to_thread(written, until) if until else Views()
            async for event in self._log.read(views.sequence, until or self._views.sequence, subjects):
                if latest is not None and event.recorded_time > latest:
                    break
                views.apply(event)
                folded += 1
                if folded % FOLDED_AT_ONCE == 0:
                    # Commands do not wait until a long past is folded.
                    await asyncio.sleep(0)
        views.sequence = max(views.sequence, until)
        return views

    def _check_reached(self, sequence: int) -> None:
        if sequence > self._views.sequence:
            raise OutOfRange(f"the log ends at {self._views.sequence}, before {sequence}", reason="PAST_THE_END")


def fold_repeats(events: list[events_api.RecordedEvent]) -> list[events_api.RecordedEvent]:
    """Make one of events of the same type and reason that follow each other, with a count."""
    folded: list[events_api.RecordedEvent] = []
    previous_key: tuple[Any, ...] = ()
    for event in events:
        key = _repeat_key(event)
        if folded and key == previous_key:
            folded[-1].repeat_count += 1
            folded[-1].last_sequence = event.sequence
        else:
            folded.append(event)
        previous_key = key
    return folded


def _repeat_key(event: events_api.RecordedEvent) -> tuple[Any, ...]:
    """Name what makes two events the same to a reader: who, what type, and the values of its closed sets."""
    area = event.WhichOneof("payload")
    words: list[Any] = []
    if area is not None:
        body: Message = getattr(event, area)
        name = body.WhichOneof("payload")
        payload = getattr(body, name) if name else body
        for field in payload.DESCRIPTOR.fields:
            if field.enum_type is not None or field.name in ("rank", "ready"):
                words.append(getattr(payload, field.name))
    return (event.runtime_id, event.trial, event.type, event.actor, *words)


def subjects_of(runtime_id: str) -> tuple[str, ...]:
    return (f"events.{runtime_id}.>",) if runtime_id else (SUBJECTS,)


def _moment(as_of: events_api.AsOf, violations: list[Violation]) -> tuple[int, datetime | None]:
    """Return the last event of a moment, or the time up to which; 0 and None: now."""
    wrong = violations_of(as_of)
    violations += wrong
    if wrong or not as_of.HasField("time"):
        return as_of.events_sequence, None
    return 0, as_of.time.ToDatetime(UTC)


def _filter(wanted: api.EventFilter, violations: list[Violation], latest: datetime | None = None) -> Matches:
    """Check what events are wanted, and of them those up to a time."""
    if wanted.scope not in options.Scope.values():
        violations.append(Violation("filter.scope", f"{wanted.scope} is not a known value"))
    for category in wanted.categories:
        if category not in options.Category.values():
            violations.append(Violation("filter.categories", f"{category} is not a known value"))
    if wanted.trial < 0:
        violations.append(Violation("filter.trial", "must not be negative"))
    for ce_type in wanted.types:
        if not codec.is_known(ce_type):
            violations.append(Violation("filter.types", f"{ce_type[:80]!r} is not a known type"))
    start = _time(wanted, "start_time", violations)
    end = _time(wanted, "end_time", violations)
    categories, types = set(wanted.categories), set(wanted.types)

    def matches(event: events_api.RecordedEvent) -> bool:
        return (
            (not wanted.scope or event.scope == wanted.scope)
            and (not categories or event.category in categories)
            and (not wanted.trial or event.trial == wanted.trial)
            and (not wanted.actor or event.actor == wanted.actor)
            and (not types or event.type in types)
            and (start is None or event.recorded_time.ToDatetime(UTC) >= start)
            and (end is None or event.recorded_time.ToDatetime(UTC) < end)
            and (latest is None or event.recorded_time.ToDatetime(UTC) <= latest)
        )

    return matches


def _prefilter(wanted: api.EventFilter) -> MayMatch:
    """Return what tells of an event as it is in the log whether it may be wanted: to describe one takes far longer."""
    types, categories = set(wanted.types), set(wanted.categories)

    def may_match(event: RecordedEvent) -> bool:
        if (types and event.type not in types) or (wanted.actor and event.actor != wanted.actor):
            return False
        if not codec.is_known(event.type):
            return not wanted.scope and not categories
        return (not wanted.scope or codec.scope_of(event.type) == wanted.scope) and (
            not categories or codec.category_of(event.type) in categories
        )

    return may_match


def _time(wanted: api.EventFilter, field: str, violations: list[Violation]) -> datetime | None:
    if not wanted.HasField(field):  # type: ignore[arg-type]
        return None
    try:
        return getattr(wanted, field).ToDatetime(UTC)
    except (ValueError, OverflowError):
        violations.append(Violation(f"filter.{field}", "is no time"))
        return None
