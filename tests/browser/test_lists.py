"""The list of runtimes, the form for a new one, and trials side by side."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from milepost.api.metric.v1 import metric_service_pb2 as metrics
from services.mlflow.names import run_id_of
from tests.browser.conftest import FIXED, FOLDER, STEPS, configuration, remove, start
from tests.browser.imagined import served
from tests.browser.pages import PATIENCE_SECONDS, Visit, until, visiting
from tests.e2e.stack import StackProcess

PATIENCE = PATIENCE_SECONDS * 1000


def row_of(page: Page, name: str) -> Any:
    return page.locator(f"#row-{name.removeprefix('runtimes/')}")


def test_counters_and_the_filter_are_one_and_in_the_address(visit: Visit, walked: str) -> None:
    """A click on a counter filters; the address holds it; a filter that nothing matches says so and offers all."""
    page = visit.open("/")
    expect(row_of(page, walked)).to_be_visible(timeout=PATIENCE)
    page.get_by_role("group", name="Filter by status").get_by_role("button", name="Completed").click()
    expect(page).to_have_url(re.compile("filter=status"))
    expect(page.get_by_role("combobox", name="Filter runtimes")).to_have_value("status=Completed")
    statuses = page.locator(".row .status").all_inner_texts()
    assert statuses and {status.strip() for status in statuses} == {"Completed"}
    page.fill("input[type=search]", "name=nobody")
    page.get_by_role("button", name="Show all runtimes").click(timeout=PATIENCE)
    expect(row_of(page, walked)).to_be_visible(timeout=PATIENCE)


def test_a_page_that_is_opened_with_a_wrong_filter_does_not_say_that_there_is_nothing(
    stack: StackProcess, browser: Browser, walked: str
) -> None:
    with visiting(browser, stack.endpoints.gateway) as visit:
        page = visit.open("/?filter=phase%3DFailed")
        expect(page.get_by_text("This filter cannot be read")).to_be_visible(timeout=PATIENCE)
        expect(page.locator(".filter-hint")).to_contain_text("phase is one of QUEUED")
        completed = page.get_by_role("button", name="Completed").locator(".counter-number")
        expect(completed).not_to_have_text("0", timeout=PATIENCE)
        expect(page.get_by_text("No runtimes yet")).to_have_count(0)
        page.get_by_role("button", name="Show all runtimes").click()
        expect(row_of(page, walked)).to_be_visible(timeout=PATIENCE)
    assert all("400" in text for text in visit.complaints)


def test_a_row_says_how_far_a_run_is(visit: Visit, walked: str) -> None:
    """Steps with share, status, loss with its curve; j, k and Enter lead into it, Esc back."""
    page = visit.open("/")
    row = row_of(page, walked)
    expect(row).to_contain_text(f"{STEPS} / {STEPS}", timeout=PATIENCE)
    expect(row).to_contain_text("100 %")
    expect(row.locator(".status")).to_have_text(re.compile("Completed"))
    expect(row.locator("svg.spark path")).to_have_attribute("d", re.compile("^M"), timeout=PATIENCE)
    row.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{walked}")
    expect(page.locator("h1")).to_have_text("walk", timeout=PATIENCE)
    page.keyboard.press("Escape")
    page.wait_for_url("**/")


def test_the_link_that_an_mlflow_client_prints_opens_the_page_of_the_run(visit: Visit, walked: str) -> None:
    """`View run ... at: http://HOST/mlflow/#/experiments/0/runs/ID`: what stands behind the # reaches no server."""
    run_id = run_id_of(walked.removeprefix("runtimes/"))
    page = visit.open(f"/mlflow/#/experiments/0/runs/{run_id}")
    page.wait_for_url(f"**/{walked}")
    expect(page.locator("h1")).to_have_text("walk", timeout=PATIENCE)
    page = visit.open("/mlflow/#/experiments/7")
    expect(page.get_by_role("combobox", name="Filter runtimes")).to_have_value(
        'label.mlflow.experiment_id="7"', timeout=PATIENCE
    )


