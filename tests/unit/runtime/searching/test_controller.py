"""Searches that are killed anywhere go on to the very same next point: in memory, thousands of instants in seconds."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.configuration import resolve
from milepost.domain import runtime, trial
from milepost.domain.decider import Fact
from milepost.domain.search import Entry, History, Points, Promoted, Pruned, Reached, Reported, Suggested, Values
from milepost.errors import Unavailable
from milepost.eventlog import NewEvent, WrongExpectedSequence, attempt_subject, codec, trial_chain
from milepost.eventlog.memory import MemoryLog
from milepost.ids import new_event_id
from milepost.snapshots import snapshot_id
from services.runtime.decisions import Cause, Decisions
from services.runtime.readmodel.view import RuntimeView
from services.runtime.readmodel.views import Views
from services.runtime.searching import population
from services.runtime.searching.controller import MAX_FAILURES, Searches
from services.runtime.searching.process import Studies
from services.runtime.searching.sampler import Sampler, SamplerFailed, _entry, definition_of
from services.runtime.searching.study import Study
from tests.unit.domain.given import NOW

Said = facts.EvaluationCompleted | facts.AttemptEnded | facts.SnapshotCommitted
BEHIND = Cause("service:scheduler")
NAME = "rt-1"


def searching(**changes: Any) -> config.RuntimeConfiguration:
    search = {
        "kind": "tpe",
        "space": {"x": {"minimum": -5, "maximum": 5}, "y": {"minimum": 0.01, "maximum": 10, "log_scale": True}},
        "objective": {"metric": "eval/loss", "mode": "min"},
        "seed": 3,
        "max_trials": 24,
        **changes,
    }
    return resolve({"entrypoint": "a:b", "search": search})


def loss(parameters: dict[str, str]) -> float:
    return (json.loads(parameters["x"]) - 1) ** 2 + json.loads(parameters["y"])


class InThisProcess(Sampler):
    """The sampler without its process: the same questions, the same answers."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._studies = Studies()
        self._chance = chance
        self.failures = 0

    async def _exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise OSError("process 7 has died")
        answer = json.loads(json.dumps(self._studies.answer(json.loads(json.dumps(question)))))
        for _ in range(self._chance.randrange(30)):
            await asyncio.sleep(0)
        return answer

    async def _end(self) -> None:
        self._known.clear()
        self._studies = Studies()


class Slow(MemoryLog):
    """A log whose answers take a while, in which whoever waits for them may die."""

    async def append(self, *arguments: Any) -> Any:
        await asyncio.sleep(0)
        appended = await super().append(*arguments)
        await asyncio.sleep(0)
        return appended


