"""Branches begun at a snapshot, drawn behind their trunk; pins in the list of snapshots; values changed while a run trains."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, expect

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.streams import ensure_streams
from tests.browser.conftest import STEPS, remove
from tests.browser.pages import PATIENCE_SECONDS, Visit, until, visiting
from tests.e2e.stack import StackProcess
from tests.support.servers.metrics_service import metrics_client
from tests.support.servers.processes import running_services
from tests.support.servers.servers import running_nats
from tests.support.trainers.grown_tree import Node, Tree

PATIENCE = PATIENCE_SECONDS * 1000
RUNS = 200
Answer = TypeVar("Answer")
ASSETS = Path(__file__).resolve().parent.parent / "assets"


def test_a_branch_is_begun_at_a_snapshot_and_drawn_behind_what_came_before_it(
    stack: StackProcess, visit: Visit, walked: str
) -> None:
    page = visit.open(f"/{walked}?tab=snapshots")
    row = page.locator(".snapshots tbody tr", has_text="400").first
    expect(row).to_be_visible(timeout=PATIENCE)
    row.get_by_role("button", name="Branch here").click()
    page.get_by_role("dialog").locator("textarea").first.fill("step_seconds: 0.001")
    page.get_by_role("button", name="Start the branch").click()

    said = page.get_by_test_id("branched-from")
    expect(said).to_contain_text("trial 1 at step 400, with step_seconds 0.001", timeout=PATIENCE)
    name = page.url.partition("/runtimes/")[2]
    stack.wait_for_end(f"runtimes/{name}")
    expect(said.get_by_role("link")).to_have_attribute("href", f"/{walked}")
    drawn = """() => {
      const plot = document.querySelector('[data-key="train/loss"] .chart-body')?.plot
      const steps = (column) => Array.from(plot.data[0]).filter((x, i) => plot.data[column][i] != null)
      return plot && plot.data.length > 4 && [steps(1).at(0), steps(1).at(-1), steps(4).at(0), steps(4).at(-1)]
    }"""
    visit.open(f"/runtimes/{name}")
    visit.until(f"JSON.stringify(({drawn})()) === '[1,400,401,{STEPS}]'", "the trunk is drawn, then its own steps")
    expect(page.get_by_test_id("with-ancestors")).to_contain_text("with ancestors")
    visit.open(f"/{walked}?tab=snapshots")
    expect(page.locator(".snapshots tbody tr", has_text="1 branch")).to_have_count(1, timeout=PATIENCE)
    tree = page.get_by_role("region", name="Branches").get_by_role("link")
    expect(tree).to_have_count(2)
    tree.first.focus()
    page.keyboard.press("ArrowDown")
    expect(tree.nth(1)).to_be_focused()
    expect(tree.nth(1)).to_contain_text("from step 400, step_seconds 0.001")
    remove(stack, f"runtimes/{name}")


def test_a_snapshot_is_pinned_and_unpinned_from_the_list(visit: Visit, walked: str) -> None:
    page = visit.open(f"/{walked}?tab=snapshots")
    row = page.locator(".snapshots tbody tr", has_text="500").first
    row.get_by_role("button", name="Pin", exact=True).click(timeout=PATIENCE)
    expect(row.locator(".tag", has_text="Pinned")).to_be_visible(timeout=PATIENCE)
    row.get_by_role("button", name="Unpin").click()
    expect(row.get_by_role("button", name="Pin", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(row.locator(".tag", has_text="Pinned")).to_have_count(0)


def test_a_value_is_changed_in_a_form_and_every_chart_has_a_marker(stack: StackProcess, visit: Visit) -> None:
    configuration = {
        "name": "steered from the page",
        "entrypoint": "loops.py:steered",
        "working_directory": str(ASSETS),
        "parameters": {"step_seconds": 0.02, "epochs": 500},
        "resources": {"cpus_per_worker": 0.25},
    }
    runtime = stack.client.start_runtime(json.dumps(configuration))
    try:
        page = visit.open(f"/{runtime.name}")
        page.get_by_role("button", name="Steer").click(timeout=PATIENCE)
        dialog = page.get_by_role("dialog")
        field = dialog.get_by_label("rate from 0.0 to 1.0")
        expect(field).to_have_attribute("placeholder", "0.9", timeout=PATIENCE)
        field.fill("7")
        dialog.get_by_role("button", name="Change").click()
        expect(dialog.get_by_role("alert")).to_contain_text("must be a number from 0.0 to 1.0, not 7", timeout=PATIENCE)
        # The browser says so, too.
        assert [complaint for complaint in visit.complaints if "400" not in complaint] == []
        visit.complaints.clear()
        field.fill("0.5")
        dialog.get_by_role("button", name="Change").click()
        expect(dialog).to_have_count(0, timeout=PATIENCE)
        # What the form shows comes with the markers.
        expect(page.locator(".timeline .change")).to_have_count(1, timeout=PATIENCE)
        page.get_by_role("button", name="Steer").click()
        expect(dialog.get_by_label("rate from 0.0 to 1.0")).to_have_attribute("placeholder", "0.5", timeout=PATIENCE)
        dialog.get_by_role("button", name="Cancel").click()
        # What it is asked for now, it does at its next boundary, and goes on.
        page.get_by_role("tab", name="Snapshots").click()
        page.get_by_role("button", name="Snapshot now").click()
        row = page.get_by_role("region", name="Snapshots").locator("tbody tr").first
        expect(row).to_contain_text("Committed", timeout=PATIENCE)
        page.get_by_role("button", name="Evaluate now").click()
        asked = "milepost.trial.trial_evaluation_requested.v1"
        until(lambda: asked in {event.type for event in stack.events(runtime.name)}, "the evaluation is asked for")
        page.get_by_role("tab", name="Instances").click()
        page.get_by_role("button", name="Where are they?").click()
        said = page.locator(".stacks summary")
        expect(said).to_contain_text("Rank 0: ", timeout=PATIENCE)
        said.click()
        expect(page.get_by_label("Threads of rank 0")).to_contain_text("MainThread")
        stack.client.runtimes.StopRuntime(runtime_api.StopRuntimeRequest(name=runtime.name))
        stack.wait_for_end(runtime.name)

        page = visit.open(f"/{runtime.name}")
        marker = page.locator(".timeline .change")
        expect(marker).to_have_count(1, timeout=PATIENCE)
        marker.hover(force=True)
        said = "rate 0.9 → 0.5, by "
        expect(page.locator(".step-monitor .tip")).to_contain_text(f"changed: {said}")
        visit.until("document.querySelector('[data-key=\"train/loss\"] .u-over')", "the chart is drawn")
        over = page.locator('[data-key="train/loss"] .u-over')
        over.scroll_into_view_if_needed()
        box = over.bounding_box()
        assert box is not None
        step = int(marker.get_attribute("data-step") or 0)
        assert step > 0
        chart = "document.querySelector('[data-key=\"train/loss\"] .chart-body').plot"
        place = box["x"] + float(page.evaluate(f"{chart}.valToPos({step}, 'x')"))
        page.mouse.move(place - 30, box["y"] + 40)
        page.mouse.move(place, box["y"] + 40)
        expect(page.locator(".tip-firing")).to_contain_text(said)
    finally:
        stack.client.delete_runtime(runtime.name, force=True, purge=True)


def beside(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Await something in a thread of its own: in this one is the browser's loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[Node]]]:
    """Services of their own with a tree of two hundred runs: others look at lists. Gives the page's address, and the runs."""
    folder = tmp_path_factory.mktemp("tree")

    async def grow(url: str) -> Tree:
        async with await connect(url, name="tests") as connection:
            await ensure_streams(connection)
            tree = Tree(connection)
            await tree.grow(RUNS)
            return tree

    async def stored(address: str, tree: Tree) -> None:
        parents = [f"runtimes/{tree.nodes[-1].runtime_id}/trials/1"]
        request = metric_api.QuerySeriesRequest(
            parents=parents, keys=["train/loss"], bucket_count=1, min_telemetry_sequence=tree.position
        )
        async with metrics_client(address) as client:
            await client.metrics.QuerySeries(request)

    with running_nats(folder / "nats") as nats:
        tree = beside(grow(nats.url))
        with running_services(folder, nats.url, ("runtime", "trials", "metrics", "rules", "gateway")) as services:
            beside(stored(services["metrics"].address, tree))
            yield f"http://{services['gateway'].address}", tree.nodes


