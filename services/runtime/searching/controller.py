"""The controller of searches: has trials chosen, says what they came to, ends searches. It keeps nothing the log has not.

A move is decided on the chain of the runtime, and only while that has not gone on: what was chosen from less than all that
there is, by whoever leads no longer, is not appended.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from milepost import configuration as configurations
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.configuration.words import PRUNERS, SAMPLERS
from milepost.domain import population as populations
from milepost.domain import runtime, trial
from milepost.domain.search import GIVEN, Ended, Values, metrics_of, objective_of
from milepost.errors import Aborted, MilepostError
from milepost.eventlog import EventLogError
from services.runtime import decisions
from services.runtime.decisions import Decisions
from services.runtime.policies import placement, search
from services.runtime.readmodel.view import Reference, RuntimeView, configuration_of
from services.runtime.readmodel.views import Views
from services.runtime.searching import earlier, judging, population
from services.runtime.searching.sampler import Sampler, SamplerFailed, definition_of
from services.runtime.searching.values import TrialValues

log = logging.getLogger(__name__)

ACTOR = "service:search"
# After an error that is not the search's own, for example a log that does not answer.
PAUSE_SECONDS = 1.0
# Failures of a sampler in a row, after which the search ends.
MAX_FAILURES = 5
_PRUNER_WORDS = {number: word for word, number in PRUNERS.items()}
_WORDS = {number: word for word, number in SAMPLERS.items()}


class Searches:
    """Carries every search with a sampler to its end, while `run` runs."""

    def __init__(
        self,
        views: Views,
        decisions: Decisions,
        sampler: Sampler,
        values: TrialValues,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._views = views
        self._decisions = decisions
        self._sampler = sampler
        self._values = values
        self._clock = clock
        self._pause_seconds = pause_seconds
        # Searches that something happened to, and who works on them.
        self._due: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        # What is being read of trials that have completed, and what was.
        self._reading: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._read: dict[tuple[str, int], Values] = {}
        self._failures: Counter[str] = Counter()
        # Searches for which this version would have chosen otherwise; each is told once.
        self._differing: set[str] = set()

    async def run(self) -> None:
        """Act until cancelled. For whoever leads."""
        try:
            with self._views.listening(lambda view, sequence: self._mark(view)):
                for view in self._views.active():
                    self._mark(view)
                await asyncio.get_running_loop().create_future()
        finally:
            await self._stand_down()

    async def _stand_down(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._due.clear()
        tasks = [*self._tasks.values(), *self._reading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._reading.clear()
        self._read.clear()
        await self._sampler.close()

    def _mark(self, view: RuntimeView) -> None:
        """Look at a search soon."""
        configuration = view.state.configuration
        if configuration is None or not configurations.has_sampler(configuration):
            return
        runtime_id = view.runtime_id
        self._due.add(runtime_id)
        if runtime_id not in self._tasks:
            self._tasks[runtime_id] = asyncio.get_running_loop().create_task(self._work(runtime_id))

    async def _work(self, runtime_id: str) -> None:
        try:
            while runtime_id in self._due:
                self._due.discard(runtime_id)
                await self._advance_safely(self._views.runtimes[runtime_id])
        finally:
            self._tasks.pop(runtime_id, None)

    async def _advance_safely(self, view: RuntimeView) -> None:
        runtime_id = view.runtime_id
        try:
            await self._advance(view)
            return
        except SamplerFailed as error:
            self._failures[runtime_id] += 1
            log.warning("search.sampler_failed", extra={"runtime": runtime_id, "error": str(error)})
        except Aborted as error:
            # Somebody else was faster: it is looked at again.
            log.info("search.moved_on", extra={"runtime": runtime_id, "error": str(error)})
        except (MilepostError, EventLogError, OSError) as error:
            log.warning("search.move_failed", extra={"runtime": runtime_id, "error": str(error)})
        except Exception:  # the outermost loop of one search: the others must go on
            log.exception("search.failed", extra={"runtime": runtime_id})
            await asyncio.sleep(9 * self._pause_seconds)
        await asyncio.sleep(self._pause_seconds)
        self._due.add(runtime_id)

    async def _advance(self, view: RuntimeView) -> None:
        """Make moves until there is none."""
        while view.state.in_progress and not view.state.deleting:
            while await self._judge_next(view):
                pass
            if let_go := population.to_let_go(view):
                await self._decide(view, let_go)
            await self._report_all(view)
            picture = picture_of(view)
            move = search.next_move(picture, self._clock())
            if move is None:
                self._set_timer(view, search.wake_time(picture))
                break
            if isinstance(move, search.TellEarlierTrials):
                await self._tell_earlier(view)
            elif isinstance(move, search.Suggest):
                await self._suggest(view, move)
            else:
                await self._end(view, move.ended)
        history = view.state.history
        if not view.state.in_progress or history.ended is not None:
            self._failures.pop(view.runtime_id, None)
            await self._sampler.forget(view.runtime_id)

    def _set_timer(self, view: RuntimeView, wake: datetime | None) -> None:
        timer = self._timers.pop(view.runtime_id, None)
        if timer is not None:
            timer.cancel()
        if wake is not None:
            delay = max(0.05, (wake - self._clock()).total_seconds())
            self._timers[view.runtime_id] = asyncio.get_running_loop().call_later(delay, self._mark, view)

    # --- moves

    async def _judge_next(self, view: RuntimeView) -> bool:
        """Judge the next rung that a trial has reached, if there is one. Those of a trial come before its end is reported.

        A trial that has completed meanwhile is judged too: it must not matter whether this service was there in time.
        """
        found = judging.next_rung(view) if configuration_of(view).search.HasField("pruner") else None
        if found is None or view.state.stop is not None:
            return False
        await self._decide(view, judging.judge(view, found, self._clock()), view.trials[found.trial].last)
        return True

    async def _report_all(self, view: RuntimeView) -> None:
        """Report what is known of trials that have ended, and have the rest read."""
        for number in search.to_report(picture_of(view)):
            situation = view.trials[number].state.situation
            key = (view.runtime_id, number)
            wanted = configuration_of(view).search
            if isinstance(situation, trial.Failed):
                report = facts.ObjectiveReported(
                    trial=number,
                    outcome=facts.OBJECTIVE_OUTCOME_TRIAL_FAILED,
                    metric=wanted.objective.metric,
                    detail=situation.detail,
                )
            elif key in self._read:
                report = objective_of(wanted, number, self._read.pop(key))
            else:
                if key not in self._reading:
                    self._reading[key] = asyncio.get_running_loop().create_task(self._read_values(view, number))
                continue
            await self._decide(view, {None: [runtime.ReportObjective(report)]}, view.trials[number].last)

    async def _read_values(self, view: RuntimeView, number: int) -> None:
        key = (view.runtime_id, number)
        try:
            state, ended = view.trials[number].state, view.trials[number].last["TrialCompleted"]
            metrics = metrics_of(configuration_of(view).search)
            self._read[key] = await self._values.read(*key, state.attempt, metrics, ended.sequence)
        except (MilepostError, EventLogError) as error:
            log.warning("search.values_not_read", extra={"runtime": key[0], "trial": number, "error": str(error)})
            await asyncio.sleep(self._pause_seconds)
        finally:
            self._reading.pop(key, None)
        self._mark(view)

    async def _tell_earlier(self, view: RuntimeView) -> None:
        """Read what trials of other runtimes came to and put it into the log, where it stays when those are gone."""
        wanted = configuration_of(view).search
        found: list[facts.EarlierTrial] = []
        missing: list[str] = []
        for runtime_id in wanted.warm_start:
            source = self._views.runtimes.get(runtime_id)
            if source is None or source.state.purging:
                missing.append(f"{runtime_id} is no longer there")
                continue
            trials, without = await earlier.earlier_trials(wanted, source, self._values)
            found += trials
            if without:
                missing.append(f"{without} of {runtime_id} have no value or no point of this space")
        told = tuple(earlier.in_events(found[-earlier.MAX_TRIALS :], "; ".join(missing)))
        await self._decide(view, {None: [runtime.TellEarlierTrials(told)]})

    async def _suggest(self, view: RuntimeView, move: search.Suggest) -> None:
        configuration, history = configuration_of(view), view.state.history
        if self._failures[view.runtime_id] >= MAX_FAILURES:
            detail = f"it failed {MAX_FAILURES} times in a row; the log of the runtime service says how"
            await self._end(view, Ended(facts.SEARCH_END_REASON_SAMPLER_FAILED, detail))
            return
        told = history.told_to_sampler()
        proposal = await self._sampler.propose(view.runtime_id, definition_of(configuration.search), told)
        self._failures.pop(view.runtime_id, None)
        if proposal.differing and view.runtime_id not in self._differing:
            self._differing.add(view.runtime_id)
            extra = {"runtime": view.runtime_id, "trials": len(proposal.differing), "version": proposal.version}
            log.warning("search.chosen_otherwise", extra=extra)
        kind = _WORDS[configuration.search.kind]
        suggestion = facts.TrialSuggested(
            trial=move.trial,
            parameters=proposal.parameters,
            sampler=GIVEN if populations.members(history) < len(configuration.search.points) else kind,
            because=search.because(view.state, kind),
            sampler_version=proposal.version,
        )
        branch = view.state.branch
        origin = branch.origin if branch is not None and not branch.weights_only else None
        parameters = {**configuration.parameters, **proposal.parameters}
        rung_steps = population.rung_steps_of(configuration.search)
        create = trial.CreateTrial(view.runtime_id, move.trial, parameters, proposal.parameters, origin, rung_steps)
        commands: dict[int | None, list[object]] = {
            None: [runtime.SuggestTrial(len(history.entries), suggestion)],
            move.trial: [create],
        }
        await self._decide(view, commands)

    async def _end(self, view: RuntimeView, ended: Ended) -> None:
        end: dict[int | None, list[object]] = {None: [runtime.EndSearch(ended.reason, ended.detail)]}
        await self._decide(view, end | population.to_let_go(view, ended=True))

    async def _decide(
        self,
        view: RuntimeView,
        commands: dict[int | None, list[object]],
        behind: dict[str, Reference] | None = None,
    ) -> None:
        """Decide on a search. What is behind it: the end of a trial, or the newest report, request or resume."""
        names: tuple[str, ...] = ("ObjectiveReported", "RuntimeRequested", "ResumeRequested")
        last = view.last
        if behind is not None:
            names, last = ("TrialCompleted", "TrialFailed", "EvaluationCompleted"), behind
        await self._decisions.decide(view.runtime_id, commands, decisions.behind(ACTOR, last, *names))


def picture_of(view: RuntimeView) -> search.Picture:
    """Return what the next move of a search depends on."""
    state, slots = view.state, 1
    if state.allocation is not None:
        slots = placement.slots_of(state.allocation, placement.need_of(configuration_of(view)))
    # Of ten thousand trials most are reported; this is asked after each event.
    numbers = {*judging.unreported(state), *view.running, *view.starting}
    trials = {number: view.trials[number].state for number in sorted(numbers) if number in view.trials}
    resting = (trial.Stopped, trial.Failed, trial.Completed)
    to_resume = frozenset(
        number
        for number in state.resume_trials
        if number in view.trials and isinstance(view.trials[number].state.situation, resting)
        if (since := view.trials[number].since) is not None and since.sequence <= view.began
    )
    return search.Picture(state, trials, slots, view.started.time if view.started is not None else None, to_resume)