class World:
    """A log, and a machine on which trials run. What decides about the search can be killed."""

    def __init__(
        self,
        configuration: config.RuntimeConfiguration,
        seed: int = 0,
        failing: frozenset[int] = frozenset(),
        saves: bool = True,
    ):
        self.log = Slow(lambda: NOW)
        self.configuration = configuration
        self.chance = random.Random(seed)
        self.failing = failing
        self.saves = saves
        self.kills = 0
        self.crashes = 0
        self.unanswered = 0
        self.sampler = InThisProcess(self.chance)

    async def read(self, runtime_id: str, number: int, attempt: int, metrics: Sequence[str], sequence: int) -> Values:
        await asyncio.sleep(0)
        if self.unanswered:
            self.unanswered -= 1
            raise Unavailable("the metric service: down")
        searched = self.view.trials[number].searched
        known = {"eval/loss": loss(searched), "size": json.loads(searched["x"])}
        return Values({metric: Points(1, known[metric], known[metric], known[metric]) for metric in metrics})

    async def run(self, kill: bool = False) -> History:
        """Search to the end. With `kill`, die every so many instants, and begin again with what the log has.

        One that has lost its lease and does not know it goes on for a while beside the next one.
        """
        lives = [await self._begin()]
        await self.decisions.decide(
            NAME,
            {
                None: [
                    runtime.RequestRuntime(NAME, "", self.configuration, "sha256:a", 24),
                    runtime.AllocateResources(runtime.Allocation(64.0, 0.0, (), "here", 0.0)),
                ]
            },
            BEHIND,
        )
        for _ in range(200_000):
            if self.view.state.history.ended is not None and not self._running():
                if len(self.view.state.history.reported) == self.view.state.history.suggested_count:
                    break
            for _ in range(self.chance.randrange(1, 12)):
                await asyncio.sleep(0)
            if kill and self.chance.random() < 0.2:
                self.kills += 1
                if len(lives) > 1 or self.chance.random() < 0.5:
                    await _end(lives.pop(0))
                lives.append(await self._begin())
            if self.chance.random() < 0.5:
                await self._something_happens()
        else:
            raise AssertionError(f"it does not end: {self.view.state.history}")
        for life in lives:
            await _end(life)
        return self.view.state.history

    @property
    def view(self) -> RuntimeView:
        return self.views.runtimes[NAME]

    async def _begin(self) -> list[asyncio.Task[None]]:
        """Read the log, and act on it."""
        self.views = views = Views()
        following = asyncio.create_task(views.follow(self.log))
        await views.catch_up(self.log)
        self.decisions = Decisions(self.log, views, lambda: NOW)
        failures, self.sampler = self.sampler.failures, InThisProcess(self.chance)
        self.sampler.failures = failures
        searches = Searches(views, self.decisions, self.sampler, self, lambda: NOW, pause_seconds=0.0)  # type: ignore[arg-type]
        return [asyncio.create_task(searches.run()), following]

    def _running(self) -> list[int]:
        over = (trial.Completed, trial.Failed, trial.Stopped)
        return [n for n, one in self.view.trials.items() if not isinstance(one.state.situation, over)]

    async def _something_happens(self) -> None:
        """A trial that waits is launched; one that runs crashes, fails or completes."""
        running = self._running()
        if not running:
            return
        number = self.chance.choice(running)
        state = self.view.trials[number].state
        if not isinstance(state.situation, trial.Active):
            await self._decide(number, trial.LaunchAttempt(state.attempt + 1, None))
            return
        done = self.view.trials[number].evaluations
        step = (done[-1][0] if done else trial.origin_step(state)) + 10
        if state.situation.stop is not None:
            await self._ends(number, state.attempt, facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED)
            await self._decide(number, trial.MarkStopped(state.situation.stop.reason))
        elif self.configuration.search.HasField("pruner") and step <= 40:
            if state.rung_steps and self.saves:
                await self._says(number, _snapshot(number, state.attempt, step))
            values = {"eval/loss": loss(self.view.trials[number].searched) + 10 / step}
            await self._says(number, facts.EvaluationCompleted(attempt=state.attempt, step=step, values=values))
        elif self.chance.random() < 0.3:
            self.crashes += 1
            await self._ends(number, state.attempt, facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_SIGNAL)
            await self._decide(number, trial.ScheduleRetry(state.attempt, 9, NOW, common.EXIT_CAUSE_SIGNAL, ""))
        elif number in self.failing:
            await self._ends(number, state.attempt, facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_DETERMINISTIC)
            await self._decide(number, trial.FailTrial(state.attempt, common.FAILURE_REASON_DETERMINISTIC_ERROR, "no"))
        else:
            await self._ends(number, state.attempt, facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED)
            await self._decide(number, trial.CompleteTrial(state.attempt))

    async def _decide(self, number: int, command: object) -> None:
        await self.decisions.decide(NAME, {number: [command]}, BEHIND)

    async def _says(self, number: int, payload: Said) -> None:
        ce_type, body = codec.encode(payload)
        subject = attempt_subject(NAME, number, payload.attempt)
        event = NewEvent(subject, ce_type, body, new_event_id(), NOW, "/test", "trainer")
        while True:
            try:
                appended = await self.log.append([event], [await self.log.head(trial_chain(NAME, number))])
                break
            except WrongExpectedSequence:
                # It was told to stop in between; it says first what it was about to say.
                continue
        await self.views.wait_for(appended.sequences[-1])

    async def _ends(self, number: int, attempt: int, outcome: facts.AttemptOutcome, cause: common.ExitCause) -> None:
        await self._says(number, facts.AttemptEnded(attempt=attempt, outcome=outcome, cause=cause))


