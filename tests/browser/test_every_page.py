"""What holds of every page: nothing serious for axe-core in either colour scheme, a phone needs no sideways scrolling."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.imagined import imagine, served
from tests.browser.pages import Visit, visiting, weigh
from tests.e2e.stack import StackProcess

PAGES = (
    "/",
    "/?filter=name%3Dnobody",
    "/?new=1",
    "/trials",
    "/rules?rule=fell-fast",
    "/rules?new=train/loss",
    "/trials?compare={search}/1,{search}/2,{search}/3",
    "/{run}",
    "/{fired}?tab=events",
    "/{run}?tab=snapshots",
    "/{run}?tab=configuration",
    "/{run}?tab=instances",
    "/runtimes/{search}?tab=trials&columns=step,loss,best,reason",
    "/{run}/audit",
    "/runtimes/rt-00000000000000000000000000",
    "/nothing/here",
)


def shown(visit: Visit, path: str) -> Page:
    """Open a page and wait until it says something and has no more to load."""
    page = visit.open(path)
    visit.until("document.querySelector('main')?.innerText.length > 20", f"{path} is shown")
    visit.until("!document.querySelector('.page-loading, [aria-busy=true]')", f"{path} is loaded")
    return page


@pytest.fixture(scope="module")
def addresses(walked: str, search: str, fired: str) -> list[str]:
    """Where the pages are, of runs that have ended."""
    return [path.format(run=walked, fired=fired, search=search.removeprefix("runtimes/")) for path in PAGES]


def complaints(visit: Visit) -> list[str]:
    """What the browser complained about, but for its line about an address that does not exist."""
    return [text for text in visit.complaints if "404" not in text]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(stack: StackProcess, browser: Browser, addresses: list[str], scheme: str) -> None:
    """Contrast, names, roles: on every page, in both colour schemes; nothing on the console."""
    with visiting(browser, stack.endpoints.gateway, color_scheme=scheme) as visit:
        for path in addresses:
            shown(visit, path)
            assert visit.serious_findings() == [], path
        assert complaints(visit) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_what_opens(
    stack: StackProcess, browser: Browser, walked: str, search: str, scheme: str
) -> None:
    """Dialogs, menus, tooltips, the table of a chart, an opened event, a comparison."""
    with visiting(browser, stack.endpoints.gateway, color_scheme=scheme) as visit:
        page = shown(visit, f"/{walked}?tab=events")
        page.locator(".event-row").first.click()
        chart = page.locator('[data-key="train/loss"]')
        chart.locator("button[aria-haspopup]").click()
        assert visit.serious_findings('[data-key="train/loss"]') == [], "menu"
        assert visit.serious_findings("#tab-panel") == [], "event"
        page.get_by_role("menuitem", name="As table").click()
        page.locator(".step-monitor").focus()
        page.keyboard.press("Home")
        assert visit.serious_findings('[data-key="train/loss"]') == [], "table"
        assert visit.serious_findings(".step-monitor") == [], "tooltip"
        for button in ("Continue", "Clone", "Delete"):
            page.get_by_role("button", name=button, exact=True).click()
            page.locator("dialog").wait_for()
            assert visit.serious_findings("dialog") == [], button
            page.keyboard.press("Escape")
            page.locator("dialog").wait_for(state="detached")
        page.keyboard.press("?")
        assert visit.serious_findings("dialog") == [], "help"
        page.keyboard.press("Escape")
        page = shown(visit, f"/{walked}?tab=configuration")
        page.get_by_label("Compare with").select_option(search.removeprefix("runtimes/"))
        page.locator(".difference").wait_for()
        assert visit.serious_findings("#tab-panel") == [], "comparison"
        assert visit.complaints == []


def test_a_phone_needs_no_sideways_scrolling(
    stack: StackProcess, browser: Browser, walked: str, addresses: list[str]
) -> None:
    """360 px are enough for every page, with what opens on it."""
    with visiting(browser, stack.endpoints.gateway, viewport={"width": 360, "height": 740}) as visit:
        for path in addresses:
            page = shown(visit, path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        page = shown(visit, f"/{walked}")
        page.locator('[data-key="train/loss"]').scroll_into_view_if_needed()
        box = page.locator('[data-key="train/loss"] .u-over').bounding_box()
        assert box is not None
        for share in (0.05, 0.5, 0.95):
            page.mouse.move(box["x"] + box["width"] * share, box["y"] + 60)
            page.locator(".chart-tip").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, f"a tooltip at {share}"
        page.get_by_role("button", name="Clone").click()
        page.locator("dialog").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, "a dialog"
        assert complaints(visit) == []


def test_the_page_of_a_run_weighs_less_than_100_kilobytes(browser: Browser) -> None:
    """TARGET 16, as it crosses the wire. Runs that are made up have nothing to load late."""
    run = next(iter(imagine(0, 0, 0).runs))
    with served() as base, visiting(browser, base) as visit:
        bodies, _ = weigh(visit.page, f"{base}/runtimes/{run}")
        assert 0 < bodies < 100_000
