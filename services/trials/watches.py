"""Watching trials: first as they are, then each change, in an order that can be resumed exactly.

Every message carries a position (events, telemetry) with this meaning: all that changed at or before it, in either
stream, has been sent. Trials whose telemetry alone moved go first, by telemetry; then those that an event changed, by
event. So after each message the ones still to be sent have a change behind the position, and the ones sent have none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from milepost.api.trial.v1 import trial_service_pb2 as api
from services.trials.live import ReadableViews
from services.trials.messages import render_trial, to_duration, to_estimate
from services.trials.queries import Scope
from services.trials.readmodel.progress import elapsed_nanoseconds, is_stalled
from services.trials.readmodel.runtime_estimates import estimate_runtime
from services.trials.readmodel.view import Key
from services.trials.readmodel.views import Views

# At most ten messages a second for one trial; large ones less often.
INTERVAL_SECONDS = 0.1
LARGE_BYTES = 64 << 10
LARGE_INTERVAL_SECONDS = 1.0
# How often it is looked whether time alone has changed something: a trial that stalls.
LOOK_SECONDS = 1.0
# Trials that are rendered before others get their turn.
BATCH = 100


@dataclass(frozen=True, slots=True)
class Position:
    """What a client has seen of both streams."""

    events: int
    telemetry: int


class Watch:
    """One watch. Iterate over `responses` once."""

    def __init__(
        self,
        live: ReadableViews,
        scope: Scope,
        after: Position | None,
        brief: bool,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._live = live
        self._scope = scope
        self._after = after
        self._brief = brief
        self._clock = clock
        self._dirty: set[Key] = set()
        self._news = asyncio.Event()
        # Trials whose last message said that they are stalled.
        self._stalled: set[Key] = set()
        self._interval = INTERVAL_SECONDS

    @property
    def _views(self) -> Views:
        return self._live.views

    def _on_change(self, key: Key, by_event: bool) -> None:
        if self._scope.holds(key):
            self._dirty.add(key)
            self._news.set()

    async def responses(self) -> AsyncIterator[api.WatchTrialsResponse]:
        """Yield the messages, for ever."""
        forget = self._live.listen(self._on_change)
        try:
            if self._after is None:
                seen = Position(self._views.events_sequence, self._views.telemetry_sequence)
                async for response in self._snapshot():
                    yield response
            else:
                seen = self._after
                self._dirty.update(key for key in self._keys() if self._is_behind(key, seen))
            at = Position(self._views.events_sequence, self._views.telemetry_sequence)
            for response in self._changes(seen):
                yield response
            seen = at
            yield api.WatchTrialsResponse(
                events_sequence=seen.events, telemetry_sequence=seen.telemetry, caught_up=True
            )
            while True:
                await self._pause()
                at = Position(self._views.events_sequence, self._views.telemetry_sequence)
                for response in self._changes(seen):
                    yield response
                seen = at
        finally:
            forget()

    def _keys(self) -> list[Key]:
        return [key for key in self._views.trials if self._shows(key)]

    def _shows(self, key: Key) -> bool:
        is_there = self._scope.runtime_id or not self._views.runtimes[key.runtime_id].deleted
        return self._scope.holds(key) and bool(is_there)

    async def _snapshot(self) -> AsyncIterator[api.WatchTrialsResponse]:
        """Yield the trials as they are. They carry no position: only a whole snapshot can be gone on from."""
        for index, key in enumerate(self._keys()):
            self._dirty.discard(key)
            yield self._response(key, Position(0, 0))
            if index % BATCH == BATCH - 1:
                await asyncio.sleep(0)

    def _place(self, key: Key) -> Position:
        """Where a trial last changed in both streams."""
        view = self._views.trials[key]
        position = self._views.position_of(view)
        events = max(view.events_sequence, self._views.runtimes[key.runtime_id].events_sequence)
        return Position(events, position.sequence if position is not None else 0)

    def _is_behind(self, key: Key, seen: Position) -> bool:
        place = self._place(key)
        return place.events > seen.events or place.telemetry > seen.telemetry

    def _changes(self, seen: Position) -> list[api.WatchTrialsResponse]:
        """Render what changed, all of it at one position of the views."""
        at = Position(self._views.events_sequence, self._views.telemetry_sequence)
        changed = [(self._place(key), key) for key in self._dirty]
        self._dirty.clear()
        self._news.clear()
        moved = sorted((p.telemetry, key) for p, key in changed if p.events <= seen.events)
        decided = sorted((p.events, key) for p, key in changed if p.events > seen.events)
        responses = [self._response(key, Position(seen.events, max(seen.telemetry, t))) for t, key in moved]
        responses += [self._response(key, Position(events, at.telemetry)) for events, key in decided]
        if responses:
            largest = max(response.ByteSize() for response in responses)
            self._interval = LARGE_INTERVAL_SECONDS if largest > LARGE_BYTES else INTERVAL_SECONDS
        return responses

    def _response(self, key: Key, position: Position) -> api.WatchTrialsResponse:
        views, now = self._views, self._clock()
        view = views.trials[key]
        self._note_stall(key, now)
        response = api.WatchTrialsResponse(
            trial=render_trial(views, view, now, self._brief),
            events_sequence=position.events,
            telemetry_sequence=position.telemetry,
        )
        if self._scope.runtime_id:
            runtime = views.runtimes[key.runtime_id]
            response.runtime_elapsed.CopyFrom(to_duration(elapsed_nanoseconds(runtime, now)))
            estimate = to_estimate(estimate_runtime(views, runtime, now), now)
            if estimate is not None:
                response.runtime_estimate.CopyFrom(estimate)
        return response

    async def _pause(self) -> None:
        """Wait for news, but no less than the interval; look now and then what time alone has changed."""
        await asyncio.sleep(self._interval)
        while not self._dirty:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                now = self._clock()
                looked_at = [key for key in self._views.active if self._shows(key)]
                self._dirty.update(key for key in looked_at if self._is_stalled(key, now) != (key in self._stalled))

    def _is_stalled(self, key: Key, now: int) -> bool:
        view = self._views.trials[key]
        if view.state.active is None:
            return False
        position = self._views.position_of(view)
        return position is not None and is_stalled(view, position, now)

    def _note_stall(self, key: Key, now: int) -> None:
        if self._is_stalled(key, now):
            self._stalled.add(key)
        else:
            self._stalled.discard(key)
