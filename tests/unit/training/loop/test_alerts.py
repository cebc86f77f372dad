"""What training code wants somebody to know."""

from __future__ import annotations

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import trial as decider
from milepost.domain.decider import Fact
from milepost.training.loop.host import Rank
from milepost.training.loop.said.alerts import MAX_ALERTS, MAX_TEXT
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from tests.support.trainers.remembering_host import RememberingHost
from tests.unit.domain.given import given_trial


def test_an_alert_is_a_fact_at_the_current_step() -> None:
    host = RememberingHost()
    trial = Trial(TrainingLoop(host))
    trial.log({"train/loss": 1.0})
    trial.alert("Diverges", "the loss is 1e9\nand grows", "error")
    trial.alert("Only this")
    said, plain = (fact for fact in host.facts if isinstance(fact, facts.AlertRaised))
    assert said.step == 1
    assert (said.kind, said.level, said.title) == (facts.ALERT_KIND_CODE, facts.ALERT_LEVEL_ERROR, "Diverges")
    assert said.message == "Diverges: the loss is 1e9 and grows"
    assert (plain.message, plain.level) == ("Only this", facts.ALERT_LEVEL_WARNING)


def test_nothing_that_is_wrong_with_an_alert_ends_a_training() -> None:
    host = RememberingHost()
    trial = Trial(TrainingLoop(host))
    trial.alert("", "x" * 5_000, "loud")
    trial.alert(7, None)  # type: ignore[arg-type]
    first, second = host.facts
    assert (first.title, first.level, len(first.message)) == (
        "alert",
        facts.ALERT_LEVEL_WARNING,
        len("alert: ") + MAX_TEXT,
    )
    assert second.message == "7: None"
    assert "loud" in host.said["alert:level"]
    for _ in range(MAX_ALERTS):
        trial.alert("again")
    assert len(host.facts) == MAX_ALERTS
    assert "alert:count" in host.said


def test_other_ranks_say_nothing() -> None:
    host = RememberingHost(Rank(1, 2))
    Trial(TrainingLoop(host)).alert("mine")
    assert host.facts == []


def test_a_title_is_recorded_once_a_step() -> None:
    created = facts.TrialCreated(runtime_id="rt-1", trial=1)
    chain = given_trial(created, facts.AttemptLaunched(attempt=1), Fact(facts.AttemptStarted(attempt=1), 1))

    def alert(title: str, step: int) -> decider.Record:
        kind = facts.ALERT_KIND_CODE
        return decider.Record(1, facts.AlertRaised(attempt=1, kind=kind, title=title, step=step, message=title))

    decided = chain.when(alert("a", 1), alert("a", 1), alert("b", 1), alert("a", 2))
    assert [(fact.title, fact.step) for fact in decided] == [("a", 1), ("b", 1), ("a", 2)]  # type: ignore[attr-defined]
