"""The page of one runtime, in a real browser, on a real run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Request, Route, expect

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.log.v1 import log_service_pb2 as logs
from milepost.api.metric.v1 import metric_service_pb2 as metrics
from milepost.api.runtime.v1 import runtime_service_pb2 as runtimes
from tests.browser.conftest import FIXED, STEPS, start
from tests.browser.imagined import imagine, served
from tests.browser.pages import PATIENCE_SECONDS, Visit, until, visiting
from tests.e2e.stack import StackProcess

PATIENCE = PATIENCE_SECONDS * 1000


def queried(stack: StackProcess, name: str, key: str, **more: Any) -> Any:
    request = metrics.QuerySeriesRequest(parents=[f"{name}/trials/1"], keys=[key], bucket_count=1000, **more)
    return stack.client.metrics.QuerySeries(request).series


def test_the_bar_moves_and_the_charts_draw_without_reloading(visit: Visit, walk: str) -> None:
    """A page that is left open follows the run."""
    page = visit.open(f"/{walk}")
    monitor = page.locator(".step-monitor")
    expect(monitor).to_have_attribute("aria-valuemax", str(STEPS), timeout=PATIENCE_SECONDS * 1000)
    first = int(monitor.get_attribute("aria-valuenow") or 0)
    until(lambda: int(monitor.get_attribute("aria-valuenow") or 0) > first + 20, "the bar moves")
    width = page.evaluate("document.querySelector('.timeline .done').width.baseVal.value")
    assert width > 0
    until(lambda: len(visit.chart("train/loss")["x"]) > 20, "the chart of the loss draws")
    before = len(visit.chart("train/loss")["x"])
    until(lambda: len(visit.chart("train/loss")["x"]) > before + 20, "the chart goes on")
    expect(page.locator(".badge")).to_have_text("Live")


def test_the_batch_monitor_says_epoch_and_batch(visit: Visit, walk: str) -> None:
    """`E0 45/200` in training, `E0 eval 2/5` in an evaluation."""
    page = visit.open(f"/{walk}")
    text = page.locator("[data-testid=batch]")
    expect(text).to_have_text(re.compile(r"^E\d (eval \d+(/\d+)?|\d+/200)$"), timeout=PATIENCE_SECONDS * 1000)


def test_the_page_misses_nothing_and_repeats_nothing_when_the_gateway_is_killed(
    stack: StackProcess, browser: Browser, walk: str
) -> None:
    """A lost stream blanks nothing; the page goes on where it was, with every step once."""
    with visiting(browser, stack.endpoints.gateway) as visit:
        page = visit.open(f"/{walk}")
        until(lambda: len(visit.chart("train/loss")["x"]) > 10, "the chart draws")
        seen = len(visit.chart("train/loss")["x"])
        stack.kill("gateway")
        expect(page.locator(".badge")).to_have_attribute("data-state", "reconnecting", timeout=PATIENCE_SECONDS * 1000)
        assert len(visit.chart("train/loss")["x"]) >= seen, "nothing is blanked"
        expect(page.locator(".badge")).to_have_attribute("data-state", "live", timeout=PATIENCE_SECONDS * 1000)
        stack.wait_for_end(walk)
        expect(page.locator(".header .status")).to_have_text("Completed", timeout=PATIENCE_SECONDS * 1000)
        for key in FIXED:
            until(lambda key=key: len(visit.chart(key)["x"]) >= STEPS, f"{key} is complete")  # type: ignore[misc]
            assert visit.chart(key)["x"] == list(range(1, STEPS + 1)), f"{key}: every step once"
        lines = stack.client.logs.QueryLogs(logs.QueryLogsRequest(parent=f"{walk}/trials/1", page_size=1)).total_size
        expect(page.locator(".log-count")).to_have_text(f"{lines:,} lines", timeout=PATIENCE_SECONDS * 1000)
        assert [text for text in visit.complaints if "Failed to load resource" not in text] == []


def test_only_the_chosen_trial_of_a_search_comes_with_its_markers(browser: Browser) -> None:
    """Planned markers are a hundred kilobytes for each trial: lists and the stream come without them."""
    run = list(imagine(0, 0, 0).runs)[2]
    with served() as base, visiting(browser, base) as visit:
        asked: list[str] = []
        visit.page.on("request", lambda request: asked.append(request.url))
        with visit.page.expect_response(lambda response: response.url.endswith("/trials/1")) as whole:
            page = visit.open(f"/runtimes/{run}")
        visit.until("document.querySelectorAll('.marker.evaluation').length > 0", "the markers are there")
        expect(page.locator(".badge")).to_have_attribute("data-state", "live", timeout=PATIENCE_SECONDS * 1000)
        assert any(marker.get("planned") for marker in whole.value.json()["trial"]["markers"])
        several = [url for url in asked if f"/{run}/trials?" in url or f"/{run}/stream?" in url]
        assert len(several) >= 2
        assert all("brief=true" in url for url in several)
        page.wait_for_timeout(1_500)
        assert page.locator(".marker.evaluation").count() > 0, "messages of the stream leave them where they are"


def test_markers_stand_at_their_steps(visit: Visit, walked: str) -> None:
    """Each marker is where its step is on the bar, to the pixel; epoch ends are 1.8 times as high as the bar."""
    page = visit.open(f"/{walked}")
    visit.until("document.querySelectorAll('.marker.epoch').length === 3", "the epoch markers are there")
    bar = page.locator(".timeline .track").bounding_box()
    assert bar is not None
    markers = page.evaluate(
        """() => [...document.querySelectorAll('.marker')].map((marker) => {
          const box = marker.getBoundingClientRect()
          return { kind: marker.dataset.kind, step: Number(marker.dataset.step), x: box.x + box.width / 2, height: box.height }
        })"""
    )
    assert {m["step"] for m in markers if m["kind"] == "evaluation"} == set(range(50, STEPS + 1, 50))
    assert {m["step"] for m in markers if m["kind"] == "epoch"} == {200, 400, 600}
    for marker in markers:
        expected = bar["x"] + min(bar["width"] - 1, max(1.0, marker["step"] / STEPS * bar["width"]))
        assert abs(marker["x"] - expected) <= 1.0, marker
        wanted = bar["height"] * (1.8 if marker["kind"] == "epoch" else 1.0)
        assert abs(marker["height"] - wanted) <= 1.5, marker


def test_charts_show_exactly_what_a_query_answers(visit: Visit, stack: StackProcess, walked: str) -> None:
    """The three fixed charts come first and in order, and their data is that of QuerySeries."""
    page = visit.open(f"/{walked}")
    expect(page.locator(".chart-grid.fixed .chart")).to_have_count(3, timeout=PATIENCE_SECONDS * 1000)
    keys = page.locator(".chart-grid.fixed .chart").evaluate_all("(charts) => charts.map((chart) => chart.dataset.key)")
    assert keys == list(FIXED)
    for key in FIXED:
        until(lambda key=key: len(visit.chart(key)["x"]) == STEPS, f"{key} is drawn")  # type: ignore[misc]
        (series,) = queried(stack, walked, key)
        drawn = visit.chart(key)
        assert drawn["x"] == list(series.last_steps)
        assert drawn["line"] == list(series.lasts)


def test_a_zoom_asks_the_server_and_ends_in_raw_points(visit: Visit, stack: StackProcess, walked: str) -> None:
    """Dragging zooms every chart, asks again for that range, and goes back by a double click."""
    page = visit.open(f"/{walked}?x=step")
    until(lambda: len(visit.chart("train/loss")["x"]) == STEPS, "the chart is drawn")
    over = page.locator('[data-key="train/loss"] .u-over').bounding_box()
    assert over is not None
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.mouse.move(over["x"] + over["width"] * 0.5, over["y"] + 60)
    page.mouse.down()
    page.mouse.move(over["x"] + over["width"] * 0.6, over["y"] + 60, steps=4)
    page.mouse.up()
    until(lambda: 0 < len(visit.chart("train/loss")["x"]) < 100, "the zoom is shown")
    assert any("series:query" in url and "first_step=" in url for url in asked), "the server was asked again"
    steps = visit.chart("train/loss")["x"]
    (series,) = queried(stack, walked, "train/loss", first_step=steps[0], last_step=steps[-1])
    assert series.raw
    assert steps == list(series.last_steps)
    expect(page).to_have_url(re.compile("from="))
    assert "raw points" in page.locator('[data-key="train/loss"] .chart-foot').inner_text()
    # Names what lies over the chart, if anything does.
    page.locator('[data-key="train/loss"] .u-over').dblclick(position={"x": over["width"] * 0.4, "y": 60})
    until(lambda: len(visit.chart("train/loss")["x"]) == STEPS, "a double click goes back")
    expect(page).not_to_have_url(re.compile("from="))


def test_a_query_copied_as_python_runs(visit: Visit, stack: StackProcess, walked: str, tmp_path: Path) -> None:
    """What the menu of a chart copies prints the points of that chart."""
    page = visit.open(f"/{walked}")
    until(lambda: len(visit.chart("train/loss")["x"]) == STEPS, "the chart draws")
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    chart = page.locator('[data-key="train/loss"]')
    chart.locator("button[aria-haspopup]").click()
    page.get_by_role("menuitem", name="Copy as Python").click()
    text = visit.until("window.copied", "the query is copied")
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "MILEPOST_DATA_DIR": stack.endpoints.data_dir, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    key, _, points = done.stdout.partition(" ")
    assert key == "train/loss"
    assert [step for step, _ in ast.literal_eval(points)] == list(range(1, STEPS + 1))


def test_the_page_begins_again_where_the_log_ends_before_what_it_has_read(visit: Visit, walked: str) -> None:
    """As after an older backup was restored: it is loaded anew by itself, once, and is live."""
    page = visit.page
    begun: list[str] = []
    loads: list[Page] = []

    def count(request: Request) -> None:
        if request.is_navigation_request():
            begun.append(request.url)

    def note(loaded: Page) -> None:
        loads.append(loaded)

    def ahead_at_first(route: Route) -> None:
        # Every stream of the page as it was loaded first: one that gets another topic soon is ended unread.
        position = {"last-event-id": "events=99999999"} if len(begun) == 1 else {}
        route.continue_(headers={**route.request.headers, **position})

    page.on("request", count)
    page.on("load", note)
    page.route("**/stream?**", ahead_at_first)
    visit.open(f"/{walked}")
    until(lambda: page.wait_for_timeout(50) or len(loads) == 2, "the page is loaded anew")
    until(lambda: len(visit.chart("train/loss")["x"]) == STEPS, "the chart is drawn")
    expect(page.locator(".badge")).to_have_text("Live", timeout=PATIENCE)
    expect(page.locator(".hints", has_text="no live")).to_have_count(0)
    assert len(loads) == len(begun) == 2
    page.unroute_all(behavior="ignoreErrors")


def test_keys_do_what_the_help_says(visit: Visit, walked: str) -> None:
    """`?`, `s`, `l`, `x`, `Esc`; the address holds what they change."""
    page = visit.open(f"/{walked}")
    until(lambda: len(visit.chart("train/loss")["x"]) == STEPS, "the chart is drawn")
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("reset zoom")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.keyboard.press("l")
    expect(page.locator(".choice [aria-pressed=true]", has_text="Log")).to_be_visible()
    expect(page).to_have_url(re.compile("y=log"))
    page.keyboard.press("x")
    expect(page).to_have_url(re.compile("x=time"))
    before = page.locator(".smoothing output").inner_text()
    page.keyboard.press("s")
    expect(page.locator(".smoothing output")).not_to_have_text(before)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_url("**/")


def test_every_tab_shows_its_content(visit: Visit, walked: str) -> None:
    """Events, trials, snapshots, configuration, instances; each by its address."""
    wanted = {
        "events": "Evaluation completed",
        "trials": "Completion percentage",
        "snapshots": "Committed",
        "configuration": "loop.py:train",
        "instances": "Attempt 1",
    }
    for tab, text in wanted.items():
        page = visit.open(f"/{walked}?tab={tab}")
        expect(page.locator("#tab-panel")).to_contain_text(text, timeout=PATIENCE_SECONDS * 1000)
    page = visit.open(f"/{walked}?tab=trials")
    expect(page.locator(".trials-table tbody tr")).to_have_count(1, timeout=PATIENCE_SECONDS * 1000)
    heads = page.locator(".trials-table th[scope=col]").all_inner_texts()
    assert heads == ["Trial Number", "Trial Status", "Completion percentage", "Elapsed time", "Estimated time"]


def test_the_log_is_searched_on_the_server(visit: Visit, walked: str) -> None:
    """Text and regular expressions filter all lines; a line has a link."""
    page = visit.open(f"/{walked}")
    # The script says a line every ten steps; the library has lines of its own beside them.
    expect(page.locator(".log-count")).to_have_text(re.compile(r"[6-9]\d lines"), timeout=PATIENCE_SECONDS * 1000)
    page.fill(".log-bar input", "step 40 loss")
    expect(page.locator(".log-count")).to_have_text("1 line", timeout=PATIENCE_SECONDS * 1000)
    page.click(".toggle-regex")
    page.fill(".log-bar input", "step [0-9]00 loss")
    expect(page.locator(".log-count")).to_have_text("6 lines", timeout=PATIENCE_SECONDS * 1000)
    page.locator(".log-line", has_text="step 300").click()
    expect(page).to_have_url(re.compile("line="))
    page.reload()
    expect(page.locator(".log-detail")).to_contain_text("step 300", timeout=PATIENCE_SECONDS * 1000)


def test_a_scroll_that_comes_after_the_log_has_gone_harms_nothing(visit: Visit, walked: str) -> None:
    """Browsers tell of a scroll a frame later, when another tab may be shown already."""
    page = visit.open(f"/{walked}")
    frame = page.get_by_role("log").element_handle()
    assert frame is not None
    page.get_by_role("tab", name="Events").click()
    page.get_by_role("log").wait_for(state="detached")
    # What it throws is on the list of errors that `visit` looks at.
    frame.dispatch_event("scroll")


def test_a_chart_that_was_out_of_sight_for_a_moment_is_drawn_as_it_is_seen_now(visit: Visit, walked: str) -> None:
    """A browser that is busy tells in one call that a chart left the sight and came back: the last word counts."""
    visit.page.add_init_script(
        """window.IntersectionObserver = class extends IntersectionObserver {
          constructor(tell, options) {
            super((entries, self) => tell([{ isIntersecting: !entries[0].isIntersecting }, ...entries], self), options)
          }
        }"""
    )
    visit.open(f"/{walked}")
    until(lambda: len(visit.chart("train/loss")["x"]) == STEPS, "the chart is drawn")


def test_not_a_number_is_a_marker_with_its_step(visit: Visit, stack: StackProcess) -> None:
    """NaN is neither hidden nor zero: a gap in the line, a marker at the edge, and the step in words."""
    name = start(stack, "nan", steps=80, steps_per_epoch=80, nan_from=41, fail_at=61)
    assert stack.wait_for_end(name).status == runtimes.RUNTIME_STATUS_FAILED
    until(lambda: stack.completeness(name).stored_points >= 3 * 60, "all points are stored")
    page = visit.open(f"/{name}")
    until(lambda: len(visit.chart("train/loss")["x"]) == 60, "the chart is drawn")
    figure = page.locator('[data-key="train/loss"]')
    expect(figure).to_have_attribute("data-nan-steps", " ".join(str(step) for step in range(41, 61)))
    expect(figure.locator(".chart-foot")).to_contain_text("since step 41")
    line = visit.chart("train/loss")["line"]
    assert line[39] is not None and line[40:] == [None] * 20
    red = page.evaluate(
        """() => {
          const plot = document.querySelector('[data-key="train/loss"] .chart-body').plot
          const x = Math.round(plot.valToPos(41, 'x', true))
          const bottom = plot.bbox.top + plot.bbox.height
          const { data } = plot.ctx.getImageData(x - 6, bottom - 14, 12, 14)
          let found = 0
          for (let i = 0; i < data.length; i += 4) if (data[i] > 150 && data[i + 1] < 110 && data[i + 3] > 100) found += 1
          return found
        }"""
    )
    assert red > 5, "the marker is drawn at the lower edge above step 41"
    expect(page.locator(".header .status")).to_have_text("Failed")
    expect(page.locator(".because")).to_contain_text("Training error")


def test_a_run_without_a_snapshot_begins_again_and_says_so_before(visit: Visit, stack: StackProcess) -> None:
    name = start(stack, "no snapshot yet", steps=200, step_seconds=0.1)
    stack.wait_for_step(name, 3)
    stack.client.stop_runtime(name, mode=common.STOP_MODE_ABRUPT)
    stack.wait_for_end(name)
    page = visit.open(f"/{name}")
    page.get_by_role("button", name="Resume").click()
    dialog = page.locator("dialog")
    expect(dialog.locator("select")).to_contain_text("The beginning: there is no snapshot yet", timeout=PATIENCE)
    expect(dialog.get_by_test_id("from-the-beginning")).to_contain_text("starts at step 1 again")
    dialog.locator("button[type=submit]").click()
    expect(page.locator(".header .status")).to_have_text("Started", timeout=PATIENCE)
    until(lambda: stack.trial(name).attempt == 2 and stack.trial(name).progress.step >= 1, "it runs again")
    stack.client.stop_runtime(name, mode=common.STOP_MODE_ABRUPT)


def test_a_stop_says_what_is_lost_and_a_resume_shows_the_abandoned_tail(visit: Visit, stack: StackProcess) -> None:
    """Stop abruptly from the page, resume from the page: one curve, its abandoned tail dashed, the stretch hatched."""
    name = start(stack, "stop and resume", steps=600, steps_per_epoch=600, step_seconds=0.04, eval_every=600)
    page = visit.open(f"/{name}")
    stack.wait_for_step(name, 120)
    until(lambda: stack.trial(name).newest_snapshot_step >= 100 or None, "there is a snapshot")
    page.click("button:has-text('Stop')")
    dialog = page.locator("dialog")
    expect(dialog.locator("[data-testid=loss]")).to_have_text(
        re.compile(r"Would be lost: [\d,]+ steps?, .+ since the snapshot at step \d+"), timeout=PATIENCE_SECONDS * 1000
    )
    dialog.locator("input[value=ABRUPT]").check()
    dialog.locator("input[type=text]").fill("enough for now")
    dialog.locator("button[type=submit]").click()
    expect(page.locator(".header .status")).to_have_text("Aborted", timeout=PATIENCE_SECONDS * 1000)
    page.goto(f"{visit.base}/{name}?tab=events")
    expect(page.locator(".event-list")).to_contain_text("enough for now", timeout=PATIENCE_SECONDS * 1000)
    page.get_by_role("button", name="Charts", exact=True).click()
    stopped_at = stack.trial(name).progress.step
    page.click("button:has-text('Resume')")
    expect(dialog).to_contain_text("Newest valid snapshot (step ", timeout=PATIENCE_SECONDS * 1000)
    dialog.locator("button[type=submit]").click()
    expect(page.locator(".header .status")).to_have_text("Started", timeout=PATIENCE_SECONDS * 1000)
    stack.wait_for_step(name, stopped_at + 20)
    tail = """() => {
      const plot = document.querySelector('[data-key="train/loss"] .chart-body')?.plot
      const dashed = plot?.series.findIndex((series) => series.dash)
      return dashed > 0 && plot.data[dashed].filter((value) => value !== undefined && value !== null).length
    }"""
    visit.until(tail, "the abandoned tail is dashed")
    visit.until("document.querySelectorAll('.timeline .redone').length === 1", "the stretch done twice is hatched")
    expect(page.locator(".hints")).to_contain_text("resumed from step")
    steps = visit.chart("train/loss")["x"]
    assert steps == sorted(set(steps)), "one curve: no step twice"
    page.click("button:has-text('Stop')")
    dialog.locator("button[type=submit]").click()
    expect(page.locator(".header .status")).to_have_text("Aborted", timeout=PATIENCE_SECONDS * 1000)
