"""Twelve tasks of a working week, and how many clicks each takes from where one begins.

Presses of the mouse are counted by the page itself. Nobody scrolls: what is clicked, and what answers, must be in sight.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from milepost.api.event.v1 import common_pb2 as common
from tests.browser.conftest import STEPS, start
from tests.browser.imagined import served
from tests.browser.pages import PATIENCE_SECONDS, Visit, until, visiting
from tests.e2e.stack import StackProcess

PATIENCE = PATIENCE_SECONDS * 1000
COUNT_PRESSES = """addEventListener('pointerdown', (event) => {
  if (event.isTrusted) sessionStorage.presses = Number(sessionStorage.presses ?? 0) + 1
}, true)"""


class Hand:
    """Clicks on what is in sight on a page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def on(self, locator: Locator) -> None:
        self.sees(locator)
        locator.click(timeout=PATIENCE)

    def button(self, name: str, within: Locator | None = None) -> None:
        self.on((within or self.page.locator("body")).get_by_role("button", name=name, exact=True).first)

    def row(self, name: str) -> None:
        """Open a run from the list, by a click anywhere on its row."""
        row = self._found(name)
        row.click(position={"x": 700, "y": 20}, timeout=PATIENCE)

    def tick(self, name: str) -> None:
        """Choose a run of the list to be compared."""
        self.on(self._found(name).locator(".cell-choose"))

    def _found(self, name: str) -> Locator:
        """Scroll the list to a run: other tests have left newer ones."""
        row = self.page.locator(f"#row-{name.removeprefix('runtimes/')}")
        row.scroll_into_view_if_needed(timeout=PATIENCE)
        self.sees(row)
        return row

    def sees(self, locator: Locator, text: str | re.Pattern[str] = "") -> None:
        expect(locator).to_be_in_viewport(timeout=PATIENCE)
        if text:
            expect(locator).to_contain_text(text, timeout=PATIENCE)


@pytest.fixture
def counted(visit: Visit) -> Visit:
    """A page that counts how often its visitor presses the mouse."""
    visit.page.add_init_script(COUNT_PRESSES)
    return visit


@contextmanager
def task(visit: Visit, path: str, clicks: int) -> Iterator[Hand]:
    """A task that begins at an address, and how many clicks it takes."""
    visit.open(path)
    visit.page.evaluate("sessionStorage.presses = 0")
    yield Hand(visit.page)
    assert visit.page.evaluate("Number(sessionStorage.presses)") == clicks


@pytest.fixture(scope="module")
def failed(stack: StackProcess) -> str:
    name = start(stack, "it failed", steps=200, fail_at=120, step_seconds=0.001)
    stack.wait_for_end(name)
    return name


@pytest.fixture(scope="module")
def stopped(stack: StackProcess) -> str:
    name = start(stack, "it was stopped", steps=600, step_seconds=0.02)
    stack.wait_for_step(name, 130)
    stack.client.stop_runtime(name, mode=common.STOP_MODE_GRACEFUL, reason="the rate is too high")
    stack.wait_for_end(name)
    return name


def drawn(visit: Visit) -> None:
    until(lambda: len(visit.chart("train/loss")["x"]) == STEPS, "the chart is drawn")


def test_why_it_failed_or_stopped(counted: Visit, failed: str, stopped: str) -> None:
    with task(counted, "/", clicks=0) as do:
        do.sees(do.page.locator(f"#row-{failed.removeprefix('runtimes/')} .cell-phase"), "FloatingPointError")
    with task(counted, "/", clicks=1) as do:
        do.row(failed)
        do.sees(do.page.get_by_text("FloatingPointError: train/loss is not finite").first)
        do.sees(do.page.locator(".failure pre"), "Traceback")
    with task(counted, "/", clicks=1) as do:
        do.row(stopped)
        do.sees(do.page.locator(".header .because", has_text="the rate is too high"), "by local:")


