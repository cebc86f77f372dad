"""What rules found, where people look: on the page of the run, and on that of all rules."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from milepost.api.rule.v1 import rule_service_pb2 as rule_api
from milepost.cli.runs.rules import read_rules
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