def test_a_new_runtime_is_validated_and_started_from_the_form(visit: Visit, stack: StackProcess) -> None:
    """A mistake is shown at its field with the server's words; what is right is started; the form is also a command."""
    page = visit.open("/")
    page.get_by_role("button", name="New runtime").click()
    dialog = page.locator("dialog")
    dialog.locator("input[name=name]").fill("from the form")
    dialog.locator("input[name=entrypoint]").fill("loop.py:train")
    dialog.locator("input[name=working_directory]").fill(str(FOLDER))
    dialog.locator("textarea[name=parameters]").fill(
        "steps = 20\nsteps_per_epoch = 20\neval_every = 10\nstep_seconds = 0.001"
    )
    dialog.get_by_text("Resources", exact=True).click()
    dialog.locator("input[name='resources.cpus_per_worker']").fill("-1")
    dialog.get_by_role("button", name="Validate").click()
    expect(dialog.locator("[role=alert]")).to_be_visible(timeout=PATIENCE)
    expect(dialog.locator("input[name='resources.cpus_per_worker']")).to_have_attribute("aria-invalid", "true")
    visit.complaints.clear()  # The browser's own line about the answer 400.
    dialog.locator("input[name='resources.cpus_per_worker']").fill("0.5")
    dialog.get_by_role("button", name="Validate").click()
    expect(dialog.locator(".valid")).to_contain_text("Nothing was started", timeout=PATIENCE)
    dialog.get_by_role("button", name="Command line").click()
    expect(dialog.locator(".same-thing")).to_contain_text("milepost runtime start")
    dialog.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/runtimes/rt-*")
    expect(page.locator("h1")).to_have_text("from the form", timeout=PATIENCE)
    stack.wait_for_end("runtimes/" + page.url.rsplit("/", 1)[1])


def test_a_clone_starts_anew_and_a_delete_wants_the_name_typed(visit: Visit, stack: StackProcess) -> None:
    """Clone with a change; delete only after the name was typed, and then it is gone from the list."""
    name = start(stack, "to be cloned", steps=20, steps_per_epoch=20, step_seconds=0.001)
    stack.wait_for_end(name)
    page = visit.open(f"/{name}")
    page.get_by_role("button", name="Clone").click()
    page.locator("dialog textarea").fill("parameters: {steps: 40}")
    page.get_by_role("button", name="Start the clone").click()
    page.wait_for_url(lambda url: "/runtimes/" in url and name not in url)
    expect(page.locator("h1")).to_have_text("to be cloned (copy)", timeout=PATIENCE)
    clone = "runtimes/" + page.url.rsplit("/", 1)[1]
    stack.wait_for_end(clone)
    assert stack.trial(clone).progress.step == 40
    page.get_by_role("button", name="Delete").click()
    dialog = page.locator("dialog")
    expect(dialog.get_by_role("button", name="Delete", exact=True)).to_be_disabled()
    dialog.locator("input[type=text]").fill("to be cloned (copy)")
    dialog.get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_url("**/?deleted=*")
    expect(row_of(page, name)).to_be_visible(timeout=PATIENCE)
    expect(row_of(page, clone)).to_have_count(0, timeout=PATIENCE)
    page.get_by_test_id("undo").get_by_role("button", name="Undo").click()
    expect(page.locator("h1")).to_have_text("to be cloned (copy)", timeout=PATIENCE)
    remove(stack, name)
    remove(stack, clone)


def test_deleted_runs_are_listed_with_the_time_they_have_left_and_restored(visit: Visit, stack: StackProcess) -> None:
    name = start(stack, "deleted by mistake", steps=20, steps_per_epoch=20, step_seconds=0.001)
    stack.wait_for_end(name)
    stack.client.delete_runtime(name)
    page = visit.open(f"/{name}")
    expect(page.get_by_role("main")).to_contain_text("deleted by mistake is deleted", timeout=PATIENCE)
    expect(page.get_by_role("main")).to_contain_text("6 d 23 h left")
    # The browser says that the first answer was "not found", as it is to everybody who does not ask for deleted ones.
    assert [text for text in visit.complaints if "404" not in text] == []
    visit.complaints.clear()
    visit.open("/")
    page.get_by_role("button", name="Deleted runtimes").click()
    row = page.locator("dialog tr", has_text="deleted by mistake")
    expect(row).to_contain_text("6 d 23 h left", timeout=PATIENCE)
    assert visit.serious_findings("dialog") == []
    row.get_by_role("button", name="Restore").click()
    expect(row).to_have_count(0, timeout=PATIENCE)
    assert not stack.client.get_runtime(name).deleted
    remove(stack, name)


def test_at_most_ten_trials_are_compared(browser: Browser) -> None:
    """The eleventh cannot be chosen, and the page says why. Twelve trials that are made up are enough for that."""
    with served() as base, visiting(browser, base) as visit:
        page = visit.open("/trials")
        boxes = page.locator(".trials-table tbody input[type=checkbox]")
        expect(boxes).to_have_count(12, timeout=PATIENCE)
        for number in range(10):
            boxes.nth(number).check()
        expect(boxes.nth(10)).to_be_disabled()
        expect(page.locator(".events-bar")).to_contain_text("10 at most")
        page.get_by_role("link", name="Compare 10").click()
        rows = page.get_by_role("region", name="Compared trials").locator("tbody tr")
        expect(rows).to_have_count(10, timeout=PATIENCE)
        assert visit.complaints == []


