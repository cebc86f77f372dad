"""StreamSeries: stored points, then live ones, with nothing missing and nothing twice at the seam.

The seam is a position of TELEMETRY. A reader subscribes first; what was decoded before that is read from the store as
soon as it is there, what is decoded afterwards comes from the writer's memory. A reader that is too slow for the live
part goes back to reading from the store.

Whose steps are whose is said by events, which come another way than points. Points whose attempt the log does not know yet
wait for it; if it is too late, they follow once it is known.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

import numpy as np

from milepost.api.metric.v1 import metric_service_pb2 as pb
from services.metrics.engine import Engine
from services.metrics.lineage import Cut
from services.metrics.queries.series import SeriesRef, group_points
from services.metrics.storage.arrays import as_numpy
from services.metrics.storage.batches import Batch, Group
from services.metrics.storage.order import ORDER
from services.metrics.storage.selection import (
    Condition,
    Pin,
    StepRange,
    TrialRef,
    after,
    all_of,
    before,
    in_keys,
    in_pieces,
    in_trials,
)
from services.metrics.storage.store import Store

# Points sent in one message.
CHUNK_POINTS = 50_000
# How long live points wait for the event of their attempt.
HOLD_SECONDS = 5.0


async def stream_series(
    engine: Engine, trials: Sequence[TrialRef], keys: Sequence[str], after_sequence: int
) -> AsyncIterator[pb.StreamSeriesResponse]:
    """Yield the points of some trials behind a position, then each new one, for ever.

    Raises:
        OutOfRange: TELEMETRY is not that far.
    """
    await engine.wait_stored(engine.writer.steps, after_sequence)
    stream = _SeriesStream(engine, trials, keys)
    try:
        async for response in stream.run(after_sequence):
            yield response
    finally:
        stream.close()


class _SeriesStream:
    """One reader: its position, and the cuts it was told."""

    def __init__(self, engine: Engine, trials: Sequence[TrialRef], keys: Sequence[str]) -> None:
        self._engine = engine
        self._pipeline = engine.writer.steps
        self._trials = list(trials)
        self._keys = frozenset(keys)
        self._told = dict.fromkeys(self._trials, 0)
        self._owned: dict[tuple[TrialRef, int], list[StepRange]] = {}
        # Attempts that the log did not know when their points were due: those belong to no lineage yet.
        self._strangers: set[tuple[TrialRef, int]] = set()
        self._subscription = engine.writer.steps_hub.subscribe((t.runtime_id, t.trial) for t in self._trials)

    def close(self) -> None:
        self._subscription.close()

    async def run(self, after_sequence: int) -> AsyncIterator[pb.StreamSeriesResponse]:
        position = Pin(self._pipeline.stream_id, after_sequence) if after_sequence else Pin(0, 0)
        caught_up = False
        while True:
            target = Pin(self._pipeline.stream_id, self._pipeline.accepted)
            for response in self._new_cuts():
                yield response
            await self._pipeline.wait_stored(target.sequence)
            for response in self._new_cuts():
                yield response
            async for response in self._stored(position, target, self._owned):
                yield response
            position = max(position, target)
            stored = position
            if not caught_up:
                yield pb.StreamSeriesResponse(telemetry_sequence=position.sequence, caught_up=True)
                caught_up = True
            while not self._subscription.overflowed:
                batches = await self._subscription.take()
                if self._subscription.overflowed:
                    break
                await self._know_attempts(batches)
                known = set(self._owned)
                for response in self._new_cuts():
                    yield response
                late = set(self._owned) - known
                if late & self._strangers:
                    await self._pipeline.wait_stored(position.sequence)
                    stored = position
                if late:
                    self._strangers -= late
                    async for response in self._stored(Pin(0, 0), stored, late):
                        yield response
                fresh = [batch for batch in batches if batch.sequence > position.sequence]
                for response in self._live(fresh):
                    yield response
                if fresh:
                    position = Pin(self._pipeline.stream_id, fresh[-1].sequence)
            self._subscription.restart()

    # --- lineage ----------------------------------------------------------------------------------------------------

    def _new_cuts(self) -> list[pb.StreamSeriesResponse]:
        """Say each cut once, and take over the lineage that it makes."""
        lineages = self._engine.follower.lineages
        responses = []
        for trial in self._trials:
            cuts = lineages.cuts(trial.runtime_id, trial.trial)
            if not self._owned_known(trial) or len(cuts) > self._told[trial]:
                self._take_lineage(trial)
            responses += [_cut_response(trial, cut) for cut in cuts[self._told[trial] :]]
            self._told[trial] = len(cuts)
        return responses

    def _owned_known(self, trial: TrialRef) -> bool:
        return any(known == trial for known, _ in self._owned)

    def _take_lineage(self, trial: TrialRef) -> None:
        lineages = self._engine.follower.lineages
        for key in [key for key in self._owned if key[0] == trial]:
            del self._owned[key]
        for attempt in lineages.attempts(trial.runtime_id, trial.trial):
            self._owned[trial, attempt] = []
        for piece in lineages.owned(trial):
            self._owned[trial, piece.attempt].append(piece)

    async def _know_attempts(self, batches: Sequence[Batch]) -> None:
        """Give the events of new attempts some time to be read."""
        unknown = {_attempt(batch) for batch in batches} - self._owned.keys() - self._strangers
        if unknown:
            lineages = self._engine.follower.lineages

            def strangers() -> set[tuple[TrialRef, int]]:
                return {(t, number) for t, number in unknown if number not in lineages.attempts(t.runtime_id, t.trial)}

            if not await self._engine.follower.wait_until(lambda: not strangers(), HOLD_SECONDS):
                self._strangers |= strangers()

    # --- points -----------------------------------------------------------------------------------------------------

    async def _stored(
        self, start: Pin, end: Pin, attempts: Collection[tuple[TrialRef, int]]
    ) -> AsyncIterator[pb.StreamSeriesResponse]:
        numbers = {attempt for _, attempt in attempts}
        pieces = [piece for place in attempts for piece in self._owned[place]]
        if start >= end or not pieces:
            return
        store = self._engine.store
        for first, last in await _windows(store, self._trials, numbers, start, end):
            condition = all_of(in_pieces(pieces, pin=end), in_keys(sorted(self._keys)), after(first), before(last))
            rows = await store.read(
                "SELECT runtime, trial, key, attempt, step, value, time_ms "
                f"FROM points WHERE {condition.sql} ORDER BY runtime, trial, key, {ORDER}",
                condition.parameters,
            )
            response = pb.StreamSeriesResponse(
                telemetry_sequence=last.sequence if last.stream_id == end.stream_id else 0
            )
            for ref, points in group_points(rows, by_attempt=True).items():
                _add_block(response, ref, points.steps, points.values, points.times_ms)
            yield response

    def _live(self, batches: Sequence[Batch]) -> list[pb.StreamSeriesResponse]:
        responses = []
        response = pb.StreamSeriesResponse()
        points = 0
        for batch in batches:
            trial, attempt = _attempt(batch)
            for group in batch.groups:
                for piece in self._owned.get((trial, attempt), ()):
                    points += self._add_group(response, trial, attempt, group, piece)
            response.telemetry_sequence = batch.sequence
            if points >= CHUNK_POINTS:
                responses.append(response)
                response, points = pb.StreamSeriesResponse(), 0
        if response.blocks:
            responses.append(response)
        return responses

    def _add_group(
        self, response: pb.StreamSeriesResponse, trial: TrialRef, attempt: int, group: Group, piece: StepRange
    ) -> int:
        steps, times = group.steps, group.times_ms
        if not len(steps):
            return 0
        mask = None
        if steps.min() < piece.first or steps.max() > piece.last:
            mask = (steps >= piece.first) & (steps <= piece.last)
            if not mask.any():
                return 0
            steps, times = steps[mask], times[mask]
        count = 0
        for key, values in zip(group.keys, group.values, strict=True):
            if not self._keys or key in self._keys:
                _add_block(
                    response, SeriesRef(trial, key, attempt), steps, values if mask is None else values[mask], times
                )
                count += len(steps)
        return count


async def _windows(
    store: Store, trials: Sequence[TrialRef], attempts: Collection[int], start: Pin, end: Pin
) -> list[tuple[Pin, Pin]]:
    """Cut a range of positions into parts with about `CHUNK_POINTS` points of some attempts each."""
    condition = all_of(
        in_trials(trials),
        Condition("attempt IN {numbers:Array(UInt32)}", {"numbers": sorted(attempts)}),
        Condition("key = '' AND kind = 'stored' AND items > 0"),
        after(start),
        before(end),
    )
    rows = await store.read(
        f"SELECT stream_id, log_seq, sum(items) AS points FROM points WHERE {condition.sql} "
        "GROUP BY stream_id, log_seq ORDER BY stream_id, log_seq",
        condition.parameters,
    )
    positions = list(zip(rows["stream_id"].to_pylist(), rows["log_seq"].to_pylist(), strict=True))
    totals = np.cumsum(as_numpy(rows["points"]))
    windows = []
    first, sent = start, 0
    for index, (stream_id, sequence) in enumerate(positions):
        if totals[index] - sent >= CHUNK_POINTS or index == len(positions) - 1:
            last = Pin(stream_id, sequence)
            windows.append((first, last))
            first, sent = last, totals[index]
    return windows


def _attempt(batch: Batch) -> tuple[TrialRef, int]:
    return TrialRef(batch.sender.runtime_id, batch.sender.trial), batch.sender.attempt


def _add_block(
    response: pb.StreamSeriesResponse, ref: SeriesRef, steps: np.ndarray, values: np.ndarray, times: np.ndarray
) -> None:
    response.blocks.add(
        parent=ref.trial.name,
        key=ref.key,
        attempt=ref.attempt,
        steps=steps.tolist(),
        values=values.tolist(),
        times_ms=times.tolist(),
    )


def _cut_response(trial: TrialRef, cut: Cut) -> pb.StreamSeriesResponse:
    return pb.StreamSeriesResponse(
        cut=pb.LineageCut(
            parent=trial.name,
            attempt=cut.attempt,
            restored_step=cut.restored_step,
            events_sequence=cut.events_sequence,
        )
    )