def test_a_phone_names_what_failed(stack: StackProcess, browser: Browser, failed: str) -> None:
    """However long the reason is."""
    with visiting(browser, stack.endpoints.gateway, viewport={"width": 390, "height": 844}) as visit:
        visit.open("/")
        row = f"#row-{failed.removeprefix('runtimes/')}"
        visit.until(f"document.querySelector('{row} .cell-status')?.innerText.includes('Failed')", "the run is listed")
        widths = visit.page.evaluate(
            f"['.cell-name', '.cell-status'].map((one) => document.querySelector('{row} ' + one).clientWidth)"
        )
        assert min(widths) > 120, widths


def test_the_log_at_the_failure(counted: Visit, failed: str) -> None:
    with task(counted, "/", clicks=2) as do:
        do.row(failed)
        do.button("Log here")
        do.sees(do.page.locator(".log-line", has_text="raise FloatingPointError"))


def test_which_value_of_a_search_is_best(counted: Visit, search: str) -> None:
    with task(counted, "/", clicks=1) as do:
        do.row(search)
        do.sees(do.page.locator(".search-answer .answer"), re.compile(r"Best.*fall = 10", re.DOTALL))


def test_how_far_it_is_and_whose_it_is(counted: Visit, walk: str) -> None:
    with task(counted, "/", clicks=0) as do:
        row = do.page.locator(f"#row-{walk.removeprefix('runtimes/')}")
        do.sees(row, re.compile(r"[\d,]+ ?/ ?600"))
        do.sees(row.locator(".cell-owner"), re.compile(r"\w"))


def test_the_loss_as_csv(counted: Visit, walked: str) -> None:
    with task(counted, f"/{walked}", clicks=2) as do:
        drawn(counted)
        do.on(do.page.get_by_role("button", name="Options of Training loss"))
        with do.page.expect_download() as download:
            do.on(do.page.get_by_role("menuitem", name="Save CSV (what is shown)"))
        rows = Path(download.value.path()).read_text().splitlines()
        assert download.value.suggested_filename.startswith("walk") and len(rows) == STEPS + 1


def test_what_changed_between_two_runs(counted: Visit, stack: StackProcess, walked: str) -> None:
    """Nothing but what differs is listed, also after the live stream has told the runtime again."""
    newest = start(stack, "with another fall", steps=200, step_seconds=0.001, fall=30)
    stack.wait_for_end(newest)
    with task(counted, f"/{walked}", clicks=2) as do:
        do.on(do.page.get_by_role("tab", name="Configuration"))
        do.button("with another fall", do.page.get_by_role("group", name="Newest runtimes"))
        do.sees(do.page.locator(".difference"), "parameters.fall")
        fields = do.page.locator(".difference tbody th").all_inner_texts()
        expected = ["name", "parameters.fall", "parameters.step_seconds", "parameters.steps"]
        assert sorted(fields) == expected


def test_comparing_two_runs(counted: Visit, walked: str, failed: str) -> None:
    with task(counted, "/", clicks=3) as do:
        do.tick(walked)
        do.tick(failed)
        do.on(do.page.get_by_role("link", name="Compare 2"))
        do.sees(do.page.get_by_role("region", name="Differences"), "parameters.fail_at")
        do.sees(do.page.locator('[data-key="train/loss"]'))


def test_where_the_weights_are(counted: Visit, walked: str) -> None:
    with task(counted, "/", clicks=2) as do:
        do.row(walked)
        do.on(do.page.get_by_role("tab", name="Snapshots"))
        do.sees(do.page.locator(".snapshot-folder"), "file://")


def test_the_snapshot_to_go_on_from(counted: Visit, stack: StackProcess) -> None:
    """Of the snapshots the one that is chosen: its row says how good it was."""
    name = start(stack, "too far", steps=400, step_seconds=0.01, fail_at=250)
    stack.wait_for_end(name)
    with task(counted, "/", clicks=4) as do:
        do.row(name)
        do.on(do.page.get_by_role("tab", name="Snapshots"))
        row = do.page.locator(".snapshots tbody tr", has_text="eval/loss").last
        do.button("Resume here", row)
        do.button("Resume", do.page.locator("dialog"))
        expect(do.page.locator(".header .status")).not_to_have_text("Failed", timeout=PATIENCE)
    stack.client.stop_runtime(name, mode=common.STOP_MODE_ABRUPT)
    stack.wait_for_end(name)