@pytest.fixture
def visit_of_tree(grown: tuple[str, list[Node]], browser: Browser) -> Iterator[Visit]:
    with visiting(browser, grown[0]) as opened:
        yield opened
        assert opened.complaints == []


def test_a_tree_of_two_hundred_runs_is_drawn_and_walked_by_keyboard(
    visit_of_tree: Visit, grown: tuple[str, list[Node]]
) -> None:
    visit, (_, nodes) = visit_of_tree, grown
    page = visit.open(f"/runtimes/{nodes[-1].runtime_id}?tab=snapshots")
    tree = page.get_by_role("region", name="Branches")
    rows = tree.get_by_role("link")
    expect(rows).to_have_count(RUNS, timeout=PATIENCE)
    visit.until(
        f"[...document.querySelectorAll('.lineage-best')].filter((one) => one.textContent).length === {RUNS}",
        "each has its best value",
    )
    expect(tree.locator("[data-best='true']")).to_have_count(1)
    expect(tree).to_contain_text("smallest of each run")
    assert tree.locator("svg g[data-status='Failed']").count() == sum(node.failed for node in nodes)
    # By Tab one comes to the run itself; from there one walks.
    expect(rows.locator("xpath=self::*[@tabindex='0']")).to_have_attribute("aria-current", "page")
    at = page.locator(".lineage a:focus")
    rows.locator("xpath=self::*[@tabindex='0']").focus()
    page.keyboard.press("ArrowLeft")
    by_id = {node.runtime_id: node for node in nodes}
    parent = nodes[-1].trunk[-1].runtime_id
    expect(at).to_have_attribute("href", f"/runtimes/{parent}?tab=snapshots")
    walked = [parent]
    while by_id[walked[-1]].trunk:
        page.keyboard.press("ArrowLeft")
        walked.append(by_id[walked[-1]].trunk[-1].runtime_id)
        expect(at).to_have_attribute("href", f"/runtimes/{walked[-1]}?tab=snapshots")
    assert walked[-1] == nodes[0].runtime_id, "every way up ends at the root"
    seen = set()
    for _ in range(RUNS):
        seen.add(page.evaluate("document.activeElement.getAttribute('href')"))
        page.keyboard.press("ArrowDown")
    assert seen == {f"/runtimes/{node.runtime_id}?tab=snapshots" for node in nodes}, "every run is come by"
    assert visit.serious_findings(".lineage") == []
    page.keyboard.press("Home")
    expect(at).to_have_attribute("href", f"/runtimes/{nodes[0].runtime_id}?tab=snapshots")
    expect(at).to_be_in_viewport()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(visit.base + f"/runtimes/{nodes[-1].runtime_id}?tab=snapshots")
    expect(rows).to_have_count(RUNS, timeout=PATIENCE)
