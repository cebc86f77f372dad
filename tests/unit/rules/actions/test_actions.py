"""What follows a firing: what is to be done of it, in which order, how often it is tried, and what is never begun."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.domain import firings
from milepost.domain.decider import Fact
from milepost.errors import FailedPrecondition, InvalidArgument
from milepost.rules.checks import ACTIONS, checked
from services.rules.actions.backlog import Backlog, Due, action_id
from services.rules.actions.commands import KINDS, Outcome, recorded
from services.rules.actions.executor import TRIED_SECONDS, Executor
from services.rules.actions.starts import check_no_cycle
from services.rules.selection import parse_selector

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
STOP = rules.Action(stop=rules.Stop())
LABEL = rules.Action(label=rules.Label(set={"spike": "yes"}))
NOTIFY = rules.Action(notify=rules.Notify(destination="oncall"))


def rule(*actions: rules.Action, selector: str = "") -> rules.Rule:
    threshold = rules.Threshold(series="train/loss", comparison=rules.COMPARISON_ABOVE, value=5.0)
    return rules.Rule(
        selector=selector, detector=rules.Detector(threshold=threshold), watching_only=False, actions=actions
    )


def fired(number: int = 1, rule_id: str = "r", watching_only: bool = False) -> facts.RuleFired:
    return facts.RuleFired(firing_id=f"{number:032x}", rule_id=rule_id, trial=1, watching_only=watching_only)


def backlog_of(*actions: rules.Action, runs: tuple[str, ...] = ("rt-1",), time: datetime = NOW) -> Backlog:
    backlog = Backlog()
    for number, runtime_id in enumerate(runs, start=1):
        backlog.fired(runtime_id, fired(number), rule(*actions), "ada", time, f"ev-{number}")
    return backlog


class Service:
    """Stands for the runtime service: answers as it is told, and notes what it is asked."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, due: Due) -> Outcome:
        self.asked.append((due.runtime_id, due.kind))
        await asyncio.sleep(0)
        return self.outcomes.pop(0) if self.outcomes else Outcome(True, "done")


