"""What rules found, where people look: on the page of the run, and on that of all rules."""

from __future__ import annotations

import json
import re

from playwright.sync_api import expect

from milepost.api.config.v1 import rule_pb2 as config
from milepost.api.rule.v1 import rule_service_pb2 as rule_api
from milepost.cli.runs.rules import read_rules
from tests.browser.conftest import configuration, remove
from tests.browser.pages import PATIENCE_SECONDS, Visit
from tests.e2e.stack import StackProcess

PATIENCE = PATIENCE_SECONDS * 1000
SENTENCE = "Fell fast: train/loss is"


def test_a_firing_is_marked_on_the_step_bar_and_on_the_charts(visit: Visit, fired: str) -> None:
    """In both places the tooltip has the sentence; a toggle takes it off the charts."""
    page = visit.open(f"/{fired}")
    mark = page.locator(".timeline .firing")
    expect(mark).to_have_count(1, timeout=PATIENCE)
    step = int(mark.get_attribute("data-step") or 0)
    mark.hover(force=True)
    expect(page.locator(".step-monitor .tip")).to_contain_text(SENTENCE)
    visit.until("document.querySelector('[data-key=\"train/loss\"] .u-over')", "the chart is drawn")
    over = page.locator('[data-key="train/loss"] .u-over')
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    place = box["x"] + box["width"] * (step - 1) / 59
    page.mouse.move(place - 30, box["y"] + 40)
    page.mouse.move(place, box["y"] + 40)
    expect(page.locator(".tip-firing")).to_contain_text(SENTENCE)
    page.get_by_role("button", name="Rules", exact=True).click()
    page.mouse.move(place, box["y"] + 40)
    expect(page.locator(".chart-tip")).to_be_visible()
    expect(page.locator(".tip-firing")).to_have_count(0)


def test_the_events_say_what_rules_found_and_a_chip_shows_it_alone(visit: Visit, fired: str) -> None:
    page = visit.open(f"/{fired}?tab=events")
    page.get_by_role("button", name="rules", exact=True).click(timeout=PATIENCE)
    rows = page.locator(".event-row")
    expect(rows).to_have_count(2)
    expect(rows.last).to_contain_text("Rule fired, critical")
    expect(rows.last).to_contain_text(SENTENCE.removeprefix("Fell fast: "))
    expect(rows.last.locator('[data-tone="bad"]')).to_have_count(1)
    expect(rows.first).to_contain_text("Rule cleared")


def test_the_page_of_rules_leads_from_a_rule_to_the_step_at_which_it_fired(
    stack: StackProcess, visit: Visit, fired: str
) -> None:
    """In words, with its file as the command line takes it; from the firing to the run, the step pinned."""
    page = visit.open("/")
    page.get_by_role("link", name="Rules", exact=True).click()
    row = page.locator('[data-rule="fell-fast"] .rule-row')
    row.click(timeout=PATIENCE)
    expect(row).to_contain_text("train/loss below 3.2")
    expect(row).to_contain_text("watches only")
    ((rule_id, rule),) = read_rules(page.locator(".rule-detail pre").inner_text())
    kept = stack.client.rules.GetRule(rule_api.GetRuleRequest(name=f"rules/{rule_id}")).rule
    assert (rule.selector, rule.detector, rule.severity) == (kept.selector, kept.detector, kept.severity)
    expect(page.locator(".rule-commands")).to_contain_text("milepost rule update fell-fast rule.yaml")
    firing = page.get_by_role("region", name="Firings").locator(".firing-row")
    expect(firing).to_have_count(1)
    expect(firing).to_contain_text("its trial came to rest")
    firing.get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"/{fired}.*pin=[0-9]+"))
    expect(page.locator(".pinned")).to_contain_text("Step", timeout=PATIENCE)