async def _end(life: list[asyncio.Task[None]]) -> None:
    for task in life:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _snapshot(number: int, attempt: int, step: int) -> facts.SnapshotCommitted:
    identifier = snapshot_id(step, attempt)
    uri = f"file:///{number}/{identifier}"
    return facts.SnapshotCommitted(attempt=attempt, snapshot_id=identifier, step=step, uri=uri, manifest_sha256="ab")


def check_each_was_chosen_from_what_the_log_had(configuration: config.RuntimeConfiguration, history: History) -> None:
    study = Study(definition_of(configuration.search))
    for entry in history.told_to_sampler():
        if isinstance(entry, Suggested):
            assert study.propose() == dict(entry.parameters)
        study.extend([_entry(entry)])


@pytest.mark.parametrize("kind", ["tpe", "cmaes", "qmc"])
async def test_a_search_with_one_worker_killed_at_any_instant_is_the_undisturbed_one(kind: str) -> None:
    configuration = searching(kind=kind)
    failing = frozenset({5, 11})
    undisturbed = await World(configuration, failing=failing).run()
    assert undisturbed.suggested_count == 24
    assert [type(entry) for entry in undisturbed.entries] == [Suggested, Reported] * 24, "knowing all before it"
    for seed in range(1, 4):
        world = World(configuration, seed, failing)
        assert await world.run(kill=True) == undisturbed, "suggestions, values and the winner"
        assert world.kills > 10 and world.crashes > 0


async def test_with_eight_at_a_time_none_is_lost_or_doubled_by_kills() -> None:
    configuration = searching(max_concurrent_trials=8)
    for seed in range(4):
        world = World(configuration, seed, frozenset({2}))
        history = await world.run(kill=True)
        suggested = [entry.trial for entry in history.suggestions()]
        reported = sorted(entry.trial for entry in history.entries if isinstance(entry, Reported))
        assert suggested == reported == sorted(world.view.trials) == list(range(1, 25))
        assert world.kills > 10
        at_once = _most_at_once(history)
        assert 2 < at_once <= 8
        check_each_was_chosen_from_what_the_log_had(configuration, history)
        told = {entry.trial: entry.values for entry in history.entries if isinstance(entry, Reported)}
        for entry in history.suggestions():
            assert world.view.trials[entry.trial].searched == dict(entry.parameters), "one decision"
            assert told[entry.trial] == (() if entry.trial == 2 else (loss(dict(entry.parameters)),))


def _most_at_once(history: History) -> int:
    under_way = most = 0
    for entry in history.entries:
        under_way += 1 if isinstance(entry, Suggested) else -1
        most = max(most, under_way)
    return most


PRUNERS: list[dict[str, Any]] = [
    {"kind": "asha", "first_step": 10, "reduction_factor": 2},
    {"kind": "median", "startup_trials": 3},
    {"kind": "threshold", "bound": 9, "first_step": 20},
    {"kind": "hyperband", "first_step": 10, "reduction_factor": 2, "max_step": 50},
]


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: pruner["kind"])
async def test_a_search_with_a_pruner_killed_at_any_instant_prunes_the_same_trials(pruner: dict[str, Any]) -> None:
    """Whether or not it was there when a trial reached its rungs: some complete before they are judged."""
    configuration = searching(pruner=pruner)
    world = World(configuration)
    undisturbed = await world.run()
    pruned = {entry.trial for entry in undisturbed.entries if isinstance(entry, Pruned)}
    assert 3 < len(pruned) < 24
    told = sorted(entry.trial for entry in undisturbed.entries if isinstance(entry, Pruned | Reported))
    assert told == list(range(1, 25)), "each is told once"
    over = (trial.Stopped, trial.Completed)
    assert all(isinstance(one.state.situation, over) for one in world.view.trials.values())
    stopped = [n for n, one in world.view.trials.items() if isinstance(one.state.situation, trial.Stopped)]
    assert pruned >= set(stopped) and len(stopped) > 3
    situations = [world.view.trials[number].state.situation for number in stopped]
    assert all(isinstance(one, trial.Stopped) and one.pruned and "the cut-off is" in one.reason for one in situations)
    check_each_was_chosen_from_what_the_log_had(configuration, undisturbed)
    for seed in range(1, 4):
        world = World(configuration, seed)
        assert await world.run(kill=True) == undisturbed, "suggestions, prunings, values and the winner"
        assert world.kills > 10