def test_compared_curves_are_what_a_query_answers(visit: Visit, stack: StackProcess, search: str) -> None:
    """Each trial has its line in each chart, with the points of QuerySeries, and only what differs is listed."""
    short = search.removeprefix("runtimes/")
    page = visit.open(f"/trials?compare={short}/1,{short}/2,{short}/4")
    lines = """() => {
      const plot = document.querySelector('[data-key="train/loss"] .chart-body')?.plot
      return plot && plot.data.length === 13 && [3, 7, 11].map((at) => Array.from(plot.data[at]))
    }"""
    drawn = until(lambda: page.evaluate(lines) or None, "three curves are drawn")
    for trial, line in zip((1, 2, 4), drawn, strict=True):
        request = metrics.QuerySeriesRequest(
            parents=[f"{search}/trials/{trial}"], keys=["train/loss"], bucket_count=1000
        )
        (series,) = stack.client.metrics.QuerySeries(request).series
        assert line == list(series.lasts)
    fields = page.get_by_role("region", name="Differences").locator("tbody th").all_inner_texts()
    assert sorted(fields) == ["parameters.eval_every", "parameters.fall"]
    box = page.locator('[data-key="train/loss"] .u-over').bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    expect(page.locator(".chart-tip")).to_contain_text("search of four · trial 4")
    tip = page.locator(".chart-tip").bounding_box()
    assert tip is not None
    beside = tip["x"] + tip["width"] <= box["x"] or tip["x"] >= box["x"] + box["width"]
    assert beside, "what is said of many lines covers none of them"
    assert tip["x"] >= 0 and tip["x"] + tip["width"] <= 1360, "and is in the window"


def test_code_and_packages_of_compared_runs_are_told_apart(visit: Visit, stack: StackProcess, tmp_path: Path) -> None:
    """The commit and what was not committed, as they were when each run began."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    shutil.copy(FOLDER / "loop.py", tmp_path)
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    names = []
    for change in ("", "# tried with a comment\n"):
        with (tmp_path / "loop.py").open("a") as file:
            file.write(change)
        given = json.loads(configuration("of a checkout", steps=5, steps_per_epoch=5, step_seconds=0.001))
        given["working_directory"] = str(tmp_path)
        names.append(stack.client.start_runtime(json.dumps(given)).name)
        stack.wait_for_end(names[-1])
    first, second = (name.removeprefix("runtimes/") for name in names)
    page = visit.open(f"/trials?compare={first}/1,{second}/1")
    differences = page.get_by_role("region", name="Differences")
    expect(differences.locator("tbody tr", has_text="git.changes")).to_contain_text("none", timeout=PATIENCE)
    assert "git.commit" not in differences.inner_text()
    page.get_by_text("Changes that are not committed").click()
    expect(page.locator("pre.diff")).to_contain_text("+# tried with a comment")
    page = visit.open(f"/runtimes/{first}?tab=configuration")
    expect(page.get_by_label("Code and machine")).to_contain_text(git("rev-parse", "HEAD"), timeout=PATIENCE)
    page.locator("summary", has_text="packages").click()
    expect(page.get_by_label("Code and machine")).to_contain_text("numpy")


def test_a_wrong_address_is_answered_by_the_page(visit: Visit) -> None:
    """An unknown path and an unknown runtime lead on, and say what to run."""
    page = visit.open("/nothing/here")
    expect(page.locator("main")).to_contain_text("There is no such page", timeout=PATIENCE)
    page.get_by_role("link", name="All runtimes", exact=True).click()
    page.wait_for_url("**/")
    page = visit.open("/runtimes/rt-00000000000000000000000000")
    expect(page.locator("main")).to_contain_text("There is no such runtime", timeout=PATIENCE)
    expect(page.locator("main")).to_contain_text("milepost runtime list")
    assert all("404" in complaint for complaint in visit.complaints)
    visit.complaints.clear()


def test_the_page_keeps_its_colours(stack: StackProcess, browser: Browser) -> None:
    """System colours, then what was chosen, from the first paint on; charts included."""
    with visiting(browser, stack.endpoints.gateway, color_scheme="dark") as visit:
        page = visit.open("/")
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        dark = page.evaluate(ground)
        page.locator("button[aria-label^=Theme]").click()
        visit.until(f"{ground} !== {json.dumps(dark)}", "the page is light")
        page.reload(wait_until="commit")
        # A document that has only just been committed to has no element yet.
        assert visit.until("document.documentElement?.dataset.theme", "the theme is known") == "light"
        assert visit.complaints == []


def test_fixed_charts_come_first_then_evaluation_and_system_last(visit: Visit, walked: str) -> None:
    """The order that a person finds again on every run."""
    page = visit.open(f"/{walked}")
    until(lambda: page.locator("[data-key='eval/loss']").count() or None, "evaluation has its chart")
    keys = page.locator("[data-key]").evaluate_all("(charts) => charts.map((chart) => chart.dataset.key)")
    assert tuple(keys[:3]) == FIXED
    assert keys[3].startswith("eval/")
    assert [key for key in keys if key.startswith("system/")] == keys[-sum(key.startswith("system/") for key in keys) :]
