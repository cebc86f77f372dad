"""Requests made from /openapi.json, right ones and wrong ones, get on a whole stack what it says: of runs that there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from milepost.api.config.v1.rule_pb2 import Detector, NotFinite, Rule
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.rule.v1 import rule_service_pb2 as rule_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from tests.e2e.runs import paced
from tests.e2e.stack import ROOT, StackProcess

# Live streams never end. What may be refused is judged by openapi_rules, which knows what a state is. The guard against
# forged requests comes before routing, which methods there are.
ARGUMENTS = (
    *(
        "--exclude-path-regex",
        "stream$",
        "--phases",
        "coverage,fuzzing,stateful",
        "--continue-on-failure",
        "--no-color",
    ),
    *("--exclude-checks", "positive_data_acceptance,unsupported_method"),
)
# Reading the whole log takes a second or two. A rule is sent to be replaced or tried as it is to be made, where
# all of it is covered; so are questions that are put to a trial or to a run, by the trial's.
SETTINGS = """
[[operations]]
include-path = "/api/v1/log:verify"
generation.max-examples = 2

[[operations]]
include-path-regex = "^/api/v1/rules(/[{]rule[}]:update|:test)$"
phases.coverage.enabled = false

[[operations]]
include-path-regex = "^/api/v1/runtimes/[{]runtime[}]/(logs|logs/facets|snapshots)$"
phases.coverage.enabled = false
"""
# What needs a destination that an operator has listed, and one that did not take what it was told; a trial that trains, and
# one with snapshots that nobody else looks at.
NEVER_DONE = {
    "POST /api/v1/notifications/{notification}:retry",
    "POST /api/v1/destinations/{destination}:test",
    "POST /api/v1/runtimes/{runtime}/trials/{trial}:snapshot",
    "POST /api/v1/runtimes/{runtime}/trials/{trial}:evaluate",
    "POST /api/v1/runtimes/{runtime}/trials/{trial}:recordStacks",
    "POST /api/v1/runtimes/{runtime}/trials/{trial}:steer",
    "POST /api/v1/runtimes/{runtime}/trials/{trial}:rollBack",
    "POST /api/v1/runtimes/{runtime}/trials/{trial}:branch",
}


def things(stack: StackProcess, folder: Path) -> dict[str, Any]:
    """Make what requests are about, and say how it is named."""
    name = stack.client.start_runtime(paced("described", 0.001)).name
    stack.wait_for_end(name)
    scripts = [
        stack.client.start_runtime(json.dumps({"name": f"script-{number}", "launcher": "external"})).name
        for number in range(12)
    ]
    rules = [_rule(stack, f"rule-{number}") for number in range(12)]
    (folder / "anything.py").write_text("def train(trial, **parameters):\n    pass\n")
    answer = stack.client.metrics.ListSeries(metric_api.ListSeriesRequest(parent=f"{name}/trials/1"))
    trials = [f"{one}/trials/1" for one in (name, *scripts[:2])]
    kept = stack.client.runtimes.ListSnapshots(runtime_api.ListSnapshotsRequest(parent=name)).snapshots[0]
    return {
        "runtimes": [one.removeprefix("runtimes/") for one in (name, name, name, scripts[0])],
        "sacrificed": [one.removeprefix("runtimes/") for one in scripts[2:]],
        "rules": rules[:2],
        "sacrificed_rules": rules[2:],
        "snapshot_step": kept.step,
        "gateway": stack.endpoints.gateway,
        "entrypoint": "anything.py:train",
        "folder": str(folder),
        "query": {
            "parents": trials,
            "names": trials,
            "parent": [name, "runtimes/-"],
            "keys": [series.key for series in answer.series],
            "as_of": ["1", "5", "9/4", stack.runtime(name).end_time.ToJsonString()],
            "from": ["1", "5"],
            "to": ["9/4", stack.runtime(name).end_time.ToJsonString()],
            "runtime": [name],
            "min_sequence": [0, 1, 9],
            "min_telemetry_sequence": [0, 1, 4],
            "page_token": [""],
        },
    }


def _rule(stack: StackProcess, rule_id: str) -> str:
    rule = Rule(detector=Detector(not_finite=NotFinite()))
    stack.client.rules.CreateRule(rule_api.CreateRuleRequest(rule_id=rule_id, rule=rule))
    return rule_id


def fuzz(stack: StackProcess, folder: Path, examples: int, seconds: float) -> list[dict[str, Any]]:
    """Run schemathesis against a stack. Returns what was answered; fails with its report if it found something."""
    (folder / "things.json").write_text(json.dumps(things(stack, folder)))
    (folder / "schemathesis.toml").write_text(SETTINGS)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.e2e.openapi_rules",
        "MILEPOST_TEST_THINGS": str(folder / "things.json"),
        "MILEPOST_TEST_ANSWERS": str(folder / "answers.jsonl"),
    }
    program = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(folder / "schemathesis.toml")]
    document = f"{stack.endpoints.gateway}/openapi.json"
    budget = ("--seed", "1", "--max-examples", str(examples))
    done = subprocess.run(
        [*program, "run", document, *ARGUMENTS, *budget],
        capture_output=True, text=True, check=False, cwd=folder, env=environment, timeout=seconds,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def assert_thorough(answers: list[dict[str, Any]], least: int) -> None:
    """There were so many requests, and each operation has done what a right one asked for."""
    assert len(answers) >= least
    done = Counter(one["operation"] for one in answers if one["status"] == 200 and not one["negative"])
    assert {one["operation"] for one in answers} - set(done) <= NEVER_DONE, done
    by_phase: dict[str, set[bool]] = defaultdict(set)
    for one in answers:
        by_phase[one["phase"]].add(one["negative"])
    assert set(by_phase) == {"coverage", "fuzzing", "stateful"}
    assert by_phase["coverage"] == by_phase["fuzzing"] == {False, True}


@pytest.mark.timeout(1_800)
def test_three_thousand_requests_get_what_the_document_says(own_stack: StackProcess, tmp_path: Path) -> None:
    assert_thorough(fuzz(own_stack.start(), tmp_path, 6, 1_700), 3_000)


@pytest.mark.faults
@pytest.mark.timeout(3_000)
def test_many_more_requests_get_what_the_document_says(own_stack: StackProcess, tmp_path: Path) -> None:
    assert_thorough(fuzz(own_stack.start(), tmp_path, 80, 2_900), 6_000)
