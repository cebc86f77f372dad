"""A language model whose learning rate gets too high is rolled back by a rule, with a smaller one, and completes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.rule.v1 import rule_service_pb2 as rule_api
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from tests.e2e.runs import ENTRYPOINT, TINY
from tests.e2e.stack import StackProcess, until

# With this rate the loss leaves its way at some step of the long warm-up; 0.4 percent of it is a good one.
STEEP = {**TINY, "learning_rate": 5.0, "warmup_steps": 300, "eval_every": 1_000}


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_language_model_that_diverges_is_rolled_back_and_learns(tmp_path: Path) -> None:
    stack = StackProcess(tmp_path / "data")
    stack.start()
    try:
        _check(stack)
    finally:
        stack.stop()


def _check(stack: StackProcess) -> None:
    threshold = rules.Threshold(series="train/loss", comparison=rules.COMPARISON_ABOVE, value=6.0)
    back = rules.RollBack(factors={"learning_rate": 0.004}, margin_steps=40, skip_batches=10, max_times=2)
    rule = rules.Rule(
        selector="name=steep-lm", detector=rules.Detector(threshold=threshold), watching_only=False,
        actions=[rules.Action(roll_back=back)],
    )  # fmt: skip
    stack.client.rules.CreateRule(rule_api.CreateRuleRequest(rule_id="steep-lm", rule=rule))
    text = json.dumps(
        {
            "name": "steep-lm",
            "entrypoint": ENTRYPOINT,
            "parameters": STEEP,
            "snapshots": {"every_steps": 20, "keep_last": 100},
        }
    )
    run = stack.client.runtimes.StartRuntime(api.StartRuntimeRequest(configuration_text=text)).runtime

    def completed() -> bool:
        launches = [e for e in stack.events(run.name) if e.trial_event.HasField("attempt_launched")]
        now = stack.client.runtimes.GetRuntime(api.GetRuntimeRequest(name=run.name)).runtime
        return len(launches) > 1 and now.status == api.RUNTIME_STATUS_COMPLETED

    until(completed, "it was rolled back and has completed", 300)
    back_again = [e.trial_event.attempt_launched for e in stack.events(run.name)
                  if e.trial_event.HasField("attempt_launched")][1]  # fmt: skip
    assert back_again.snapshot_step >= 20 and back_again.skip_batches == 10
    curve = metric_api.QuerySeriesRequest(
        parents=[f"{run.name}/trials/1"], keys=["train/loss", "train/learning_rate"], bucket_count=10_000,
        include_superseded=True,
    )  # fmt: skip
    found = stack.client.metrics.QuerySeries(curve).series
    by_key = {(piece.key, piece.attempt): piece for piece in found}
    loss, rate = by_key["train/loss", 0], by_key["train/learning_rate", 0]
    # Three epochs of 120 batches, without the ten that were passed over.
    assert (loss.first_steps[0], loss.last_steps[-1], len(loss.means)) == (1, 350, 350), "one curve, each step once"
    assert max(loss.means) < 6.0 and loss.means[-1] < 3.1
    assert max(by_key["train/loss", 1].means) > 6.0, "the abandoned stretch is there"
    at = back_again.snapshot_step
    assert rate.means[at] == pytest.approx(rate.means[at - 1] * 0.004, rel=0.1)
