"""The list of snapshots: branches begun there, drawn behind their trunk and named where they came from; and pins."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import STEPS, remove
from tests.browser.pages import PATIENCE_SECONDS, Visit
from tests.e2e.stack import StackProcess

PATIENCE = PATIENCE_SECONDS * 1000


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
