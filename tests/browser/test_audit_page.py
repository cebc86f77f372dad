"""The audit page in a real browser, on a real run that was stopped and resumed; and the same run in another installation."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtimes
from milepost.cli.exits import Exit
from tests.browser.conftest import start
from tests.browser.pages import PATIENCE_SECONDS, Visit, until, visiting
from tests.e2e.stack import StackProcess

STEPS = 300
PATIENCE = PATIENCE_SECONDS * 1000
STATUS_CHANGES = re.compile(
    r"runtime_(started|requested|aborted|failed|completed)|stop_requested|resume_requested|trial_(failed|stopped)|attempt_fenced"
)


@pytest.fixture(scope="module")
def resumed(stack: StackProcess) -> str:
    """A run that was stopped at once between two snapshots, resumed, and completed."""
    name = start(stack, "audited", steps=STEPS, steps_per_epoch=100, eval_every=50, step_seconds=0.02)
    saved = until(lambda: stack.trial(name).newest_snapshot_step or None, "a snapshot is committed")
    stack.wait_for_step(name, saved + 15)
    stack.client.stop_runtime(name, mode=common.STOP_MODE_ABRUPT, reason="to look back")
    stack.wait_for_end(name)
    stack.client.runtimes.ResumeRuntime(runtimes.ResumeRuntimeRequest(name=name))
    stack.wait_for_end(name)
    until(lambda: stack.completeness(name).gap_count == 0, "no gaps")
    until(lambda: stack.trial(name).progress.step == STEPS or None, "all steps are known")
    return name


@pytest.fixture(scope="module")
def events(stack: StackProcess, resumed: str) -> list[Any]:
    return stack.events(resumed)


def sequence_of(events: list[Any], kind: str) -> int:
    """The last event of a type."""
    return int(max(event.sequence for event in events if event.type.split(".")[2] == kind))


def shown(page: Page, sequence: int, events: list[Any]) -> None:
    """Wait until the page shows the moment of an event."""
    expect(page.locator(".past-banner")).to_contain_text(f"event #{sequence:,}", timeout=PATIENCE)
    place = [event.sequence for event in events].index(sequence) + 1
    expect(page.locator(".past-banner")).to_contain_text(f"event {place:,} of {len(events):,}", timeout=PATIENCE)


def test_a_permalink_shows_the_moment_under_a_banner(visit: Visit, resumed: str, events: list[Any]) -> None:
    """The state of then, made of the elements of the live page; what the event changed; the events until then."""
    aborted = sequence_of(events, "runtime_aborted")
    page = visit.open(f"/{resumed}/audit?at={aborted}")
    shown(page, aborted, events)
    expect(page.locator(".past-banner strong")).to_have_text("Past")
    expect(page.locator(".badge")).to_have_attribute("data-state", "past", timeout=PATIENCE)
    expect(page.locator(".audit-state .header .status")).to_have_text("Aborted", timeout=PATIENCE)
    expect(page.locator(".audit-state .header .reason")).to_contain_text("to look back")
    expect(page.locator(".audit-state .step-monitor")).to_be_visible()
    expect(page.locator(".audit-side")).to_contain_text('"Started"', timeout=PATIENCE)
    expect(page.locator(".audit-side .changes dt").first).to_have_text("runtime.status")
    expect(page.locator(".audit-state")).not_to_contain_text("Completed: ")
    # Nothing of what came later is drawn.
    until(lambda: len(visit.chart("train/loss")["x"]) > 100 or None, "the chart of then is drawn")
    assert max(visit.chart("train/loss")["x"]) < STEPS
    assert page.locator(".commands button").count() == 0, "the past cannot be changed"


def test_the_slider_has_a_histogram_and_a_tick_at_each_change_of_status(
    visit: Visit, resumed: str, events: list[Any]
) -> None:
    page = visit.open(f"/{resumed}/audit")
    shown(page, events[-1].sequence, events)
    ticks = [event for event in events if STATUS_CHANGES.search(event.type)]
    expect(page.locator(".scrubber-ticks i")).to_have_count(len(ticks), timeout=PATIENCE)
    assert page.locator(".scrubber rect").count() > 3


def test_moving_the_slider_moves_the_page_and_its_address(visit: Visit, resumed: str, events: list[Any]) -> None:
    page = visit.open(f"/{resumed}/audit")
    shown(page, events[-1].sequence, events)
    page.locator(".player-bar").get_by_text("Sequence", exact=True).click()
    slider = page.locator(".scrubber input")
    for index in (len(events) // 2, 0, len(events) - 1, len(events) // 3):
        slider.evaluate(
            "(input, place) => { input.value = place; input.dispatchEvent(new Event('input', { bubbles: true })) }",
            index / (len(events) - 1),
        )
        shown(page, events[index].sequence, events)
        expect(page).to_have_url(re.compile(f"at={events[index].sequence}$"), timeout=PATIENCE)
        expect(page.locator(".last-event")).to_contain_text(f"#{events[index].sequence:,}", timeout=PATIENCE)
        listed = "[...document.querySelectorAll('.audit-state .event-row')].map((row) => Number(row.id.slice(6)))"
        until(lambda: max(page.evaluate(listed), default=0) == events[index].sequence or None, "events until then")  # noqa: B023


def test_arrows_go_from_event_to_event(visit: Visit, resumed: str, events: list[Any]) -> None:
    middle = events[len(events) // 2].sequence
    page = visit.open(f"/{resumed}/audit?at={middle}")
    shown(page, middle, events)
    page.keyboard.press("ArrowRight")
    shown(page, events[len(events) // 2 + 1].sequence, events)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    shown(page, events[len(events) // 2 - 1].sequence, events)


def test_play_goes_event_by_event_to_the_end_and_stops_there(visit: Visit, resumed: str, events: list[Any]) -> None:
    begin = events[-6].sequence
    page = visit.open(f"/{resumed}/audit?at={begin}")
    shown(page, begin, events)
    page.locator(".player-bar").get_by_text("Event by event", exact=True).click()
    page.locator("body").click(position={"x": 5, "y": 400})
    page.keyboard.press("Space")
    expect(page.locator(".player-bar .primary")).to_have_text("Pause", timeout=PATIENCE)
    shown(page, events[-1].sequence, events)
    expect(page.locator(".player-bar .primary")).to_have_text("Play", timeout=PATIENCE)
    expect(page.locator(".audit-state .header .status")).to_have_text("Completed", timeout=PATIENCE)


def test_play_at_a_hundred_times_the_pace_passes_moments_between_events(
    visit: Visit, resumed: str, events: list[Any]
) -> None:
    page = visit.open(f"/{resumed}/audit?at={events[0].sequence}")
    shown(page, events[0].sequence, events)
    page.locator(".player-bar").get_by_text("100×", exact=True).click()
    page.locator(".player-bar .primary").click()
    shown(page, events[-1].sequence, events)
    expect(page.locator(".player-bar .primary")).to_have_text("Play", timeout=PATIENCE)
    until(lambda: visit.chart("train/loss")["x"][-1:] == [STEPS] or None, "the last picture is the whole run")


def test_a_range_of_events_is_exported(visit: Visit, resumed: str, events: list[Any]) -> None:
    first, last = events[3].sequence, events[9].sequence
    page = visit.open(f"/{resumed}/audit?at={first}")
    shown(page, first, events)
    page.get_by_text("Range from here").click()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    shown(page, last, events)
    link = page.locator(f"a[download='{resumed.split('/')[1]}-{first}-{last}.ndjson']")
    expect(link).to_be_visible(timeout=PATIENCE)
    with page.expect_download() as download:
        link.click()
    lines = Path(download.value.path()).read_text().splitlines()
    found = [event["sequence"] for line in lines for event in json.loads(line)["events"]]
    assert found == [event.sequence for event in events[3:10]]


def test_verify_says_that_log_and_page_agree(visit: Visit, resumed: str) -> None:
    page = visit.open(f"/{resumed}/audit")
    page.get_by_role("button", name="Verify").click(timeout=PATIENCE)
    verdict = page.locator(".verdict")
    expect(verdict).to_contain_text("the chain is unbroken", timeout=PATIENCE)
    expect(verdict).to_contain_text("read models and ClickHouse equal")
    expect(verdict).to_have_attribute("data-valid", "true")


def test_a_resumed_run_says_whether_it_computed_the_same_again(visit: Visit, resumed: str) -> None:
    page = visit.open(f"/{resumed}")
    line = page.locator(".determinism")
    expect(line).to_contain_text(re.compile(r"\d+ steps? ran twice, bit-exact"), timeout=PATIENCE)
    expect(line).to_have_attribute("data-whole", "true")


# Another installation


@pytest.fixture(scope="module")
def elsewhere(stack: StackProcess, resumed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """A second installation, into which the run was imported."""
    bundle = tmp_path_factory.mktemp("bundle") / "run.zip"
    assert stack.milepost("audit", "export", resumed, "--file", str(bundle)).returncode == Exit.OK
    running = StackProcess(tmp_path_factory.mktemp("elsewhere") / "data")
    try:
        running.start()
        result = running.milepost("audit", "import", str(bundle))
        assert result.returncode == Exit.OK, result.stderr + running.tail()
        yield running
    finally:
        running.end()


PICTURE = """(keys) => {
  const charts = keys.map((key) => document.querySelector(`[data-key="${key}"] .chart-body canvas`)?.toDataURL())
  return charts.every(Boolean) && { charts, bar: document.querySelector('.timeline')?.outerHTML,
    numbers: document.querySelector('.monitors').innerText }
}"""
KEYS = ["train/learning_rate", "train/grad_norm", "train/loss"]


def picture(visit: Visit, path: str, last: int) -> dict[str, Any]:
    """What is drawn and written about a run, when it has come to rest."""
    visit.open(path)
    for key in KEYS:
        until(lambda key=key: visit.chart(key)["x"][-1:] == [last] or None, f"{key} is drawn")  # type: ignore[misc]
    expect(visit.page.locator(".completeness").first).to_contain_text("stored", timeout=PATIENCE)
    expect(visit.page.locator(".determinism")).to_contain_text("bit-exact", timeout=PATIENCE)
    before: dict[str, Any] = {}

    def rests() -> dict[str, Any] | None:
        nonlocal before
        visit.page.wait_for_timeout(400)
        now = visit.page.evaluate(PICTURE, KEYS) or {}
        same, before = now == before and bool(now), now
        return now if same else None

    return until(rests, "the page rests")


def test_an_imported_run_gives_the_same_picture(
    stack: StackProcess, elsewhere: StackProcess, browser: Browser, resumed: str
) -> None:
    """The same numbers, the same charts to the pixel, the same bar; marked, and without a command."""
    with (
        visiting(browser, stack.endpoints.gateway) as there,
        visiting(browser, elsewhere.endpoints.gateway) as here,
    ):
        expected, found = picture(there, f"/{resumed}", STEPS), picture(here, f"/{resumed}", STEPS)
        assert found["numbers"] == expected["numbers"]
        assert found["bar"] == expected["bar"]
        assert found["charts"] == expected["charts"]
        header = here.page.locator(".header")
        expect(header).to_contain_text("Imported")
        expect(header).to_contain_text("it can be read, and not changed")
        assert header.locator(".commands button").count() == 0
        page = here.open("/")
        row = page.locator(f"#row-{resumed.split('/')[1]}")
        expect(row).to_contain_text("imported", timeout=PATIENCE)
        expect(row).to_contain_text(f"{STEPS} / {STEPS}", timeout=PATIENCE)
        assert there.complaints + here.complaints == []


def test_an_imported_run_has_its_audit_page(elsewhere: StackProcess, browser: Browser, resumed: str) -> None:
    with visiting(browser, elsewhere.endpoints.gateway) as visit:
        events = elsewhere.events(resumed)
        aborted = sequence_of(events, "runtime_aborted")
        page = visit.open(f"/{resumed}/audit?at={aborted}")
        shown(page, aborted, events)
        expect(page.locator(".audit-state .header .status")).to_have_text("Aborted", timeout=PATIENCE)
        page.get_by_role("button", name="Verify").click()
        expect(page.locator(".verdict")).to_contain_text("the chains are unbroken", timeout=PATIENCE)
        assert visit.complaints == []


def test_the_page_is_the_same_after_everything_was_rebuilt(
    stack: StackProcess, elsewhere: StackProcess, browser: Browser
) -> None:
    """Read models and ClickHouse are removed while a run is on; the page of a moment before is the same afterwards."""
    name = start(elsewhere, "rebuilt", steps=2_000, steps_per_epoch=1_000, eval_every=100, step_seconds=0.02)
    elsewhere.wait_for_step(name, 150)
    moment = elsewhere.events(name)[-1].sequence
    until(lambda: elsewhere.completeness(name).stored_points >= 300 or None, "points are stored")

    def looked() -> dict[str, Any]:
        with visiting(browser, elsewhere.endpoints.gateway) as visit:
            visit.open(f"/{name}/audit?at={moment}")
            until(lambda: len(visit.chart("train/loss")["x"]) > 20 or None, "the chart is drawn")
            visit.page.wait_for_timeout(1_500)
            found = visit.page.evaluate(PICTURE, KEYS)
            found["header"] = visit.page.locator(".audit-state .header").inner_text()
            assert visit.complaints == []
            return dict(found)

    before = looked()
    elsewhere.stop()
    assert elsewhere.trainers(), "the run goes on"
    remove_what_can_be_rebuilt(elsewhere.data_dir)
    elsewhere.start()
    until(lambda: elsewhere.completeness(name).stored_points >= 300 or None, "points are stored again")
    assert looked() == before
    elsewhere.client.stop_runtime(name, mode=common.STOP_MODE_ABRUPT)
    elsewhere.wait_for_end(name)


def remove_what_can_be_rebuilt(data_dir: Path) -> None:
    for lost in ("clickhouse", "checkpoints"):
        shutil.rmtree(data_dir / lost)
