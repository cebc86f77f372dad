"""What one sees of a run and of the list without looking for it. Most runs here are made up: see `imagined`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.imagined import imagine, served
from tests.browser.pages import PATIENCE_SECONDS, Visit, until, visiting
from tests.e2e.stack import ROOT, StackProcess

PATIENCE = PATIENCE_SECONDS * 1000
# By their place in `imagine`.
RUNNING, ENDLESS, LONG = 0, 7, 8
NAMES = [f"/runtimes/{run.identity}" for run in imagine(0, 0, 0).runs.values()]
LOSS_ALONE = """
import milepost
trial = milepost.init("loss alone")
for step in range(60):
    trial.log({"train/loss": 1 / (step + 1)})
milepost.finish()
print(trial.runtime_id)
"""
# The bucket whose values are furthest apart, and which the line itself passes over: how high its band is in pixels, and
# the contrast of its middle, and of its upper edge, with what stands above it.
CONTRASTS = """(key) => {
  const plot = document.querySelector(`[data-key="${key}"] .chart-body`)?.plot
  if (!plot || plot.data.length < 5 || plot.data[0].length < 50) return null
  const [xs, one, other, line] = plot.data
  const height = (i) => Math.abs(one[i] - other[i])
  const passed = (i) => Math.abs(line[i] - Math.max(one[i], other[i])) > height(i) * 0.8
  let widest = -1
  xs.forEach((x, i) => { if (passed(i) && (widest < 0 || height(i) > height(widest))) widest = i })
  if (widest < 0) return null
  const x = plot.valToPos(xs[widest], 'x', true)
  const [top, bottom] = [one[widest], other[widest]].map((value) => plot.valToPos(value, 'y', true)).sort((a, b) => a - b)
  const ground = document.createElement('canvas').getContext('2d')
  ground.fillStyle = getComputedStyle(plot.root.closest('.chart')).backgroundColor
  ground.fillRect(0, 0, 1, 1)
  const under = ground.getImageData(0, 0, 1, 1).data
  const linear = (value) => (value <= 10 ? value / 3295 : ((value + 14) / 269) ** 2.4)
  const luminance = (px, py) => {
    const pixel = plot.ctx.getImageData(px, Math.round(py), 1, 1).data
    const share = pixel[3] / 255
    const [r, g, b] = [0, 1, 2].map((i) => linear(pixel[i] * share + under[i] * (1 - share)))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  // A bucket may be narrower than a pixel, and begin anywhere in it: the best column of three.
  const contrast = (py) => Math.max(...[-1, 0, 1].map((by) => {
    const [less, more] = [luminance(Math.round(x) + by, py), luminance(Math.round(x) + by, top - 6)].sort((a, b) => a - b)
    return (more + 0.05) / (less + 0.05)
  }))
  return { pixels: bottom - top, middle: contrast((top + bottom) / 2), edge: contrast(top + 2) }
}"""


@pytest.fixture(scope="module")
def many() -> Iterator[str]:
    with served("--runtimes=60") as base:
        yield base


@pytest.fixture
def page(many: str, browser: Browser) -> Iterator[Page]:
    with visiting(browser, many) as visit:
        yield visit.page
        assert visit.complaints == []


def test_the_tabs_stay_under_the_header_and_what_they_hold_stands_below_them(page: Page, many: str) -> None:
    page.goto(many + NAMES[RUNNING])
    tabs = page.get_by_role("tablist", name="Details")
    expect(tabs).to_be_visible(timeout=PATIENCE)
    page.evaluate("window.scrollTo(0, 1500)")
    box = tabs.bounding_box()
    assert box is not None and 40 < box["y"] < 70
    page.get_by_role("tab", name="Instances").click()
    expect(page.locator("#tab-panel")).to_contain_text("localhost", timeout=PATIENCE)

    def place() -> float | None:
        panel = page.locator("#tab-panel").bounding_box()
        return panel["y"] if panel and panel["y"] < 140 else None

    assert until(place, "also a short one goes up to the tabs") > box["y"]


def hold(route: Route) -> None:
    """Answer when the page is no longer routed."""


def test_a_link_to_a_tab_leads_to_what_it_holds(visit: Visit, walked: str) -> None:
    """And the bar says where one is: at the charts, or at the tab."""
    page = visit.open(f"/{walked}?tab=events")
    visit.until("document.querySelector('.event-row')", "the events are there")
    visit.until("document.querySelector('.tabs').getBoundingClientRect().top < innerHeight / 2", "they are in sight")
    visit.until("document.querySelector('.tab-bar').dataset.at === 'panel'", "the bar says so")
    page.get_by_role("button", name="Charts", exact=True).click()
    visit.until("document.querySelector('.tab-bar').dataset.at === 'charts'", "the bar says that it is at the charts")
    visit.open("/")
    visit.open(f"/{walked}")
    visit.until("document.querySelector('.chart-body')", "the charts are there")
    assert page.evaluate("[scrollY, document.querySelector('.tab-bar').dataset.at]") == [0, "charts"]


def test_charts_that_come_late_push_nothing_out_of_sight(page: Page, many: str) -> None:
    series = re.compile(r"/trials/1/series(\?|$)")
    page.route(series, hold)
    page.goto(many + NAMES[RUNNING])
    page.get_by_role("tab", name="Instances").click(timeout=PATIENCE)
    panel = page.locator("#tab-panel", has_text="localhost")

    def in_place() -> bool:
        box = panel.bounding_box()
        return box is not None and 90 < box["y"] < 140

    until(in_place, "it stands below the tabs")
    assert page.locator(".chart-group").count() == 0
    page.unroute(series)
    expect(page.locator(".chart-group")).not_to_have_count(0, timeout=PATIENCE)
    until(in_place, "and stays there")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_spike_among_many_steps_is_seen(many: str, browser: Browser, scheme: str) -> None:
    """One step in two thousand is three times as large as the others: its bucket has a band that stands out."""
    with visiting(browser, many, color_scheme=scheme) as visit:
        visit.open(NAMES[LONG])
        seen = until(lambda: visit.page.evaluate(CONTRASTS, "train/grad_norm"), "the chart is drawn")
        assert seen["pixels"] > 30
        assert seen["middle"] > 3 and seen["edge"] > 3, seen


def test_what_was_never_logged_is_one_line(visit: Visit, stack: StackProcess) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(stack.data_dir)}
    done = subprocess.run(
        [sys.executable, "-c", LOSS_ALONE], env=environment, capture_output=True, text=True, check=True
    )
    name = f"runtimes/{done.stdout.split()[-1]}"
    stack.wait_for_end(name)
    page = visit.open(f"/{name}")
    expect(page.locator(".never-logged")).to_have_text(
        "Never logged: train/learning_rate, train/grad_norm", timeout=PATIENCE
    )
    expect(page.locator(".chart-grid.fixed .chart")).to_have_count(1)


def test_rows_are_low_and_have_owner_and_labels(page: Page, many: str) -> None:
    page.goto(many)
    row = page.locator(".row:not(.loading)").first
    expect(row.locator(".cell-owner")).to_have_text("ada", timeout=PATIENCE)
    box = row.bounding_box()
    assert box is not None and box["height"] == 40
    page.fill("input[type=search]", "experiment")
    page.wait_for_url("**filter=experiment")
    row.locator(".label-chip", has_text="team").click()
    # A chip and a counter join what was typed.
    expect(page).to_have_url(re.compile("filter=experiment.*AND.*label.team"))
    page.goto(f"{many}/?filter=experiment")
    page.locator(".counter", has_text="Failed").click()
    expect(page).to_have_url(re.compile("filter=experiment.*AND.*status"))
    expect(page.locator(".row:not(.loading) .status").first).to_have_text("Failed", timeout=PATIENCE)


def test_a_sparkline_comes_once_points_are_stored(page: Page, many: str) -> None:
    query = re.compile("series:query")
    page.route(query, lambda route: route.fulfill(json={"series": []}))
    with page.expect_response(query, timeout=PATIENCE):
        page.goto(many)
    row = page.locator(f"#row-{NAMES[RUNNING].rsplit('/', 1)[1]}")
    expect(row.locator("svg.spark")).to_be_visible(timeout=PATIENCE)
    page.unroute(query)
    expect(row.locator("svg.spark path")).to_have_attribute("d", re.compile("^M"), timeout=PATIENCE)


def test_the_list_is_sorted_by_any_column(page: Page, many: str) -> None:
    page.goto(many)
    expect(page.locator(".row:not(.loading)").first).to_be_visible(timeout=PATIENCE)
    heads = page.locator(".rows-head .sort")
    for place in range(heads.count()):
        heads.nth(place).click()
        expect(heads.nth(place)).to_have_attribute("aria-pressed", "true")
        expect(page.locator("[role=alert]")).to_have_count(0)
    page.goto(f"{many}/?sort=loss")
    losses = page.locator(".row:not(.loading) .cell-loss .number")
    expect(losses.nth(5)).to_be_visible(timeout=PATIENCE)

    def ascending() -> bool:
        told = [float(text) for text in losses.all_inner_texts()[:6]]
        return told == sorted(told)

    until(ascending, "the smallest loss comes first")


def test_typing_a_filter_alarms_nobody(visit: Visit, walked: str) -> None:
    """Half a term is no mistake; fields and values are offered; Escape leaves the box as it is."""
    page = visit.open("/")
    box = page.get_by_role("combobox", name="Filter runtimes")
    box.click()
    alarms: list[int] = []
    for letter in "status=Compl":
        page.keyboard.type(letter)
        page.wait_for_timeout(250)
        alarms.append(page.locator("[role=alert]").count())
    assert not any(alarms)
    offered = page.locator("#filter-completions option").evaluate_all("(all) => all.map((one) => one.value)")
    assert offered == ["status=Completed"]
    page.keyboard.type("eted")
    page.wait_for_url("**filter=status*Completed")
    page.keyboard.press("Escape")
    expect(box).to_have_value("status=Completed")
    expect(page.locator(f"#row-{walked.removeprefix('runtimes/')}")).to_be_visible(timeout=PATIENCE)
    # The browser's own line about each half term that the server refused.
    visit.complaints[:] = [text for text in visit.complaints if "400" not in text]


def test_an_unknown_total_is_said_alike_in_list_and_page(page: Page, many: str) -> None:
    page.goto(many)
    row = page.locator(f"#row-{NAMES[ENDLESS].rsplit('/', 1)[1]}")
    expect(row).to_contain_text(re.compile(r"[\d,]+ steps, total unknown"), timeout=PATIENCE)
    row.click(position={"x": 700, "y": 20})
    expect(page.locator(".figure.main")).to_contain_text(re.compile(r"[\d,]+ steps, total unknown"), timeout=PATIENCE)


def test_what_exited_is_said_to_have_exited(visit: Visit, walked: str) -> None:
    page = visit.open(f"/{walked}?tab=instances")
    expect(page.locator(".instances tbody")).to_contain_text("exited, finished", timeout=PATIENCE)
    expect(page.locator("body")).not_to_contain_text("not started")
    page.goto(f"{visit.base}/")
    expect(page.locator(f"#row-{walked.removeprefix('runtimes/')}")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("body")).not_to_contain_text("not started")


def test_the_command_for_grpc_has_the_real_address(visit: Visit, stack: StackProcess) -> None:
    page = visit.open("/?new=1")
    page.get_by_role("button", name="gRPC").click(timeout=PATIENCE)
    expect(page.locator(".same-thing")).to_contain_text(f"-d @ {stack.endpoints.runtime} ", timeout=PATIENCE)
