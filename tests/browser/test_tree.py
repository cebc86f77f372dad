"""A large tree of branches in the real browser: drawn, walked by keyboard, with the best value of each, and smooth."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, expect

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.streams import ensure_streams
from tests.browser.pages import PATIENCE_SECONDS, Visit, visiting
from tests.support.servers.metrics_service import metrics_client
from tests.support.servers.processes import running_services
from tests.support.servers.servers import running_nats
from tests.support.trainers.grown_tree import Node, Tree

PATIENCE = PATIENCE_SECONDS * 1000
RUNS = 200
Answer = TypeVar("Answer")


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
        with running_services(folder, nats.url, ("runtime", "trials", "metrics", "gateway")) as services:
            beside(stored(services["metrics"].address, tree))
            yield f"http://{services['gateway'].address}", tree.nodes


@pytest.fixture
def visit(grown: tuple[str, list[Node]], browser: Browser) -> Iterator[Visit]:
    with visiting(browser, grown[0]) as opened:
        yield opened
        assert opened.complaints == []


def test_a_tree_of_two_hundred_runs_is_drawn_and_walked_by_keyboard(
    visit: Visit, grown: tuple[str, list[Node]]
) -> None:
    _, nodes = grown
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
