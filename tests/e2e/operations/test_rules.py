"""A run that diverges is found by a rule, once, whatever ends meanwhile; and the past says the same as the present."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from milepost.api.rule.v1 import rule_service_pb2 as rule_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.bundle import open_bundle
from milepost.cli.exits import Exit
from tests.e2e.runs import DIVERGES_AT, diverging
from tests.e2e.stack import StackProcess, until
from tests.support.receiver import Answer, Receiver
from tests.support.servers.gateway import CSRF

NAME = "far-off"
RULE = f"""
id: {NAME}
display_name: Loss far above what it was
selector: name={NAME}
severity: CRITICAL
detector: {{change: {{series: train/loss, window: 20, direction: UP}}}}
"""


SAID = f"""
id: said
selector: name={NAME}
detector: {{event: {{type: milepost.trial.alert_raised.v1}}}}
"""


@pytest.fixture(scope="module")
def rule(stack: StackProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("rules") / "rule.yaml"
    file.write_text(RULE)
    made = stack.milepost("rule", "create", str(file))
    assert (made.returncode, made.stdout.strip()) == (Exit.OK, NAME), made.stderr
    said = file.with_name("said.yaml")
    said.write_text(SAID)
    assert stack.milepost("rule", "create", str(said)).returncode == Exit.OK
    return str(file)


def firings(stack: StackProcess, **more: object) -> list[rule_api.Firing]:
    request = rule_api.ListFiringsRequest(parent=f"rules/{NAME}", **more)  # type: ignore[arg-type]
    return list(stack.client.rules.ListFirings(request).firings)


def test_a_run_that_diverges_fires_once_though_who_evaluates_is_killed(
    stack: StackProcess, rule: str, tmp_path: Path
) -> None:
    name = stack.client.start_runtime(diverging(NAME)).name
    stack.wait_for_step(name, DIVERGES_AT - 10)
    stack.kill("rules")
    stack.wait_for_end(name)
    (firing,) = until(lambda: firings(stack, runtime=name) or None, "it fires")
    (firing,) = until(lambda: [one for one in firings(stack) if one.HasField("cleared")] or None, "it is cleared")
    assert firing.fired.step == DIVERGES_AT
    assert firing.fired.onset_step == DIVERGES_AT
    # It stands among the events of the run, and leads back to the request.
    events = stack.client.runtimes.ListEvents(
        runtime_api.ListEventsRequest(parent=name, behind_event_id=firing.event_id)
    ).events
    assert [event.type.split(".")[2] for event in events][:2] == ["rule_fired", "attempt_started"]
    assert events[0].trial == 1 and events[0].message.startswith("Rule Loss far above what it was fired: train/loss is")
    # What the code itself has said is found too.
    told = rule_api.ListFiringsRequest(parent="rules/said")
    (said,) = until(lambda: list(stack.client.rules.ListFirings(told).firings) or None, "the alert is found")
    assert (said.fired.step, said.fired.momentary, said.fired.attempt) == (DIVERGES_AT + 5, True, 1)
    # The chain of the run is whole, and the run itself as if there were no rules.
    verified = stack.milepost("audit", "verify", name.removeprefix("runtimes/"), "--read-models")
    assert verified.returncode == Exit.OK, verified.stdout + verified.stderr
    # What was found travels in its bundle.
    bundle = tmp_path / "run.zip"
    assert stack.milepost("audit", "export", name.removeprefix("runtimes/"), "-f", str(bundle)).returncode == Exit.OK
    checked = stack.milepost("audit", "verify", str(bundle))
    assert checked.returncode == Exit.OK, checked.stdout + checked.stderr
    assert any(event.subject.endswith(".rules") for event in open_bundle(bundle).events)


def test_a_firing_is_told_and_everybody_can_see_that_it_was(stack: StackProcess, tmp_path: Path) -> None:
    with Receiver(Answer(200, body=b"taken")).running() as receiver:
        (stack.data_dir / "destinations.yaml").write_text(
            f"destinations:\n  oncall: {{url: '{receiver.url}/a'}}\n  away: {{url: 'env:NOT_SET'}}\n"
        )
        listed = stack.milepost("rule", "destinations")
        assert listed.returncode == Exit.OK and "oncall" in listed.stdout, listed.stderr
        pinged = stack.milepost("rule", "ping", "oncall")
        assert (pinged.returncode, pinged.stdout.strip()) == (Exit.OK, "oncall was told (200): taken")
        assert stack.milepost("rule", "ping", "away").returncode == Exit.FAILED
        file = tmp_path / "telling.yaml"
        file.write_text(
            "id: ends\nselector: name=told\nwatching_only: false\ndetector: {state: {states: [Completed]}}\n"
            "actions: [{notify: {destination: nobody}}]\n"
        )
        refused = stack.milepost("rule", "create", str(file))
        assert refused.returncode == Exit.USAGE and "known: away, oncall" in refused.stderr
        file.write_text(file.read_text().replace("nobody", "oncall"))
        assert stack.milepost("rule", "create", str(file)).returncode == Exit.OK
        name = stack.client.start_runtime(diverging("told")).name
        stack.wait_for_end(name)
        (event,) = until(lambda: [json.loads(one.body) for one in receiver.received[1:]] or None, "somebody is told")
        assert event["subject"] == name
        assert event["data"]["link"] == f"{stack.endpoints.gateway}/{name}"
        until(lambda: "delivered" in stack.milepost("rule", "notifications", "ends").stdout, "it is listed")
        shown = stack.milepost("rule", "notifications", "ends").stdout
        assert "oncall" in shown and "taken" in shown
    runs = runtime_api.ListEventsRequest(parent=name)
    said = until(
        lambda: [one.message for one in stack.client.runtimes.ListEvents(runs).events if "Told oncall" in one.message],
        "it is a fact",
    )
    assert len(said) == 1


def test_a_rule_finds_on_the_past_what_it_found_live(stack: StackProcess, rule: str) -> None:
    live = {firing.fired.firing_id: firing.fired for firing in firings(stack)}
    assert live
    *runs, last = stack.client.rules.TestRule(rule_api.TestRuleRequest(name=f"rules/{NAME}"))
    past = {fired.firing_id: fired for answer in runs for fired in answer.run.firings}
    assert past == live
    summary = last.summary
    assert (summary.run_count, summary.fired_run_count, summary.false_alarm_count) == (1, 1, 1)
    told = stack.milepost("rule", "test", rule, "--since", "1h")
    assert told.returncode == Exit.OK, told.stderr
    assert "would have fired" in told.stdout and f"at step {DIVERGES_AT}" in told.stdout


def test_rules_are_made_and_read_over_http_and_the_command_line(stack: StackProcess, rule: str, tmp_path: Path) -> None:
    url = f"{stack.endpoints.gateway}/api/v1/rules"
    assert httpx.get(f"{url}/{NAME}").json()["rule"]["detector"]["change"]["window"] == 20
    assert httpx.get(f"{url}/{NAME}/firings").json()["firings"][0]["fired"]["step"] == DIVERGES_AT
    lines = httpx.post(f"{url}:test", json={"name": f"rules/{NAME}"}, headers=CSRF).text.splitlines()
    assert json.loads(lines[-1])["summary"]["run_count"] == 1
    refused = httpx.post(f"{url}:test", json={"rule": {"detector": {"log_pattern": {"pattern": "("}}}}, headers=CSRF)
    assert refused.json()["violations"][0]["field"] == "rule.detector.log_pattern.pattern"
    assert stack.milepost("rule", "install").stdout.split()[:2] == ["loss-spike", "not-finite"]
    assert stack.milepost("rule", "install").returncode == Exit.OK
    listed = stack.milepost("rule", "list").stdout
    assert len(listed.splitlines()) == 1 + 10 + 3 and "watching only" in listed
    shown = stack.milepost("rule", "firings", NAME).stdout
    assert f"{DIVERGES_AT}" in shown
    bad = tmp_path / "bad.yaml"
    bad.write_text("detector: {threshold: {series: train/loss, value: NaN, compare: ABOVE}}")
    refusal = stack.milepost("rule", "create", str(bad))
    assert refusal.returncode == Exit.USAGE and "rule.detector.threshold.compare" in refusal.stderr
    bad.write_text("rules: [{id: a, detector: {not_finite: {}}}, {id: b, detector: {threshold: {series: a}}}]")
    refusal = stack.milepost("rule", "create", str(bad))
    assert refusal.returncode == Exit.USAGE
    assert refusal.stderr == "error: rules[1].detector.threshold.comparison: must be one of ABOVE, BELOW\n"
    assert stack.milepost("rule", "get", "a").returncode == Exit.NOT_FOUND
    refusal = stack.milepost("rule", "test", "gone.yaml")
    assert refusal.returncode == Exit.USAGE and "there is no file gone.yaml" in refusal.stderr
    assert stack.milepost("rule", "disable", "gpu-idle").returncode == Exit.OK
    assert stack.milepost("rule", "delete", "gpu-idle").returncode == Exit.OK
    assert stack.milepost("rule", "get", "gpu-idle").returncode == Exit.NOT_FOUND
