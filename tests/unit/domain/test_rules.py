"""What the deciders of rules and of their firings decide."""

from __future__ import annotations

import pytest

from milepost.api.config.v1.rule_pb2 import COMPARISON_ABOVE, Detector, Rule, Threshold
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.domain import firings, rules, sentences
from milepost.domain.decider import Fact
from milepost.errors import Aborted, AlreadyExists, NotFound, ResourceExhausted
from tests.unit.domain.given import Given, names


def rule(value: float = 5.0) -> Rule:
    threshold = Threshold(series="train/loss", comparison=COMPARISON_ABOVE, value=value)
    return Rule(detector=Detector(threshold=threshold), max_firings=10, watching_only=True)


SET = facts.RuleSet(rule_id="spike", revision=1, rule=rule())
FIRED = facts.RuleFired(firing_id="f1", rule_id="spike", revision=1)
CLEARED = facts.RuleCleared(firing_id="f1", rule_id="spike", reason=facts.CLEAR_REASON_RECOVERED)


def test_a_rule_that_is_made_twice_is_made_once() -> None:
    chain = Given(rules)
    assert names(chain.when(rules.CreateRule("spike", rule()))) == ["RuleSet"]
    assert chain.when(rules.CreateRule("spike", rule())) == []
    with pytest.raises(AlreadyExists):
        chain.when(rules.CreateRule("spike", rule(6.0)))


def test_a_repeated_request_makes_no_second_rule() -> None:
    chain = Given(rules)
    chain.when(rules.CreateRule("spike", rule(), "request"))
    assert chain.when(rules.CreateRule("spike", rule(6.0), "request")) == []


def test_an_update_needs_the_etag_of_the_rule_as_it_is() -> None:
    chain = Given(rules, SET)
    with pytest.raises(Aborted):
        chain.when(rules.UpdateRule("spike", rule(6.0), etag="7"))
    (decided,) = chain.when(rules.UpdateRule("spike", rule(6.0), etag="1"))
    assert isinstance(decided, facts.RuleSet)
    assert decided.revision == 2
    assert chain.when(rules.UpdateRule("spike", rule(6.0), etag="1")) == []


def test_a_disabled_rule_watches_again_when_it_is_updated() -> None:
    chain = Given(rules, SET)
    assert names(chain.when(rules.DisableRule("spike"), rules.DisableRule("spike"))) == ["RuleDisabled"]
    assert chain.state.by_id["spike"].etag == "1-disabled"
    assert names(chain.when(rules.UpdateRule("spike", rule()))) == ["RuleSet"]
    assert not chain.state.by_id["spike"].disabled


def test_a_deleted_rule_is_gone_and_its_id_goes_on_behind_it() -> None:
    chain = Given(rules, SET)
    assert names(chain.when(rules.DeleteRule("spike"), rules.DeleteRule("spike"))) == ["RuleDeleted"]
    with pytest.raises(NotFound):
        chain.when(rules.UpdateRule("spike", rule()))
    (decided,) = chain.when(rules.CreateRule("spike", rule()))
    assert isinstance(decided, facts.RuleSet)
    assert decided.revision == 2


def test_a_rule_beyond_the_quota_is_refused_until_one_is_deleted() -> None:
    made = [facts.RuleSet(rule_id=f"r{index}", revision=1, rule=rule()) for index in range(rules.MAX_RULES)]
    chain = Given(rules, *made)
    with pytest.raises(ResourceExhausted) as refused:
        chain.when(rules.CreateRule("one-more", rule()))
    assert refused.value.metadata == {"field": "rule", "limit": "1000"}
    chain.when(rules.DeleteRule("r7"))
    assert names(chain.when(rules.CreateRule("one-more", rule()))) == ["RuleSet"]


def test_every_fact_of_rules_can_be_folded_by_one_of_the_two() -> None:
    members = {
        getattr(facts, field.message_type.name)  # type: ignore[union-attr]
        for field in facts.RuleEvent.DESCRIPTOR.oneofs_by_name["payload"].fields
    }
    assert set(rules.EVOLVE) | set(firings.EVOLVE) == members
    assert not set(rules.EVOLVE) & set(firings.EVOLVE)


def test_what_an_attempt_wrote_or_what_is_about_nothing_changes_nothing() -> None:
    for fact in (Fact(SET, attempt=1), Fact(facts.RuleDeleted(rule_id="unknown")), Fact(FIRED)):
        state = rules.evolve(rules.initial, fact)
        assert (state.by_id, state.ignored) == ({}, 1)


def test_an_occurrence_is_recorded_once_and_ends_once() -> None:
    chain = Given(firings)
    assert chain.when(firings.RecordCleared(CLEARED)) == []
    assert names(chain.when(firings.RecordFiring(FIRED), firings.RecordFiring(FIRED))) == ["RuleFired"]
    assert names(chain.when(firings.RecordCleared(CLEARED), firings.RecordCleared(CLEARED))) == ["RuleCleared"]
    assert chain.when(firings.RecordFiring(FIRED)) == []


def test_a_notification_is_settled_by_its_delivery_and_by_nothing_else() -> None:
    failed = facts.NotificationFailed(notification_id="n1", firing_id="f1", detail="no answer")
    delivered = facts.NotificationDelivered(notification_id="n1", firing_id="f1", destination="ops")
    chain = Given(firings, FIRED)
    again = firings.RecordDelivered(delivered)
    decided = chain.when(firings.RecordFailed(failed), again, again, firings.RecordFailed(failed))
    assert names(decided) == ["NotificationFailed", "NotificationDelivered"]


def test_each_reason_of_an_end_has_a_word() -> None:
    assert set(sentences.CLEAR_REASONS) == set(facts.ClearReason.values())
