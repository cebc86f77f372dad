"""A real browser on the real page: starting it, and what the tests ask of what it shows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# Other things run on the machine.
PATIENCE_SECONDS = 60.0
AXE = Path(__file__).parent / "vendor" / "axe.js"

Answer = TypeVar("Answer")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's chromium, headless."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def until(ask: Callable[[], Answer | None], what: str, seconds: float = PATIENCE_SECONDS) -> Answer:
    """Ask again and again until the answer is neither None nor False; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


@dataclass
class Visit:
    """One open page, and everything the browser complained about."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.base}{path}")
        return self.page

    def until(self, script: str, what: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait until a script gives something that is true; return it."""
        return until(lambda: self.page.evaluate(script) or None, what, seconds)

    def chart(self, key: str) -> dict[str, list[Any]]:
        """The columns that a chart of one trial draws: x, line."""
        columns = self.page.evaluate(
            """(key) => {
              const chart = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key)
              const plot = chart?.querySelector(".chart-body").plot
              return plot && plot.data.length > 2 && { x: Array.from(plot.data[0]), line: Array.from(plot.data.at(-2)) }
            }""",
            key,
        )
        return columns or {"x": [], "line": []}

    def serious_findings(self, within: str = "html") -> list[str]:
        """What axe-core finds within an element that is serious or critical, once it has its colours."""
        self.page.evaluate(AXE.read_text())
        # Between two colours of a transition there is any contrast.
        self.until(
            """document.getAnimations().every(
              (one) => one.playState !== 'running' || one.effect.getComputedTiming().endTime === Infinity
            )""",
            "nothing is on its way",
        )
        found = self.page.evaluate("(selector) => axe.run(selector, { resultTypes: ['violations'] })", within)
        return [
            f"{violation['id']}: {violation['help']} at {[node['target'] for node in violation['nodes'][:3]]}"
            for violation in found["violations"]
            if violation["impact"] in ("serious", "critical")
        ]


def weigh(page: Page, address: str) -> tuple[float, float]:
    """Bytes that cross the wire until the charts of a run are drawn, the data left out: bodies, and their headers."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    headers: dict[str, float] = {}
    sizes: dict[str, float] = {}

    def on_response(event: dict[str, Any]) -> None:
        if "/api/" not in event["response"]["url"]:
            headers[event["requestId"]] = event["response"]["encodedDataLength"]

    def on_finished(event: dict[str, Any]) -> None:
        if event["requestId"] in headers:
            sizes[event["requestId"]] = event["encodedDataLength"]

    session.on("Network.responseReceived", on_response)
    session.on("Network.loadingFinished", on_finished)
    page.goto(address)
    page.wait_for_selector(".chart-body canvas")
    page.wait_for_timeout(1000)
    heads = sum(headers[one] for one in sizes)
    return sum(sizes.values()) - heads, heads


@contextmanager
def visiting(browser: Browser, base: str, **context_options: Any) -> Iterator[Visit]:
    """Open an empty page in a context of its own."""
    options = {"viewport": {"width": 1360, "height": 900}, "color_scheme": "light", **context_options}
    context: BrowserContext = browser.new_context(**options)
    visit = Visit(context.new_page(), base)

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            visit.complaints.append(message.text)

    visit.page.on("console", on_console)
    visit.page.on("pageerror", lambda error: visit.complaints.append(f"{error}\n{error.stack}"))
    try:
        yield visit
    finally:
        context.close()
