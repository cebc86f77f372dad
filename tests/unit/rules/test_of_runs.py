"""Rules that a run brings with its configuration: how they are read, and what they find."""

from __future__ import annotations

from typing import Any

import pytest

from milepost import configuration as configurations
from milepost.api.config.v1.configuration_pb2 import RunRule
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.errors import InvalidArgument
from milepost.rules.of_runs import with_rules_checked
from services.rules.checkpointing import Records, evaluation_of
from services.rules.evaluation.fold import LINGER_MS, Evaluation
from services.rules.evaluation.own import own_rules
from tests.unit.rules.given import RUN, Run, apply, fired, rule, steps

ABOVE = {"id": "high", "detector": {"threshold": {"series": "train/loss", "comparison": "ABOVE", "value": 5}}}
QUEUED = {"id": "queued", "detector": {"state": {"states": ["QUEUED"]}}}


def configured(*rules: Any) -> Any:
    return with_rules_checked(configurations.resolve({"entrypoint": "a.b:c", "rules": list(rules)}))


def own(*rules: Any) -> list[RunRule]:
    return list(configured(*rules).rules)


def played(run: Run, evaluation: Evaluation | None = None) -> list[Any]:
    evaluation = evaluation or Evaluation()
    return [occurrence.fact for message in run.what for occurrence in apply(evaluation, message)]


def test_a_configuration_with_rules_is_shown_as_it_can_be_given() -> None:
    made = configured(ABOVE, QUEUED)
    assert (made.rules[0].rule.max_firings, made.rules[0].rule.watching_only) == (10, True)
    shown = configurations.to_plain(made)
    assert with_rules_checked(configurations.resolve(shown)) == made
    assert with_rules_checked(configurations.resolve_message(made)) == made
    # What was recorded before there were rules has the digest that it had.
    assert "rules" not in configurations.to_plain(configured())


@pytest.mark.parametrize(
    ("rules", "fields"),
    [
        ([{**ABOVE, "id": "A"}], ["rules[0].id"]),
        ([ABOVE, ABOVE], ["rules[1].id"]),
        ([{"id": "a"}], ["rules[0].detector"]),
        ([{**ABOVE, "selector": "name:x"}], ["rules[0].selector"]),
        ([{"id": "a", "detector": {"threshold": {"value": "five"}}}], ["rules[0].detector.threshold.value"]),
        (
            [QUEUED, {"id": "b", "hold_seconds": -1, "detector": {"log_pattern": {"pattern": "(a"}}}],
            ["rules[1].hold_seconds", "rules[1].detector.log_pattern.pattern"],
        ),
        (
            [{"id": "b", "detector": {"baseline": {"series": "train/loss", "trial": "runtimes/x/trials/1"}}}],
            ["rules[0].detector.baseline"],
        ),
        ([1], ["rules[0]"]),
        ([{**QUEUED, "id": f"r{n}"} for n in range(51)], ["rules"]),
    ],
)
def test_what_is_wrong_with_a_rule_is_named_by_its_place(rules: list[Any], fields: list[str]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        configured(*rules)
    assert [violation.field for violation in refused.value.violations] == fields


def test_they_watch_their_run_from_its_first_event_and_no_other() -> None:
    evaluation = Evaluation()
    run = Run().requested(rules=own(ABOVE, QUEUED))
    run.begins().logs([1, 6])
    found = played(run, evaluation)
    assert [(fact.rule_id, fact.rule_name) for fact in fired(found)] == [
        (f"{RUN}.queued", "queued"),
        (f"{RUN}.high", "high"),
    ]
    assert not evaluation.watches("rt-2")
    assert steps(played(Run().requested().begins().logs([1, 6]))) == []


def test_a_run_that_was_let_go_of_is_still_known_to_have_some() -> None:
    evaluation = Evaluation()
    run = Run().requested(rules=own(ABOVE)).begins().logs([1, 6])
    run.of_runtime(runtime_facts.RuntimeFailed())
    played(run, evaluation)
    evaluation.advance(run.now_ms + LINGER_MS + 1)
    again = evaluation_of(Records().of(evaluation))
    assert again.watches(RUN)
    # It has fired there already, so it fires no more often than it may.
    assert [watch.fired for watch in again.runs[RUN].trials[1].watches[f"{RUN}.high"].values()]


def test_a_rule_that_is_tried_is_tried_alone() -> None:
    evaluation = Evaluation(with_own=False)
    evaluation.set_rule(rule(rule_id="other", not_finite={}))
    assert played(Run().requested(rules=own(ABOVE)).begins().logs([1, 6]), evaluation) == []


def test_one_that_is_tried_finds_what_it_found_live_with_the_same_ids() -> None:
    configuration = configured(ABOVE)
    run = Run().requested(rules=list(configuration.rules)).begins().logs([1, 6])
    tried = Evaluation(with_own=False)
    tried.set_rule(own_rules(RUN, configuration)[f"{RUN}.high"])
    assert [fact.firing_id for fact in fired(played(run, tried))] == [fact.firing_id for fact in fired(played(run))]
