"""What may be changed of a trial while it runs, and what becomes of a request to change it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import steering, trial
from milepost.domain.decider import Fact
from milepost.domain.steering import Change
from milepost.errors import FailedPrecondition, InvalidArgument
from tests.unit.domain.given import Given, given_trial, names, of_attempt

CREATED = facts.TrialCreated(runtime_id="rt-1", trial=1)
RATE = facts.SteerableDeclared(
    attempt=1, name="rate", kind=facts.STEERABLE_KIND_FLOAT, value="0.1", minimum="0.0", maximum="1.0"
)
SIZE = facts.SteerableDeclared(attempt=1, name="size", kind=facts.STEERABLE_KIND_INTEGER, value="8", minimum="1")
FLIP = facts.SteerableDeclared(attempt=1, name="flip", kind=facts.STEERABLE_KIND_BOOLEAN, value="false")
MODE = facts.SteerableDeclared(
    attempt=1, name="mode", kind=facts.STEERABLE_KIND_TEXT, value='"slow"', choices=["slow", "fast"]
)
DECLARED = tuple(map(of_attempt, (RATE, SIZE, FLIP, MODE)))


def launched(attempt: int = 1) -> facts.AttemptLaunched:
    return facts.AttemptLaunched(attempt=attempt)


def started(attempt: int = 1, step: int = 0) -> Fact:
    return of_attempt(facts.AttemptStarted(attempt=attempt, restored_step=step))


def running(*more: Message | Fact) -> Given:
    return given_trial(CREATED, launched(), *DECLARED, started(), *more)


def steer(request_id: str = "", **values: Any) -> trial.SteerTrial:
    return trial.SteerTrial(values, "user:ada", "it is slow", request_id)


def changed(number: int, step: int, attempt: int = 1, **values: str) -> Fact:
    changes = [facts.ParameterChange(name=name, old="0.1", new=text) for name, text in values.items()]
    return of_attempt(facts.ParametersChanged(attempt=attempt, step=step, changes=changes, number=number))


def crash(attempt: int) -> tuple[Message, ...]:
    return (
        facts.AttemptFenced(attempt=attempt, reason=facts.FENCE_REASON_EXITED),
        facts.RetryScheduled(attempt=attempt, retry=1),
        launched(attempt + 1),
    )


def test_a_request_is_carried_out_once_and_says_who_asked() -> None:
    chain = running()
    (asked,) = chain.when(steer(rate=0.05, mode="fast"))
    assert isinstance(asked, facts.TrialSteerRequested)
    assert (asked.number, asked.actor, asked.reason) == (1, "user:ada", "it is slow")
    assert dict(asked.parameters) == {"rate": "0.05", "mode": '"fast"'}
    report = facts.ParametersChanged(attempt=1, step=7, number=1, changes=[facts.ParameterChange(name="rate", new="1")])
    report.changes[0].old = "0.1"
    assert names(chain.when(trial.Record(1, report))) == ["ParametersChanged"]
    assert chain.when(trial.Record(1, report)) == []
    assert chain.state.steering.waiting == ()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"speed": 1}, "is not steerable; there is flip (true or false), mode (one of slow, fast), rate"),
        ({"rate": 1.5}, "must be a number from 0.0 to 1.0, not 1.5"),
        ({"rate": -0.1}, "must be a number from 0.0 to 1.0"),
        ({"rate": "fast"}, 'must be a number from 0.0 to 1.0, not "fast"'),
        ({"rate": True}, "must be a number"),
        ({"rate": float("nan")}, "must be a number"),
        ({"rate": None}, "must be a number"),
        ({"rate": [0.1]}, "must be a number"),
        ({"size": 2.5}, "must be a whole number of at least 1, not 2.5"),
        ({"size": 0}, "must be a whole number of at least 1"),
        ({"size": 2**60}, "must be a whole number"),
        ({"flip": 1}, "must be true or false, not 1"),
        ({"mode": "other"}, 'must be one of slow, fast, not "other"'),
        ({"mode": 3}, "must be one of slow, fast"),
    ],
)
def test_what_a_value_cannot_be_is_refused_with_what_it_can(values: dict[str, Any], problem: str) -> None:
    chain = running()
    with pytest.raises(InvalidArgument) as error:
        chain.when(steer(**values))
    (violation,) = error.value.violations
    assert violation.field == f"parameters.{next(iter(values))}"
    assert problem in violation.description
    assert chain.state.steering.waiting == ()


def test_every_mistake_is_told_at_once_and_nothing_is_changed() -> None:
    with pytest.raises(InvalidArgument) as error:
        running().when(steer(rate=2, speed=1, size=9))
    assert [violation.field for violation in error.value.violations] == ["parameters.rate", "parameters.speed"]


def test_numbers_become_those_of_the_declared_type() -> None:
    (asked,) = running().when(steer(rate=1, size=4.0))
    assert isinstance(asked, facts.TrialSteerRequested)
    assert dict(asked.parameters) == {"rate": "1.0", "size": "4"}


def test_a_request_id_asks_once() -> None:
    chain = running()
    chain.when(steer("a", rate=0.2))
    assert chain.when(steer("a", rate=0.2)) == []
    chain.when(steer(rate=0.3), steer("b", rate=0.4))
    assert [chain.state.steering.number_of(name) for name in ("a", "b", "c", "")] == [1, 3, 0, 3]


def test_a_trial_without_steerables_and_one_that_has_ended_are_refused() -> None:
    with pytest.raises(FailedPrecondition, match="has declared nothing steerable"):
        given_trial(CREATED, launched(), started()).when(steer(rate=0.2))
    ended = running(of_attempt(facts.AttemptEnded(attempt=1, outcome=facts.ATTEMPT_OUTCOME_COMPLETED, last_step=9)))
    ended.when(trial.CompleteTrial(1))
    with pytest.raises(FailedPrecondition, match="only a running or waiting trial"):
        ended.when(steer(rate=0.2))


def test_requests_have_a_bound() -> None:
    chain = running()
    for _ in range(steering.MAX_WAITING):
        chain.when(steer(rate=0.2))
    with pytest.raises(FailedPrecondition, match="it takes no more"):
        chain.when(steer(rate=0.2))


def test_a_request_outlives_the_attempt_that_could_not_carry_it_out() -> None:
    chain = running()
    chain.when(steer(rate=0.2))
    for payload in crash(1):
        chain.state = trial.evolve(chain.state, Fact(payload))
    (waiting,) = chain.state.steering.waiting
    assert (waiting.number, waiting.values, waiting.actor) == (1, (("rate", "0.2"),), "user:ada")
    # What the fenced attempt says of it has no effect.
    zombie = trial.evolve(chain.state, changed(1, 5, rate="0.2"))
    assert zombie.steering == chain.state.steering


def test_changes_stay_for_attempts_that_begin_earlier_and_newer_ones_win() -> None:
    chain = running()
    chain.when(steer(rate=0.2), steer(rate=0.3), steer(size=9))
    changes = (changed(1, 5, rate="0.2"), changed(2, 9, rate="0.3"), changed(3, 9, size="9"))
    for fact in (*changes, *map(Fact, crash(1))):
        chain.state = trial.evolve(chain.state, fact)
    chain.state = trial.evolve(chain.state, started(2, 3))
    known = chain.state.steering
    assert known.changes == (Change(5, "rate", "0.2"), Change(9, "rate", "0.3"), Change(9, "size", "9"))
    assert [known.in_force(step) for step in (4, 5, 9)] == [{}, {"rate": "0.2"}, {"rate": "0.3", "size": "9"}]
    chain.when(steer(rate=0.4))
    chain.state = trial.evolve(chain.state, changed(4, 6, attempt=2, rate="0.4"))
    assert chain.state.steering.changes == (Change(5, "rate", "0.2"), Change(6, "rate", "0.4"), Change(9, "size", "9"))


def test_a_roll_back_that_names_a_value_ends_its_changes() -> None:
    chain = running(of_attempt(facts.SnapshotCommitted(attempt=1, snapshot_id="s4", step=4, uri="file:///s4")))
    chain.when(steer(rate=0.2), steer(size=9))
    for fact in (changed(1, 3, rate="0.2"), changed(2, 6, size="9")):
        chain.state = trial.evolve(chain.state, fact)
    chain.when(trial.RollBackTrial("s4", {"rate": "0.01"}))
    assert chain.state.steering.changes == (Change(6, "size", "9"),)


def test_a_branch_begins_with_what_holds_there_and_what_a_search_chose_wins() -> None:
    origin = common.SnapshotOrigin(runtime_id="rt-0", trial=1, step=7, steered={"rate": "0.2", "size": "9"})
    created = facts.TrialCreated(runtime_id="rt-1", trial=1, origin=origin, searched_parameters={"size": "3"})
    assert given_trial(created).state.steering.changes == (Change(7, "rate", "0.2"),)


@pytest.mark.parametrize(
    "said",
    [
        facts.SteerableDeclared(attempt=1, name="x", kind=facts.STEERABLE_KIND_FLOAT, value="["),
        facts.SteerableDeclared(attempt=1, name="x", kind=facts.STEERABLE_KIND_FLOAT, value="1.0", minimum="many"),
        facts.SteerableDeclared(attempt=1, name="x", kind=facts.STEERABLE_KIND_FLOAT, value="1.0", minimum='"a"'),
        facts.SteerableDeclared(attempt=1, name="x", kind=9, value="1.0"),  # type: ignore[arg-type]
        facts.SteerableDeclared(attempt=1, name="", kind=facts.STEERABLE_KIND_FLOAT, value="1.0"),
        facts.SteerableDeclared(attempt=1, name="x" * 999, kind=facts.STEERABLE_KIND_FLOAT, value="1.0"),
        facts.ParametersChanged(attempt=1, number=1, changes=[facts.ParameterChange(name="x", old="1", new="{}")]),
    ],
)
def test_what_nobody_could_read_of_an_attempt_changes_nothing(said: Message) -> None:
    """It would stand in the way of every later decision."""
    chain = running()
    chain.when(steer(rate=0.2))
    after = trial.evolve(chain.state, of_attempt(said))
    assert (after.ignored, after.steering) == (1, chain.state.steering)
    with pytest.raises(FailedPrecondition):
        chain.when(trial.Record(1, said))


def test_a_declaration_is_recorded_again_only_where_it_says_something_else() -> None:
    chain = given_trial(CREATED, launched())
    assert names(chain.when(trial.Record(1, RATE))) == ["SteerableDeclared"]
    assert chain.when(trial.Record(1, RATE)) == []
    other = facts.SteerableDeclared()
    other.CopyFrom(RATE)
    other.maximum = "2.0"
    assert names(chain.when(trial.Record(1, other))) == ["SteerableDeclared"]
    (known,) = chain.state.steering.steerables
    assert known.maximum == "2.0"


def test_a_request_that_does_not_suit_waits_no_longer() -> None:
    chain = running()
    chain.when(steer(rate=0.2))
    refusal = facts.ParametersNotChanged(attempt=1, step=4, number=1, detail="rate must be below 0.1")
    assert names(chain.when(trial.Record(1, refusal))) == ["ParametersNotChanged"]
    assert chain.state.steering.waiting == chain.state.steering.changes == ()
