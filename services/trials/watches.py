"""Watching trials: first as they are, then each change, in an order that can be resumed exactly.

Every message carries a position (events, telemetry) with this meaning: all that changed at or before it, in either
stream, has been sent. Trials whose telemetry alone moved go first, by telemetry; then those that an event changed, by
event. So after each message the ones still to be sent have a change behind the position, and the ones sent have none.

What the moves of a search take of a connection is bounded: they wait, and events do not. So one that an event changed
while it waited may be sent again to who comes back with a position of that time.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from milepost.api.trial.v1 import trial_service_pb2 as api
from services.trials.live import ReadableViews
from services.trials.messages import render_trial, to_duration, to_estimate
from services.trials.queries import Scope
from services.trials.readmodel import eta
from services.trials.readmodel.progress import elapsed_nanoseconds
from services.trials.readmodel.runtime_estimates import estimate_in_turns
from services.trials.readmodel.view import Key
from services.trials.readmodel.views import Views

# At most ten messages a second for one trial; large ones less often.
INTERVAL_SECONDS = 0.1
LARGE_BYTES = 64 << 10
LARGE_INTERVAL_SECONDS = 1.0
# What the progress of several trials takes of one watcher's connection; with more trials each is told of less often.
BYTES_PER_SECOND = 24 << 10
MAX_INTERVAL_SECONDS = 5.0
# How often it is looked whether time alone has changed something: a trial that stalls.
LOOK_SECONDS = 1.0
# An estimate of the runtime is told for so long, less the time that has passed, while only telemetry comes.
ESTIMATE_SECONDS = 1.0
# Trials that are rendered before others get their turn.
BATCH = 20
# Many trials are rendered in so many parts, for each of which all of them are looked at.
PARTS = 20


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
        # What was told of both streams.
        self._seen = Position(0, 0)
        # Trials to be told of, and those among them that an event changed.
        self._dirty: set[Key] = set()
        self._decided: set[Key] = set()
        self._news = asyncio.Event()
        # Trials whose last message said that they are stalled.
        self._stalled: set[Key] = set()
        self._interval = INTERVAL_SECONDS
        # When trials that no event changed may be told of again, of the clock of the event loop.
        self._moves_at = 0.0
        self._estimate: tuple[int, eta.Remaining | None] | None = None

    @property
    def _views(self) -> Views:
        return self._live.views

    def _on_change(self, key: Key, by_event: bool) -> None:
        if self._scope.holds(key):
            self._dirty.add(key)
            if by_event:
                self._decided.add(key)
            if by_event or not self._moves_wait:
                self._news.set()

    async def responses(self) -> AsyncIterator[api.WatchTrialsResponse]:
        """Yield the messages, for ever."""
        forget = self._live.listen(self._on_change)
        try:
            if self._after is None:
                self._seen = self._at()
                async for response in self._snapshot():
                    yield response
            else:
                self._seen = self._after
                self._dirty.update(key for key in self._keys() if self._is_behind(key))
                self._decided.update(key for key in self._dirty if self._place(key).events > self._seen.events)
            async for response in self._changes(moves_wait=False):
                yield response
            yield api.WatchTrialsResponse(
                events_sequence=self._seen.events, telemetry_sequence=self._seen.telemetry, caught_up=True
            )
            while True:
                await self._pause()
                async for response in self._changes(moves_wait=self._moves_wait > 0):
                    yield response
        finally:
            forget()

    def _at(self) -> Position:
        return Position(self._views.events_sequence, self._views.telemetry_sequence)

    @property
    def _moves_wait(self) -> float:
        """Seconds until trials that no event changed may be told of."""
        return max(0.0, self._moves_at - asyncio.get_running_loop().time())

    def _keys(self) -> list[Key]:
        return [key for key in self._views.trials if self._shows(key)]

    def _shows(self, key: Key) -> bool:
        is_there = self._scope.runtime_id or not self._views.runtimes[key.runtime_id].deleted
        return self._scope.holds(key) and bool(is_there)

    async def _snapshot(self) -> AsyncIterator[api.WatchTrialsResponse]:
        """Yield the trials as they are. They carry no position: only a whole snapshot can be gone on from."""
        keys = self._keys()
        size = self._part_size(len(keys))
        for first in range(0, len(keys), size):
            whole = await self._of_runtime()
            for key in keys[first : first + size]:
                self._dirty.discard(key)
                self._decided.discard(key)
                yield self._response(key, Position(0, 0), whole)
            await asyncio.sleep(0)

    def _place(self, key: Key) -> Position:
        """Where a trial last changed in both streams."""
        view = self._views.trials[key]
        position = self._views.position_of(view)
        events = max(view.events_sequence, self._views.runtimes[key.runtime_id].events_sequence)
        return Position(events, position.sequence if position is not None else 0)

    def _is_behind(self, key: Key) -> bool:
        place = self._place(key)
        return place.events > self._seen.events or place.telemetry > self._seen.telemetry

    def _part_size(self, count: int) -> int:
        """Return how many trials are rendered before others get their turn."""
        # Of a trial in full there may be a thousand markers.
        return max(BATCH if self._brief else 1, count // PARTS)

    async def _changes(self, *, moves_wait: bool) -> AsyncIterator[api.WatchTrialsResponse]:
        """Yield what changed, a part at a time. What changes meanwhile stands behind it, and is for the next time.

        Args:
            moves_wait: only those that an event changed.
        """
        left = len(self._decided if moves_wait else self._dirty)
        size, told, largest = self._part_size(left), 0, 0
        if self._decided:
            self._estimate = None
        while left > 0:
            whole = await self._of_runtime()
            part = self._part(size, moves_wait, whole)
            left -= size
            for response in part:
                told, largest = told + response.ByteSize(), max(largest, response.ByteSize())
                yield response
            await asyncio.sleep(0)
        if not self._dirty:
            self._seen = self._at()
        if told:
            self._interval = LARGE_INTERVAL_SECONDS if largest > LARGE_BYTES else INTERVAL_SECONDS
        if told and not moves_wait and not self._scope.trial:
            pause = min(told / BYTES_PER_SECOND, MAX_INTERVAL_SECONDS)
            self._moves_at = asyncio.get_running_loop().time() + pause

    def _part(
        self, size: int, moves_wait: bool, whole: api.WatchTrialsResponse | None
    ) -> list[api.WatchTrialsResponse]:
        """Render what changed first of what is to be told, all of it at one position of the views."""
        at, seen = self._at(), self._seen
        changed = [(self._place(key), key) for key in (self._decided if moves_wait else self._dirty)]
        order = [
            (p.events > seen.events, p.events if p.events > seen.events else p.telemetry, key) for p, key in changed
        ]
        telemetry = seen.telemetry if moves_wait else at.telemetry
        responses = []
        for is_decided, number, key in heapq.nsmallest(size, order):
            self._dirty.discard(key)
            self._decided.discard(key)
            if is_decided:
                self._seen = Position(number, telemetry)
            elif not moves_wait:
                self._seen = Position(seen.events, max(seen.telemetry, number))
            responses.append(self._response(key, self._seen, whole))
        if len(responses) == len(order):
            self._seen = Position(at.events, telemetry)
        self._news.clear()
        return responses

    def _response(self, key: Key, position: Position, whole: api.WatchTrialsResponse | None) -> api.WatchTrialsResponse:
        """Render a trial at a position to be told. `whole`: what is said of its runtime."""
        views, now = self._views, self._clock()
        view = views.trials[key]
        self._note_stall(key, now)
        response = api.WatchTrialsResponse(
            trial=render_trial(views, view, now, self._brief),
            events_sequence=position.events,
            telemetry_sequence=position.telemetry,
        )
        if whole is not None:
            response.MergeFrom(whole)
        return response

    async def _of_runtime(self) -> api.WatchTrialsResponse | None:
        """Say what messages say of the runtime as a whole; None: nothing, they are of several."""
        if not self._scope.runtime_id:
            return None
        runtime, now = self._views.runtimes[self._scope.runtime_id], self._clock()
        if self._estimate is None or not 0 <= now - self._estimate[0] < ESTIMATE_SECONDS * 1e9:
            self._estimate = (now, await estimate_in_turns(self._views, runtime, now))
        then, rest = self._estimate
        return api.WatchTrialsResponse(
            runtime_elapsed=to_duration(elapsed_nanoseconds(runtime, now)),
            runtime_estimate=to_estimate(rest.after((now - then) / 1e9), now) if rest is not None else None,
        )

    async def _pause(self) -> None:
        """Wait for news, but no less than the interval; look now and then what time alone has changed."""
        await asyncio.sleep(self._interval)
        while not self._decided and (not self._dirty or self._moves_wait > 0):
            self._news.clear()
            try:
                async with asyncio.timeout(min(LOOK_SECONDS, self._moves_wait if self._dirty else LOOK_SECONDS)):
                    await self._news.wait()
            except TimeoutError:
                now = self._clock()
                looked_at = [key for key in self._views.active if self._shows(key)]
                self._dirty.update(key for key in looked_at if self._is_stalled(key, now) != (key in self._stalled))

    def _is_stalled(self, key: Key, now: int) -> bool:
        return self._views.is_stalled(self._views.trials[key], now)

    def _note_stall(self, key: Key, now: int) -> None:
        if self._is_stalled(key, now):
            self._stalled.add(key)
        else:
            self._stalled.discard(key)