@asynccontextmanager
async def running(backlog: Backlog, service: Service, **options: Any) -> AsyncIterator[list[tuple[str, Outcome, int]]]:
    settled: list[tuple[str, Outcome, int]] = []

    async def settle(due: Due, outcome: Outcome, tries: int) -> None:
        settled.append((due.kind, outcome, tries))
        backlog.ended(recorded(due, outcome, tries).acted, due.runtime_id)

    options = {"clock": lambda: NOW, "pauses": (0.01,), "look_seconds": 0.01, **options}
    executor = Executor(backlog, service, settle, **options)
    task = asyncio.create_task(executor.run())
    try:
        yield settled
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(ask: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not ask():
            await asyncio.sleep(0.005)


def test_every_kind_of_action_is_checked_and_carried_out() -> None:
    kinds = {field.name for field in rules.Action.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert set(ACTIONS) == kinds
    assert kinds - {"notify"} == KINDS


def test_only_what_the_rule_said_and_only_what_acts_is_to_be_done() -> None:
    backlog = backlog_of(NOTIFY, STOP, LABEL)
    assert [(due.number, due.kind, due.owner) for due in backlog.pending.values()] == [
        (2, "stop", "ada"), (3, "label", "ada"),
    ]  # fmt: skip
    assert next(iter(backlog.pending)) == action_id(f"{1:032x}", 2)
    nothing = Backlog()
    assert nothing.fired("rt-1", fired(watching_only=True), rule(STOP), "ada", NOW, "ev") == []
    assert nothing.fired("rt-1", fired(), None, "ada", NOW, "ev") == []
    assert not nothing.pending


async def test_actions_of_one_run_come_after_each_other_and_one_that_waits_keeps_no_other_run() -> None:
    away = Outcome(False, "away", "UNAVAILABLE")
    backlog = backlog_of(STOP, LABEL, runs=("rt-1", "rt-2"))
    service = Service(away, Outcome(True, "done"))
    async with running(backlog, service) as settled:
        await until(lambda: len(settled) == 4)
    first = [kind for runtime_id, kind in service.asked if runtime_id == "rt-1"]
    assert first == ["stop", "stop", "label"]
    assert [kind for runtime_id, kind in service.asked if runtime_id == "rt-2"] == ["stop", "label"]
    assert not backlog.pending


async def test_a_refusal_ends_an_action_and_the_next_is_carried_out() -> None:
    refused = Outcome(False, "no", "OWNER_UNKNOWN", final=True)
    async with running(backlog_of(STOP, LABEL), Service(refused)) as settled:
        await until(lambda: len(settled) == 2)
    assert [(kind, outcome.taken, tries) for kind, outcome, tries in settled] == [
        ("stop", False, 1), ("label", True, 1),
    ]  # fmt: skip


async def test_an_action_that_is_an_hour_old_is_tried_once_and_given_up() -> None:
    backlog = backlog_of(STOP, time=NOW - timedelta(seconds=TRIED_SECONDS))
    async with running(backlog, Service(Outcome(False, "away"))) as settled:
        await until(lambda: len(settled) == 1)
    assert (settled[0][1].detail, settled[0][2]) == ("away", 1)


async def test_a_rule_starts_no_run_because_of_one_that_it_brought_about() -> None:
    start = rules.Action(start=rules.Start(configuration_text="x"))
    backlog = backlog_of(start)
    (due,) = backlog.pending.values()
    backlog.ended(recorded(due, Outcome(True, "", runtime="runtimes/rt-2"), 1).acted, "rt-1")
    backlog.fired("rt-2", fired(2, rule_id="other"), rule(start), "ada", NOW, "ev")
    (due,) = backlog.pending.values()
    backlog.ended(recorded(due, Outcome(True, "", runtime="runtimes/rt-3"), 1).acted, "rt-2")
    assert list(backlog.ancestors("rt-3")) == ["other", "r"]
    backlog.fired("rt-3", fired(3), rule(start), "ada", NOW, "ev")
    service = Service()
    async with running(backlog, service) as settled:
        await until(lambda: len(settled) == 1)
    assert settled[0][1].reason == "CYCLIC_START" and not service.asked


def starting(name: str, selector: str, **labels: str) -> rules.Rule:
    given = json.dumps({"name": name, "labels": labels, "entrypoint": "a:b"})
    return rule(rules.Action(start=rules.Start(configuration_text="x", resolved_text=given)), selector=selector)


def test_rules_that_would_start_runs_for_ever_are_refused() -> None:
    check_no_cycle("a", {"a": (starting("rescue", "name:divergent"), "ada")})
    with pytest.raises(FailedPrecondition, match="the rule a starts runs that it selects itself"):
        check_no_cycle("a", {"a": (starting("divergent", "name:divergent"), "ada")})
    with pytest.raises(FailedPrecondition):
        check_no_cycle("a", {"a": (starting("rescue", "created_by=ada"), "ada")})
    check_no_cycle("a", {"a": (starting("rescue", "created_by=eve"), "ada")})
    several = {
        "a": (starting("b-run", "name=a-run"), "ada"),
        "b": (starting("c-run", "name=b-run"), "eve"),
        "c": (starting("a-run", "label.team=nlp"), "eve"),
        # It selects all of them, and starts none.
        "watches": (rule(STOP), "eve"),
    }
    for each in several:
        check_no_cycle(each, several)
    several["b"] = (starting("c-run", "name=b-run", team="nlp"), "eve")
    with pytest.raises(FailedPrecondition, match="a starts a run for b starts a run for c starts a run for a"):
        check_no_cycle("a", several)


def test_what_is_wrong_with_an_action_is_named_by_its_field() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"label": rules.Label()}, "label.set"),
        ({"label": rules.Label(set={"a key": "x"})}, "label.set"),
        ({"label": rules.Label(set={"a": "x"}, remove=["a"])}, "label.remove"),
        ({"start": rules.Start()}, "start.configuration_text"),
        ({"start": rules.Start(runtime="rt-1")}, "start.runtime"),
        ({"start": rules.Start(configuration_text="x" * 70_000)}, "start.configuration_text"),
        ({"roll_back": rules.RollBack(margin_steps=-1)}, "roll_back.margin_steps"),
        ({"roll_back": rules.RollBack(skip_batches=1 << 40)}, "roll_back.skip_batches"),
        ({"roll_back": rules.RollBack(max_times=1_000)}, "roll_back.max_times"),
        ({"roll_back": rules.RollBack(factors={"rate": 0.0})}, "roll_back.factors"),
        ({"roll_back": rules.RollBack(factors={"rate": 0.5}, parameters={"rate": "1"})}, "roll_back.factors"),
        ({"roll_back": rules.RollBack(parameters={"steps": "5"})}, "roll_back.parameters"),
        ({"roll_back": rules.RollBack(parameters={"rate": "1\nother: 2"})}, "roll_back.parameters"),
        ({"roll_back": rules.RollBack(parameters={"rate": "[1]"})}, "roll_back.parameters"),
    ]
    for action, field in wrong:
        with pytest.raises(InvalidArgument) as error:
            checked(rule(rules.Action(**action)), parse_selector)
        assert [v.field for v in error.value.violations] == [f"rule.actions[0].{field}"], action
    back = rules.RollBack(parameters={"rate": "0.5", "name": "adam"}, factors={"momentum": 0.9})
    assert checked(rule(rules.Action(roll_back=back)), parse_selector).actions[0].roll_back.max_times == 3

    # A run that brings its rules may have them do anything but start others.
    assert checked(rule(rules.Action(roll_back=back)), path="rules[0].")
    with pytest.raises(InvalidArgument) as error:
        checked(rule(rules.Action(start=rules.Start(configuration_text="x"))), path="rules[0].")
    assert [v.field for v in error.value.violations] == ["rules[0].actions[0].start"]


def test_the_end_of_an_action_is_one_fact() -> None:
    (due,) = backlog_of(STOP).pending.values()
    command = recorded(due, Outcome(True, "asked it to stop"), 2)
    (fact,) = firings.decide(firings.initial, command)
    state = firings.evolve(firings.initial, Fact(fact))
    assert firings.decide(state, command) == []
    # Whatever another process has to say of it later.
    assert firings.decide(state, recorded(due, Outcome(False, "no"), 1)) == []
    shown = Backlog().ended(command.acted, "rt-1")
    assert (shown.state, shown.attempt_count, shown.owner) == (api.ACTION_STATE_TAKEN, 2, "ada")