POPULATION = {
    "kind": "pbt", "population_size": 6, "quantile": 0.34, "first_step": 10, "max_step": 50, "resample_probability": 0.3,
}  # fmt: skip


async def test_a_population_killed_at_any_instant_is_the_undisturbed_one() -> None:
    """Who is given up, who takes the place with whose weights and with what parameters: all the same."""
    configuration = searching(pruner=POPULATION)
    world = World(configuration)
    undisturbed = await world.run()
    promotions = undisturbed.promoted
    pruned = [entry.trial for entry in undisturbed.entries if isinstance(entry, Pruned)]
    assert 3 < len(promotions) == len(pruned) and undisturbed.suggested_count == 6 + len(promotions) <= 24
    over = undisturbed.ended
    assert over is not None and over.reason == runtime_facts.SEARCH_END_REASON_POPULATION
    check_each_was_chosen_from_what_the_log_had(configuration, undisturbed)
    _check_population(world, undisturbed)
    for seed in range(1, 4):
        world = World(configuration, seed)
        assert await world.run(kill=True) == undisturbed, "members, prunings, promotions, values and the winner"
        assert world.kills > 10
        _check_population(world, undisturbed)


async def test_a_population_of_six_at_a_time_loses_and_doubles_nobody_by_kills() -> None:
    configuration = searching(pruner=POPULATION, max_concurrent_trials=6, max_trials=12)
    for seed in range(3):
        world = World(configuration, seed, frozenset({2}))
        history = await world.run(kill=True)
        numbers = sorted(entry.trial for entry in history.entries if isinstance(entry, Reported | Pruned))
        assert numbers == sorted(world.view.trials) == list(range(1, history.suggested_count + 1))
        assert 6 < history.suggested_count <= 12 and world.kills > 10
        _check_population(world, history)


def _check_population(world: World, history: History) -> None:
    """Each that took a place began at a snapshot of one of the best at that rung, which is kept; no other one is."""
    rungs: dict[tuple[int, int], Reached] = {}
    origins = set()
    for one in history.entries:
        if isinstance(one, Reached):
            rungs[one.trial, one.rung] = one
        if not isinstance(one, Promoted):
            continue
        state, donor = world.view.trials[one.trial].state, rungs[one.donor, one.rung]
        assert state.origin is not None and state.origin.runtime_id == NAME
        assert (state.origin.trial, state.origin.snapshot_id) == (one.donor, donor.snapshot_id)
        assert state.origin.step == 10 * one.rung
        origins.add((one.donor, one.snapshot_id))
        at_rung = [known.value for known in rungs.values() if known.rung == one.rung]
        assert sum(1 for value in at_rung if value < donor.value) < max(1, int(0.34 * len(at_rung)))
    for one in history.promoted:
        own = sorted(rung for number, rung in rungs if number == one.trial)
        assert own == list(range(one.rung + 1, one.rung + 1 + len(own))), "it goes on from the rung after that one"
    held = {
        (number, record.snapshot_id)
        for number, known in world.view.trials.items()
        for record in known.state.snapshots
        if record.held_by
    }
    assert held == origins


async def test_a_snapshot_that_was_let_go_is_held_again_when_somebody_begins_there() -> None:
    """A search whose sampler failed goes on after a resume, and has let all go that nobody had begun at."""
    world = World(searching(pruner=POPULATION, max_trials=12))
    history = await world.run()
    view = world.view
    view.state = replace(view.state, history=replace(history, ended=None))
    at_rung = [one for one in history.rungs() if one.rung == 4]
    worst = max(at_rung, key=lambda one: one.value)
    found = population.promotion(view, worst.trial, at_rung)
    assert found is not None and found.promoted.replaced == worst.trial
    donor = view.trials[found.promoted.donor].state
    [held] = trial.decide(donor, found.hold)
    assert held == facts.SnapshotHeld(snapshot_id=found.promoted.snapshot_id, step=40, runtime_id=NAME)
    assert trial.decide(trial.evolve(donor, Fact(held)), found.hold) == []