def test_a_rule_is_made_on_the_curve_of_a_run(stack: StackProcess, visit: Visit, fired: str) -> None:
    """The bound is moved by keys, by the pointer and by typing; each time it says at once what it would have found."""
    run = fired.removeprefix("runtimes/")
    page = visit.open(f"/{fired}")
    chart = page.locator('[data-key="train/loss"]')
    chart.get_by_role("button", name="Options of Training loss").click(timeout=PATIENCE)
    page.get_by_role("menuitem", name="New rule").click()
    expect(page).to_have_url(re.compile(f"/rules\\?new=train/loss&run={run}"))
    bound = page.get_by_role("slider", name="Threshold")
    expect(bound).to_be_visible(timeout=PATIENCE)
    value, found = page.locator("input[name=value]"), page.locator(".rule-found")
    page.get_by_role("button", name="below", exact=True).click()
    value.fill("3.2")
    expect(found).to_contain_text(re.compile("fired .* first at step"), timeout=PATIENCE)
    expect(page.locator(".rule-marks g").first).to_be_attached()
    verdict = page.locator(f'.tested tr:has(a[href="/{fired}"]) td:last-child')
    expect(verdict).to_have_text("false alarm", timeout=PATIENCE)
    bound.focus()
    page.keyboard.press("PageDown")
    lowered = float(value.input_value())
    assert lowered < 3.2
    box = page.locator(".rule-chart svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + (float(bound.locator("circle").get_attribute("cy") or 0)))
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + box["height"] - 30, steps=4)
    page.mouse.up()
    assert float(value.input_value()) < lowered
    expect(found).to_have_text("It would not have fired in this run.", timeout=PATIENCE)
    assert visit.serious_findings() == []
    page.locator("input[name=id]").fill("by-hand")
    page.get_by_role("button", name="Create, watching only").click()
    try:
        expect(page.locator('[data-rule="by-hand"] .rule-row')).to_contain_text("watches only", timeout=PATIENCE)
        kept = stack.client.rules.GetRule(rule_api.GetRuleRequest(name="rules/by-hand")).rule
        assert (kept.selector, kept.watching_only) == ('name="fired"', True)
        assert kept.detector.threshold.comparison == config.COMPARISON_BELOW
    finally:
        stack.client.rules.DeleteRule(rule_api.DeleteRuleRequest(name="rules/by-hand"))


def test_a_rule_that_there_is_can_be_tried_on_its_page(visit: Visit, fired: str) -> None:
    page = visit.open("/rules?rule=fell-fast")
    page.get_by_role("button", name="Try it").click(timeout=PATIENCE)
    row = page.locator(f'.tested tr:has(a[href="/{fired}"])')
    expect(row).to_have_attribute("data-verdict", "false alarm", timeout=PATIENCE)
    row.get_by_role("link").nth(1).click()
    expect(page).to_have_url(re.compile(f"/{fired}.*pin=[0-9]+"))


def test_the_bell_rings_on_every_page_for_a_rule_that_a_run_has_brought(stack: StackProcess, visit: Visit) -> None:
    """Live, and its list leads to the step; on a page without a stream of its own too."""
    page = visit.open("/")
    bell = page.locator(".bell > button")
    expect(bell).to_be_visible(timeout=PATIENCE)
    given = json.loads(configuration("brings a rule", steps=100_000, step_seconds=0.05))
    bound = {"series": "train/loss", "comparison": "BELOW", "value": 1_000}
    given["rules"] = [{"id": "always", "display_name": "Always", "detector": {"threshold": bound}}]
    name = stack.client.start_runtime(json.dumps(given)).name
    try:
        expect(bell).to_have_attribute("aria-label", re.compile("firings? open"), timeout=PATIENCE)
        bell.click()
        entry = page.locator(".bell-list li", has_text="Always").get_by_role("link")
        expect(entry).to_contain_text("brings a rule")
        entry.click()
        expect(page).to_have_url(re.compile(f"/{name}.*pin=1"))
        visit.open(f"/{name}?tab=configuration")
        page.get_by_role("region", name="Rules of this run").get_by_role("link", name="Always").click(timeout=PATIENCE)
        own = page.locator(f'[data-rule="{name.removeprefix("runtimes/")}.always"]')
        expect(own).to_contain_text("train/loss below 1,000", timeout=PATIENCE)
        expect(page.get_by_role("region", name="Firings").locator(".firing-row")).to_contain_text("open")
    finally:
        stack.client.stop_runtime(name)
    expect(page.get_by_role("region", name="Firings").locator(".firing-row")).to_contain_text(
        "came to rest", timeout=PATIENCE
    )
    remove(stack, name)
