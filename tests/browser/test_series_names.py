"""Charts of series with any names: each has its own, and those that look alike are told apart."""

from __future__ import annotations

import os
import subprocess
import sys

from playwright.sync_api import expect

from tests.browser.pages import PATIENCE_SECONDS, Visit, until
from tests.e2e.stack import ROOT, StackProcess

LOG = """
import sys, milepost
trial = milepost.init("names")
for step in range(1, 4):
    trial.tokens(100 * step)
    trial.log({name: step + place for place, name in enumerate(sys.argv[1:])})
for value in range(5):
    trial.log({"again": value}, step=3)
milepost.finish()
print(f"runtimes/{trial.runtime_id}")
"""
CYRILLIC = "eval/l\u043ess"
NAMES = [
    "eval/loss",
    CYRILLIC,
    "eval/a\u200bb", "eval/recall@iou>0.5", "eval/recall@iou<0.5", "eval/损失", 'eval/a "b"', "constructor/x",
]  # fmt: skip


def test_every_name_has_a_chart_and_look_alikes_say_how_they_differ(visit: Visit, stack: StackProcess) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(stack.data_dir)}
    done = subprocess.run(
        [sys.executable, "-c", LOG, *NAMES], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[-1]
    stack.wait_for_end(name)
    page = visit.open(f"/{name}")
    charts = page.locator(".chart-group .chart")
    expect(page.locator(".chart-group")).not_to_have_count(0, timeout=PATIENCE_SECONDS * 1000)
    for place, key in enumerate(NAMES):
        chart = charts.filter(has=page.locator(".chart-key", has_text=key if key != NAMES[2] else "U+200B")).first
        chart.scroll_into_view_if_needed()
        wanted = [1.0 + place, 2.0 + place, 3.0 + place]
        until(lambda key=key, wanted=wanted: visit.chart(key)["line"] == wanted, f"{key} is drawn")  # type: ignore[misc]
    alike = page.locator(".alike")
    expect(alike).to_have_count(2)
    told = {one.evaluate("one => one.closest('[data-key]').dataset.key"): one.inner_text() for one in alike.all()}
    assert "U+006F here, U+043E there" in told["eval/loss"]
    assert "U+043E here, U+006F there" in told[CYRILLIC]
    expect(page.locator(".chart-group h2", has_text="Constructor")).to_have_count(1)
    tokens = page.locator('[data-key="train/tokens"]')
    expect(tokens.locator(".chart-title")).to_have_text("Tokens seen")
    expect(tokens.locator(".readout b")).to_have_text("600")
    page.get_by_label("x axis").get_by_text("Tokens").click()
    until(lambda: visit.chart("eval/loss")["x"] == [100.0, 300.0, 600.0], "steps are where their tokens are")
    page.get_by_label("x axis").get_by_text("Step").click()
    assert visit.serious_findings(".charts") == []
    page.locator('[data-key="again"]').scroll_into_view_if_needed()
    until(lambda: visit.chart("again")["line"] == [0.0, 1.0, 2.0, 3.0, 4.0], "all values of a step are drawn")
    expect(page.locator('[data-key="again"] .readout b')).to_have_text("4")