@pytest.mark.parametrize("why", ["max_trials are there", "nobody has a snapshot"])
async def test_who_cannot_be_replaced_goes_on(why: str) -> None:
    saves = why == "max_trials are there"
    world = World(searching(pruner=POPULATION, max_trials=6 if saves else 24), saves=saves)
    history = await world.run()
    assert history.suggested_count == 6
    kinds = [type(entry) for entry in history.entries]
    assert Pruned not in kinds and Promoted not in kinds
    assert (kinds.count(Reported), kinds.count(Reached)) == (6, 4 * 6)


async def test_trials_that_end_before_the_first_rung_are_not_judged_and_told_their_values() -> None:
    late = {"kind": "asha", "first_step": 1_000}
    history = await World(searching(pruner=late, max_trials=4)).run()
    assert [type(entry) for entry in history.entries] == [Suggested, Reported] * 4
    assert all(entry.values for entry in history.entries if isinstance(entry, Reported))


async def test_a_search_with_several_objectives_and_a_constraint_that_is_killed_is_the_undisturbed_one() -> None:
    several = [{"metric": "eval/loss"}, {"metric": "size", "mode": "max", "value": "last"}]
    configuration = searching(
        kind="nsga2",
        population_size=5,
        objective=None,
        objectives=several,
        constraints=[{"metric": "size", "at_most": 3}],
    )
    world = World(configuration)
    undisturbed = await world.run()
    found = {entry.trial: entry for entry in undisturbed.entries if isinstance(entry, Reported)}
    assert sorted(found) == list(range(1, 25))
    kept = {n: entry.values for n, entry in found.items() if entry.violations[0] <= 0}
    assert 0 < len(kept) < 24
    front = {
        n for n, (loss_, size) in kept.items()
        if not any(a <= loss_ and b >= size and (a, b) != (loss_, size) for a, b in kept.values())
    }  # fmt: skip
    assert {n for n, _ in undisturbed.front} == front and 1 < len(front) < len(kept)
    check_each_was_chosen_from_what_the_log_had(configuration, undisturbed)
    world = World(configuration, 1)
    assert await world.run(kill=True) == undisturbed
    assert world.kills > 10


async def test_a_target_ends_the_search_and_those_that_run_are_finished() -> None:
    configuration = searching(max_concurrent_trials=4, stop_when={"target": 1e9})
    history = await World(configuration).run()
    assert history.ended is not None and history.ended.reason == runtime_facts.SEARCH_END_REASON_TARGET
    assert history.suggested_count == len(history.reported) < 24
    assert _most_at_once(history) <= 4


async def test_a_sampler_that_fails_is_asked_again_and_given_up_after_some_failures() -> None:
    world = World(searching(max_trials=3))
    world.sampler.failures, world.unanswered = MAX_FAILURES - 1, 2
    history = await world.run()
    assert history == await World(searching(max_trials=3)).run()
    world = World(searching(max_trials=3))
    world.sampler.failures = MAX_FAILURES
    history = await world.run()
    assert history.ended is not None and history.ended.reason == runtime_facts.SEARCH_END_REASON_SAMPLER_FAILED
    assert history.suggested_count == 0


async def test_the_process_answers_dies_is_started_again_and_leaves_with_its_input() -> None:
    sampler = Sampler()
    definition = definition_of(searching().search)
    first = await sampler.propose("rt-1", definition, [])
    history: list[Entry] = [Suggested(1, tuple(sorted(first.parameters.items()))), Reported(1, (2.5,))]
    second = await sampler.propose("rt-1", definition, history)
    assert second.parameters != first.parameters and second.version.startswith("optuna 5.")
    assert sampler._process is not None and sampler.process_id is not None
    sampler._process.kill()
    await sampler._process.wait()
    assert await sampler.propose("rt-1", definition, history) == second
    with pytest.raises(SamplerFailed, match="could not choose: KeyError"):
        await sampler.propose("rt-2", {**definition, "kind": "none"}, [])
    process = sampler._process
    await sampler.propose("rt-2", definition, [])
    await sampler.forget("rt-1")
    assert process.returncode is None
    await sampler.forget("rt-2")
    assert process.returncode == 0, "the last one ends it"
