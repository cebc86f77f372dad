"""The alerts of deploy/, as Prometheus' own tool reads and evaluates them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.servers.prometheus import PROMTOOL, RULES, promtool

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")

CASES = Path(__file__).resolve().parents[1] / "assets" / "prometheus" / "rules_test.yaml"


def test_each_alert_fires_for_what_it_is_for_and_not_before(tmp_path: Path) -> None:
    cases = tmp_path / "rules_test.yaml"
    cases.write_text(CASES.read_text().replace("[RULES]", f"[{RULES}]"))
    told = promtool("test", "rules", str(cases))
    assert told.returncode == 0, told.stdout.decode() + told.stderr.decode()
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    tried = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in tried if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in tried if not case.get("exp_alerts")} == alerts
