"""What a rule is warned of: a series that was most likely meant to be another one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, cast

import grpc.aio
import pytest

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.api.runtime.v1.runtime_service_pb2 import Runtime
from milepost.errors import Unavailable
from milepost.eventlog.memory import MemoryLog
from services.rules.ledger import Ledger
from services.rules.past.trying import Trial
from services.rules.service import RuleService

UNUSUAL = "mine is none of the usual series (train/, eval/, system/): the rule is silent until a run has it"
HAS = {"rt-1": ["train/loss", "train/grad_norm"], "rt-2": ["eval/loss"], "rt-3": []}


class Stored:
    """Three runs, of which one has no points yet."""

    is_there = True

    async def since(self, start: datetime) -> AsyncIterator[Runtime]:
        for name, label in (("rt-1", "nlp"), ("rt-2", "cv"), ("rt-3", "cv")):
            runtime = Runtime(name=f"runtimes/{name}", runtime_id=name)
            runtime.configuration.labels["team"] = label
            yield runtime

    async def series(self, runtime_id: str) -> list[str]:
        if not self.is_there:
            raise Unavailable("the metric service did not answer")
        return HAS[runtime_id]


class NoDestinations:
    def unknown(self, rule: rules.Rule) -> list[object]:
        return []


async def warnings(series: str, selector: str = "", stored: Stored | None = None) -> list[str]:
    log = MemoryLog()
    trial = Trial(log, cast(Any, stored or Stored()))
    service = RuleService(
        Ledger(log), cast(Any, None), trial, cast(Any, NoDestinations()), cast(Any, None), cast(Any, None)
    )
    threshold = rules.Threshold(series=series, comparison=rules.COMPARISON_ABOVE, value=5.0)
    rule = rules.Rule(selector=selector, detector=rules.Detector(threshold=threshold))
    context = cast(grpc.aio.ServicerContext, None)
    answer = await service.CreateRule(api.CreateRuleRequest(rule=rule, validate_only=True), context)
    return list(answer.warnings)


@pytest.mark.parametrize(
    ("series", "selector", "said"),
    [
        ("train/los", "", ["none of the 2 newest runs that it selects has train/los; did you mean train/loss?"]),
        ("train/los", "label.team=nlp", ["the newest run that it selects has no train/los; did you mean train/loss?"]),
        ("train/loss", "", []),
        # May come.
        ("train/perplexity", "", []),
        ("mine", "", ["none of the 2 newest runs that it selects has mine: the rule is silent until a run has it"]),
        ("mine", "name:none", [UNUSUAL]),
    ],
)  # fmt: skip
async def test_a_series_that_no_run_has_is_warned_of_where_another_was_meant(
    series: str, selector: str, said: list[str]
) -> None:
    assert await warnings(series, selector) == said


async def test_a_rule_is_made_where_nobody_can_say_which_series_there_are() -> None:
    stored = Stored()
    stored.is_there = False
    assert await warnings("train/los", "", stored) == []
