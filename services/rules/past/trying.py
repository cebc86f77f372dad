"""A rule tried on the past: stored runs, played through the same fold as live ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import merge
from statistics import median

from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.eventlog import EventLog, RecordedEvent, codec, events_of
from services.rules.evaluation.compiling import Compiled
from services.rules.evaluation.fold import Evaluation
from services.rules.evaluation.inputs import Lines, Points
from services.rules.evaluation.occurrences import Occurrence
from services.rules.evaluation.states import SetRule
from services.rules.past.stored import StoredRuns
from services.rules.playing import Player, event_ms
from services.rules.selection import Selectable, Selector, parse_selector

# As for live runs: time has passed for the fold when it has by so much.
MARGIN_MS = 2_000
# Messages that are played before others get their turn.
AT_ONCE = 20
FAILED = codec.type_of(runtime_facts.RuntimeFailed())


@dataclass(slots=True)
class Tally:
    """What is counted over all runs."""

    summary: api.TestSummary
    leads: list[float]

    def add(self, run: api.TestedRun) -> None:
        """Count a run that was played."""
        summary, fired = self.summary, bool(run.firings)
        foreseen = run.HasField("lead_seconds")
        summary.run_count += 1
        summary.fired_run_count += fired
        summary.firing_count += len(run.firings)
        summary.failed_run_count += run.failed
        summary.foreseen_count += foreseen
        summary.missed_count += run.failed and not foreseen
        summary.false_alarm_count += fired and not run.failed
        summary.point_count += run.point_count
        if foreseen:
            self.leads.append(run.lead_seconds)


class Trial:
    """Tries rules on stored runs."""

    def __init__(self, event_log: EventLog, stored: StoredRuns) -> None:
        self._log = event_log
        self._stored = stored

    async def run(self, rule: SetRule, start: datetime, max_runs: int) -> AsyncIterator[api.TestRuleResponse]:
        """Yield what comes of each run that the rule selects, newest first, and a summary in the end."""
        tally = Tally(api.TestSummary(), [])
        selects = parse_selector(rule.rule.selector)
        async for runtime in self._stored.since(start):
            if runtime.HasField("imported") or not _may_select(selects, runtime):
                continue
            if tally.summary.run_count == max_runs:
                tally.summary.truncated = True
                break
            played = await self.play(rule, runtime.runtime_id)
            played.display_name = runtime.display_name
            tally.add(played)
            yield api.TestRuleResponse(run=played)
        if tally.leads:
            tally.summary.median_lead_seconds = median(tally.leads)
        yield api.TestRuleResponse(summary=tally.summary)

    async def known_series(self, selector: str, start: datetime, max_runs: int) -> tuple[int, set[str]]:
        """Read which series the newest runs have that a selector chooses. Returns how many runs have any, and the keys."""
        selects = parse_selector(selector)
        looked = count = 0
        keys: set[str] = set()
        async for runtime in self._stored.since(start):
            if runtime.HasField("imported") or not _may_select(selects, runtime):
                continue
            found = await self._stored.series(runtime.runtime_id)
            keys.update(found)
            count += bool(found)
            looked += 1
            if looked == max_runs:
                break
        return count, keys

    async def play(self, rule: SetRule, runtime_id: str) -> api.TestedRun:
        """Play a rule over one run, from its beginning."""
        events = [event async for event in events_of(self._log.read(0, None, (f"events.{runtime_id}.>",)))]
        messages = await self._messages(Compiled.of(rule), runtime_id)
        evaluation = Evaluation(with_own=False)
        evaluation.set_rule(rule)
        player = Player(evaluation, self._history)
        tested = api.TestedRun(runtime=f"runtimes/{runtime_id}")
        found: list[Occurrence] = []
        for count, item in enumerate(_merged(events, messages)):
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)
            if isinstance(item, RecordedEvent):
                found += await player.event(item)
            else:
                message = replace(item, runtime_id=runtime_id)
                if isinstance(message, Points):
                    tested.point_count += message.count
                found += await player.message(message)
        found += evaluation.advance(int(time.time() * 1_000) - MARGIN_MS)
        tested.firings.extend(one.fact for one in found if isinstance(one.fact, facts.RuleFired))
        _judge(tested, events)
        return tested

    async def _messages(self, rule: Compiled, runtime_id: str) -> Iterator[Points] | Iterator[Lines]:
        """Read what a rule looks at."""
        if rule.kind == "log_pattern":
            return await self._stored.lines(runtime_id)
        if rule.series is not None:
            return await self._stored.points(runtime_id, rule.series.wants)
        if rule.silence is not None or rule.end is not None:
            return await self._stored.points(runtime_id, lambda key: True)
        return iter(())

    async def _history(self, runtime_id: str, until: int) -> AsyncIterator[RecordedEvent]:
        async for event in events_of(self._log.read(0, until, (f"events.{runtime_id}.>",))):
            yield event


def _may_select(selects: Selector, runtime: runtime_api.Runtime) -> bool:
    """Return whether a selector may choose a run, by the labels that it was made with or those that it has now."""
    made = Selectable.of(runtime.runtime_id, runtime.configuration, runtime.created_by)
    now = replace(made, labels=tuple(sorted(runtime.labels.items())))
    return selects(made) or selects(now)


def _merged(
    events: Iterable[RecordedEvent], messages: Iterator[Points] | Iterator[Lines]
) -> Iterator[RecordedEvent | Points | Lines]:
    """Merge two streams, each in its own order, as the evaluator does."""
    # Times of a stream that went back count as the last one that was.
    keyed: list[Iterator[tuple[int, int, int, RecordedEvent | Points | Lines]]] = [
        ((event_ms(event), 0, event.sequence, event) for event in events),
        ((message.time_ms, 1, message.sequence, message) for message in messages),
    ]
    for *_, item in merge(*keyed, key=lambda entry: entry[:3]):
        yield item


def _judge(tested: api.TestedRun, events: list[RecordedEvent]) -> None:
    """Return whether a run failed, and how long before that the rule fired first."""
    failures = [event for event in events if event.type == FAILED]
    if not failures:
        return
    tested.failed = True
    failed_ms = event_ms(failures[-1])
    before = [fired.occur_time.ToMilliseconds() for fired in tested.firings]
    before = [at for at in before if at < failed_ms]
    if before:
        tested.lead_seconds = (failed_ms - min(before)) / 1_000
