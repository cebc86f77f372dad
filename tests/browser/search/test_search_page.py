"""The page of a search of a thousand trials, most of them pruned: all are drawn, some are chosen, each is reached."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.imagined import SEARCHED, SEVERAL, imagine, served
from tests.browser.pages import PATIENCE_SECONDS, Visit, visiting
from tests.browser.search import made_up

TRIALS = 1_000
PATIENCE = PATIENCE_SECONDS * 1000
ADDRESS = f"/runtimes/{SEARCHED}"
# A plain run, by its place in `imagine`.
PLAIN = next(iter(imagine(0, 0, 0).runs))
# How long one drawing of all lines may take. It is some milliseconds; other things run on the machine.
MAX_DRAWING_MILLISECONDS = 500


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """Other things run on the machine."""
    expect.set_options(timeout=PATIENCE)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture(scope="module")
def made() -> Iterator[str]:
    with served(f"--searched={TRIALS}") as base:
        yield base


@pytest.fixture
def visit(made: str, browser: Browser) -> Iterator[Visit]:
    with visiting(browser, made) as opened:
        yield opened
        assert opened.complaints == []


def opened(visit: Visit, query: str = "") -> Page:
    page = visit.open(ADDRESS + query)
    expect(page.locator(".parallel canvas[data-milliseconds]")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".importances li").first).to_be_visible(timeout=PATIENCE)
    return page


def rate_of(one: made_up.MadeUp) -> float:
    return float(json.loads(one.parameters["learning_rate"]))


def test_a_thousand_trials_are_drawn_and_only_rows_in_sight_are_in_the_page(visit: Visit) -> None:
    page = opened(visit)
    best = made_up.best(TRIALS)
    expect(page.locator(".answer")).to_contain_text(f"Trial {best.number}")
    lines = page.locator(".parallel canvas")
    expect(lines).to_have_attribute("data-lines", str(TRIALS))
    drawn = page.locator("canvas[data-milliseconds]").evaluate_all("all => all.map((one) => +one.dataset.milliseconds)")
    assert len(drawn) == 4 and max(drawn) < MAX_DRAWING_MILLISECONDS, drawn
    rungs = made_up.rungs(TRIALS)
    expect(page.get_by_role("figure", name=re.compile("^Rungs")).locator("canvas")).to_have_attribute(
        "data-points", str(len(rungs))
    )
    assert page.locator(".ranking tbody tr:not(.space)").count() < 60
    # The most important parameter comes first, here and on the axes.
    assert page.locator(".importance-name").first.inner_text() == "learning_rate"
    assert page.locator(".parallel-name").first.inner_text() == "learning_rate"
    table = page.get_by_role("region", name="Trials, best first")
    assert table.locator("tbody tr:not(.space) td").first.inner_text().strip() == str(best.number)


def test_what_is_brushed_is_what_the_table_and_the_address_have(visit: Visit) -> None:
    page = opened(visit)
    strip = page.locator(".parallel-strip").first
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    assert box is not None
    reach, x = 14, box["x"] + box["width"] / 2
    span = box["height"] - 2 * reach
    page.mouse.move(x, box["y"] + reach + 0.25 * span)
    page.mouse.down()
    page.mouse.move(x, box["y"] + reach + 0.5 * span, steps=4)
    page.mouse.up()
    expect(page.locator(".brushed .chip")).to_contain_text("learning_rate")
    brush = re.search(r"brush=learning_rate:([\d.]+):([\d.]+)", page.url)
    assert brush is not None, page.url
    low, high = (float(one) for one in brush.groups())
    assert math.isclose(low, 0.5, abs_tol=0.03) and math.isclose(high, 0.75, abs_tol=0.03)
    # Where each trial lies on the axis, reckoned here.
    logs = {one.number: math.log(rate_of(one)) for one in made_up.search(TRIALS)}
    least, most = min(logs.values()), max(logs.values())
    places = {number: (value - least) / (most - least) for number, value in logs.items()}
    close = {number for number, at in places.items() if min(abs(at - low), abs(at - high)) < 0.001}
    within = {number for number, at in places.items() if low <= at <= high}
    admitted = int(page.locator(".parallel canvas").get_attribute("data-admitted") or 0)
    assert abs(admitted - len(within)) <= len(close)
    expect(page.locator(".brushed [role=status]")).to_have_text(f"{admitted} of 1,000 trials")
    shown = page.locator(".ranking tbody tr:not(.space) td:first-child").all_inner_texts()
    assert {int(one) for one in shown} <= within | close
    # The same address has the same brush; letting go shows all.
    page.reload()
    expect(page.locator(".brushed [role=status]")).to_have_text(re.compile(r"^\d+ of 1,000 trials$"))
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(".brushed [role=status]")).to_have_text("1,000 trials")
    assert "brush" not in page.url


def test_keys_reach_every_trial_and_every_brush(visit: Visit) -> None:
    page = opened(visit)
    upper = page.get_by_role("slider", name="layers, upper end")
    upper.focus()
    page.keyboard.press("PageDown")
    expect(upper).to_have_attribute("aria-valuenow", "90")
    expect(page.locator(".brushed .chip")).to_contain_text("layers")
    page.keyboard.press("Escape")
    expect(page.locator(".brushed .chip")).to_have_count(0)
    page.locator(".ranking button[tabindex='0']").focus()
    page.keyboard.press("End")
    last = page.locator(".ranking tbody tr[aria-rowindex='1001'] button")
    expect(last).to_be_focused()
    number = int(last.inner_text())
    # The one that is walked to is the one that the lines show.
    expect(page.locator(".parallel-tip strong")).to_have_text(f"Trial {number}")
    page.keyboard.press("Home")
    expect(page.locator(".ranking tbody tr[aria-rowindex='2'] button")).to_be_focused()
    figure = page.get_by_role("figure", name=re.compile("^Best so far"))
    figure.focus()
    page.keyboard.press("ArrowRight")
    expect(figure.locator(".dots-tip strong")).to_have_text("Trial 1")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"[?&]trial=1\b"))


def test_a_tree_shows_whose_weights_trials_began_with(visit: Visit) -> None:
    page = opened(visit)
    tree = page.get_by_role("region", name="Whose weights")
    rows = tree.get_by_role("listitem")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("Trial 7")
    expect(rows.nth(1)).to_contain_text("from trial 7 at step 100, in the place of trial 12")
    expect(rows.nth(2)).to_contain_text("from trial 40 at step 300, in the place of trial 13")
    lefts = [rows.nth(i).get_by_role("button").bounding_box()["x"] for i in range(3)]  # type: ignore[index]
    assert lefts == sorted(lefts) and lefts[0] < lefts[1] < lefts[2]
    rows.nth(2).get_by_role("button").click()
    expect(page).to_have_url(re.compile(r"[?&]trial=41\b"))


def test_several_objectives_are_a_matrix_that_shares_its_brushes(visit: Visit) -> None:
    """Two objectives and four parameters of a thousand trials: the front, a dragged rectangle, keys, the table."""
    page = visit.open(f"/runtimes/{SEVERAL}")
    canvas = page.locator(".matrix canvas[data-milliseconds]")
    expect(canvas).to_be_visible(timeout=PATIENCE)
    front = made_up.front(TRIALS)
    expect(canvas).to_have_attribute("data-cells", "15")
    expect(canvas).to_have_attribute("data-best", str(len(front)))
    canvas.scroll_into_view_if_needed()
    assert float(canvas.get_attribute("data-milliseconds") or "inf") < MAX_DRAWING_MILLISECONDS
    box = canvas.bounding_box()
    assert box is not None
    # The first chart: the second objective over the first one. Its lower left has the front.
    x, y = box["x"] + 30, box["y"] + box["height"] / 5 - 30
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y - 30, steps=3)
    page.mouse.up()
    expect(page.locator(".brushed .chip")).to_have_count(2)
    expect(page.locator(".brushed .chip").last).to_contain_text(made_up.SIZE)
    expect(page.locator(".brushed [role=status]")).to_have_text(re.compile(r"^\d+ of 1,000 trials$"))
    admitted = int(page.locator(".parallel canvas").get_attribute("data-admitted") or 0)
    assert 0 < admitted < TRIALS
    figure = page.get_by_role("figure", name=re.compile("^Objectives against each other"))
    figure.focus()
    page.keyboard.press("ArrowDown")
    expect(figure.locator(".dots-controls")).to_have_text(f"learning_rate over {made_up.METRIC}")
    page.keyboard.press("ArrowRight")
    marked = figure.locator(".matrix-tip strong")
    expect(marked).to_be_visible()
    number = marked.inner_text().removeprefix("Trial ")
    figure.get_by_role("button", name="As table").click()
    expect(figure.get_by_role("region", name="Objectives as a table").locator("tbody tr").first).to_contain_text("1")
    figure.get_by_role("button", name="As chart").click()
    figure.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"[?&]trial=\d+\b")), number


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_search(made: str, browser: Browser, scheme: str) -> None:
    with visiting(browser, made, color_scheme=scheme) as visit:
        page = opened(visit, "?brush=layers:0:0.5")
        page.get_by_role("button", name="As table").nth(1).click()
        assert visit.serious_findings(".search-answer") == []
        assert visit.complaints == []


def test_a_phone_scrolls_the_lines_and_not_the_page(made: str, browser: Browser) -> None:
    with visiting(browser, made, viewport={"width": 390, "height": 844}, has_touch=True) as visit:
        page = opened(visit)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator(".parallel-scroll").evaluate("(one) => one.scrollWidth > one.clientWidth")
        assert visit.complaints == []


def test_a_plain_run_fetches_nothing_of_it(visit: Visit) -> None:
    page = visit.open(f"/runtimes/{PLAIN}")
    page.wait_for_selector(".chart-body canvas", timeout=PATIENCE)
    names = page.evaluate("performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)")
    assert [name for name in names if "/elements/search" in name or "whole_search" in name or "parallel" in name] == []
