"""Pointing at a step: with the mouse, with keys, from a chart, the step monitor, an event, a line of the log."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtimes
from tests.browser.conftest import STEPS, start
from tests.browser.imagined import imagine, served
from tests.browser.pages import PATIENCE_SECONDS, Visit, until, visiting
from tests.e2e.stack import StackProcess

PATIENCE = PATIENCE_SECONDS * 1000


def over(page: Page, key: str) -> dict[str, float]:
    """The box in which a chart draws its lines."""
    box = page.locator(f'[data-key="{key}"] .u-over').bounding_box()
    assert box is not None
    return dict(box)


def opened(visit: Visit, name: str) -> Page:
    """The page of a completed run, its charts drawn."""
    page = visit.open(f"/{name}")
    until(lambda: len(visit.chart("train/loss")["x"]) == STEPS, "the chart is drawn")
    return page


def to_the_top(visit: Visit) -> None:
    """Go to the charts by the key, again where a scroll that was under way has ended behind it."""

    def is_there() -> bool:
        visit.page.keyboard.press("Home")
        visit.page.wait_for_timeout(300)
        return bool(visit.page.evaluate("scrollY === 0"))

    until(is_there, "the charts are in sight")


def cursor_of(page: Page) -> Locator:
    return page.locator(".monitor-cursor")


def step_of_cursor(page: Page) -> float:
    """The step at which the line on the step monitor stands."""
    line, bar = cursor_of(page).bounding_box(), page.locator(".timeline .track").bounding_box()
    assert line is not None and bar is not None
    return (line["x"] + line["width"] / 2 - bar["x"]) / bar["width"] * STEPS


def test_the_tooltip_stays_where_the_pointer_is_while_points_come(stack: StackProcess, browser: Browser) -> None:
    """New points move the cursors of all charts; only the chart under the pointer says what is there."""
    name = start(stack, "pointed at", steps=400, steps_per_epoch=400, eval_every=400)
    with visiting(browser, stack.endpoints.gateway) as visit:
        page = visit.open(f"/{name}")
        until(lambda: len(visit.chart("train/loss")["x"]) > 10, "the chart draws")
        box = over(page, "train/loss")
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 50)
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
        before = len(visit.chart("train/loss")["x"])
        until(lambda: len(visit.chart("train/loss")["x"]) > before + 20, "points come")
        expect(page.locator(".chart-tip")).to_have_count(1)
        expect(page.locator('[data-key="train/loss"] .chart-tip')).to_contain_text("Step")
        assert visit.complaints == []
    stack.client.runtimes.StopRuntime(runtimes.StopRuntimeRequest(name=name, mode=common.STOP_MODE_ABRUPT))


def test_the_tooltip_stays_where_the_pointer_is_when_a_chart_is_made_again(visit: Visit, walked: str) -> None:
    """Other colours make all charts again; a pointer that has not moved still asks what is there."""
    page = opened(visit, walked)
    box = over(page, "train/loss")
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 50)
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    tip = page.locator('[data-key="train/loss"] .chart-tip')
    expect(tip).to_contain_text("Step 30")
    said = tip.inner_text()
    visit.page.evaluate("document.querySelector('[data-key=\"train/loss\"] .uplot').dataset.before = 'yes'")
    page.emulate_media(color_scheme="dark")
    expect(page.locator(".uplot[data-before]"), "the chart is another").to_have_count(0)
    page.wait_for_timeout(300)
    expect(page.locator(".chart-tip")).to_have_count(1)
    assert tip.inner_text() == said


def test_charts_with_points_stay_while_the_list_of_series_is_an_older_one(visit: Visit, walked: str) -> None:
    """The list is asked for now and then: "never logged" is not said of what has come since."""
    visit.page.route(re.compile(r"/trials/1/series($|\?)"), lambda route: route.fulfill(json={"series": []}))
    page = opened(visit, walked)
    page.wait_for_timeout(300)
    assert len(visit.chart("train/loss")["x"]) == STEPS
    expect(page.locator(".chart-grid.fixed .chart")).to_have_count(3)
    expect(page.locator(".never-logged")).to_have_count(0)


def test_a_click_on_a_chart_pins_the_step_and_leads_to_the_log(visit: Visit, walked: str) -> None:
    """The step stays marked on all charts and on the step monitor; from there to what was logged at that step."""
    page = visit.open(f"/{walked}?tab=events")
    visit.until("document.querySelector('.event-row') && scrollY > 0", "the events are in sight")
    to_the_top(visit)
    until(lambda: len(visit.chart("train/loss")["x"]) == STEPS, "the chart is drawn")
    box = over(page, "train/grad_norm")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 60)
    pinned = page.locator(".pinned")
    expect(pinned).to_contain_text(re.compile(r"Step (299|300|301|302)"))
    page.mouse.move(5, 5)
    assert abs(step_of_cursor(page) - STEPS / 2) < 4
    pinned.get_by_role("button", name="Log here").click()
    expect(page).to_have_url(re.compile("step=(29|30)"))
    expect(page.locator(".log-line", has_text="step 300 loss")).to_be_visible(timeout=PATIENCE)
    page.keyboard.press("Escape")
    expect(pinned).to_have_count(0)
    expect(page, "Esc lets go of the step first").to_have_url(re.compile("/runtimes/"))


@pytest.mark.parametrize("width", [1200, 1360, 1700])
def test_a_click_or_a_zoom_moves_no_chart(stack: StackProcess, browser: Browser, walked: str, width: int) -> None:
    """What they add to the tool bar has its place there: the second click of a double click meets the same chart."""
    with visiting(browser, stack.endpoints.gateway, viewport={"width": width, "height": 900}) as visit:
        page = opened(visit, walked)
        box = over(page, "train/grad_norm")
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=4)
        page.mouse.up()
        expect(page.locator(".zoomed")).to_be_visible()
        assert over(page, "train/grad_norm") == box
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 60)
        expect(page.locator(".pinned")).to_be_visible()
        assert over(page, "train/grad_norm") == box


def test_a_drag_pins_nothing(visit: Visit, walked: str) -> None:
    """A zoom ends with a click, too."""
    page = opened(visit, walked)
    box = over(page, "train/loss")
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 60, steps=4)
    page.mouse.up()
    visit.until("location.search.includes('from=')", "it is zoomed")
    expect(page.locator(".pinned")).to_have_count(0)


def test_the_step_monitor_tells_each_marker(visit: Visit, walked: str) -> None:
    """By the pointer: step, time, result. By the arrow keys: from marker to marker. A click pins the step."""
    page = opened(visit, walked)
    monitor = page.locator(".step-monitor")
    box = page.locator(".timeline .track").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 150 / STEPS, box["y"] + 10)
    expect(monitor.locator(".tip")).to_contain_text("Step 150")
    expect(monitor.locator(".tip")).to_contain_text(re.compile(r"\d\d:\d\d:\d\d"))
    expect(monitor.locator(".tip")).to_contain_text("eval/loss")
    page.mouse.click(box["x"] + box["width"] * 150 / STEPS, box["y"] + 10)
    expect(page.locator(".pinned")).to_contain_text("Step 150")
    page.mouse.move(5, 5)
    monitor.focus()
    page.keyboard.press("Home")
    expect(monitor.locator(".tip")).to_contain_text("Step 50")
    page.keyboard.press("ArrowRight")
    expect(monitor.locator(".tip")).to_contain_text("Step 100")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(monitor.locator(".tip")).to_contain_text("epoch 0 ends")
    expect(page.locator(".pinned")).to_contain_text("Step 200")


def test_markers_that_stand_too_close_are_one_that_says_so(stack: StackProcess, browser: Browser) -> None:
    """On a narrow bar markers collapse, with their number in the tooltip; every evaluation is in one of them."""
    name = start(stack, "evaluated often", steps=200, eval_every=2, eval_batches=1, step_seconds=0.001)
    stack.wait_for_end(name)
    with visiting(browser, stack.endpoints.gateway, viewport={"width": 360, "height": 700}) as visit:
        page = visit.open(f"/{name}")
        visit.until("document.querySelectorAll('.marker.evaluation.several').length > 0", "markers collapse")
        counts = page.locator(".marker.evaluation").evaluate_all("(all) => all.map((one) => Number(one.dataset.count))")
        assert sum(counts) == 200 / 2
        page.locator(".step-monitor").focus()
        page.keyboard.press("Home")
        expect(page.locator(".step-monitor .tip")).to_contain_text("closer than 4 px")


def test_an_event_and_a_log_line_lead_to_their_step(visit: Visit, walked: str) -> None:
    """From an evaluation to the charts and to the log at its step; from a line to the charts."""
    page = visit.open(f"/{walked}?tab=events&category=EVALUATION")
    page.locator(".event-row", has_text="300").first.click()
    page.get_by_role("button", name="Show step 300").click()
    expect(page.locator(".pinned")).to_contain_text("Step 300")
    page.get_by_role("button", name="Log at step 300").click()
    line = page.locator(".log-line", has_text="step 300 loss")
    expect(line).to_be_visible(timeout=PATIENCE)
    page.locator(".pinned").get_by_label("Let go of this step").click()
    line.click()
    page.get_by_role("button", name=re.compile("Show step .* on the charts")).click()
    expect(page.locator(".pinned")).to_contain_text("Step ")


def test_lines_that_fill_an_answer_before_its_page_is_full_are_shown_all(browser: Browser) -> None:
    """A page of the log is 500 lines; of long ones an answer has fewer, and the rest is asked for."""
    with served("--fitting-lines", "100") as base, visiting(browser, base) as visit:
        identity = next(run for run in imagine(0, 0, 0).runs.values() if run.status == "Completed").identity
        page = visit.open(f"/runtimes/{identity}?step=700")
        expect(page.locator(".log-line", has_text="step 700 ")).to_be_visible(timeout=PATIENCE)
        assert visit.complaints == []


def test_j_and_k_go_through_lines_and_rows(visit: Visit, walked: str) -> None:
    """In the log from line to line, in tables from row to row; Enter opens."""
    page = opened(visit, walked)
    expect(page.locator(".log-line").first).to_be_visible(timeout=PATIENCE)
    page.keyboard.press("j")
    expect(page.locator(".log-line[data-selected=true]")).to_have_count(1)
    first = page.locator(".log-line[data-selected=true] .log-text").inner_text()
    page.keyboard.press("j")
    expect(page.locator(".log-line[data-selected=true] .log-text")).not_to_have_text(first)
    page.keyboard.press("k")
    expect(page.locator(".log-line[data-selected=true] .log-text")).to_have_text(first)
    visit.open("/trials")
    expect(page.locator(".trials-table tbody tr").first).to_be_visible(timeout=PATIENCE)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/runtimes/.*trial=1"))


@pytest.mark.parametrize("key", ["Escape", "Let go"])
def test_a_pinned_step_is_let_go(visit: Visit, walked: str, key: str) -> None:
    """By Esc or by its button; a second Esc goes back to the list."""
    page = opened(visit, walked)
    page.locator('[data-key="train/loss"]').focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".pinned")).to_be_visible()
    if key == "Escape":
        page.keyboard.press("Escape")
        expect(page.locator(".pinned")).to_have_count(0)
        page.keyboard.press("Escape")
        page.wait_for_url("**/")
    else:
        page.locator(".pinned").get_by_label("Let go of this step").click()
        expect(page.locator(".pinned")).to_have_count(0)