def test_finding_a_run_among_hundreds(browser: Browser) -> None:
    """By the beginning of its name, from the keyboard; by who began it and what failed, from what the list shows."""
    with served("--runtimes=400") as base, visiting(browser, base) as visit:
        visit.page.add_init_script(COUNT_PRESSES)
        with task(visit, "/", clicks=1) as do:
            do.sees(do.page.locator(".row:not(.loading)").first)
            do.page.keyboard.press("/")
            do.page.keyboard.type("experiment 37")
            expect(do.page.locator(".row:not(.loading)").first).to_contain_text("experiment 37", timeout=PATIENCE)
            do.on(do.page.locator(".row", has_text=re.compile("experiment 37[^0-9]")).locator(".name").first)
            do.sees(do.page.locator("h1", has_text="experiment 37"))
        with task(visit, "/", clicks=1) as do:
            do.sees(do.page.locator(".row:not(.loading)").first)
            do.on(do.page.locator(".counter", has_text="Failed"))
            expect(do.page.locator(".row:not(.loading) .status").first).to_have_text("Failed", timeout=PATIENCE)


def test_a_view_that_is_zoomed_is_handed_on(counted: Visit, browser: Browser, walked: str) -> None:
    """A drag, Share, and the link: who opens it sees the same steps. One file has all of it."""
    counted.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    with task(counted, f"/{walked}", clicks=3) as do:
        drawn(counted)
        box = do.page.locator('[data-key="train/loss"] .u-over').bounding_box()
        assert box is not None
        do.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 60)
        do.page.mouse.down()
        do.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=5)
        do.page.mouse.up()
        do.page.wait_for_url("**from=*")
        do.button("Share")
        do.on(do.page.get_by_role("menuitem", name="Copy link to what I see"))
        link = until(lambda: do.page.evaluate("navigator.clipboard.readText()") or None, "it is on the clipboard")
    with visiting(browser, counted.base) as other:
        other.page.goto(link)

        def zoomed() -> bool:
            steps = other.chart("train/loss")["x"]
            return bool(steps) and steps[0] > 100 and steps[-1] < 350

        until(zoomed, "the other one sees the same steps")
    with task(counted, f"/{walked}", clicks=2) as do:
        do.button("Share")
        with do.page.expect_download() as download:
            do.on(do.page.get_by_role("menuitem", name="Save as one HTML file"))
        assert "train/loss" in Path(download.value.path()).read_text()


def test_what_was_logged_at_a_point_of_a_curve(counted: Visit, walked: str) -> None:
    with task(counted, f"/{walked}", clicks=2) as do:
        drawn(counted)
        chart = do.page.locator('[data-key="train/grad_norm"] .u-over')
        box = chart.bounding_box()
        assert box is not None
        chart.click(position={"x": box["width"] / 2, "y": 60})
        do.button("Log here")
        do.sees(do.page.locator(".log-line", has_text="step 300 loss"))


def test_resuming_what_ended(counted: Visit, stack: StackProcess, stopped: str) -> None:
    """Also: another like it with a change, and whether its log is whole."""
    with task(counted, f"/{stopped}", clicks=2) as do:
        do.button("Resume")
        do.button("Resume", do.page.locator("dialog"))
        expect(do.page.locator(".header .status")).to_have_text("Started", timeout=PATIENCE)
    with task(counted, f"/{stopped}", clicks=2) as do:
        do.button("Clone")
        do.sees(do.page.locator("dialog textarea"))
        do.page.keyboard.press("Tab")
        do.page.keyboard.type("parameters: {steps: 20, steps_per_epoch: 20}")
        do.button("Start the clone", do.page.locator("dialog"))
        expect(do.page.locator(".header h1")).to_have_text("it was stopped (copy)", timeout=PATIENCE)
    with task(counted, f"/{stopped}", clicks=2) as do:
        do.on(do.page.get_by_role("link", name="Audit"))
        do.button("Verify")
        do.sees(do.page.locator(".verdict"), "the chain is unbroken")
    stack.client.stop_runtime(stopped, mode=common.STOP_MODE_ABRUPT)
