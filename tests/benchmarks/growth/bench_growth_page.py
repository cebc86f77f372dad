"""Growth 16: the page of 120, 1,200 and 12,000 runtimes is opened: what it loads, and how long until its rows are there.

The answers come from `tests.browser.imagined` behind the real gateway.
"""

from __future__ import annotations

import statistics
import sys

from tests.benchmarks.parts.growth import report_growth
from tests.browser.imagined import served
from tests.browser.pages import CHROMIUM, chromium, visiting

SIZES = (120, 1_200, 12_000)
TURNS = 3
# How long after its rows the page may still load something.
AFTER_MS = 4_000
ROW = ".row:not(.loading) .mini-bar"


def opened(base: str) -> tuple[float, float]:
    """Return the bytes of the data that the page loads, its own files left out, and the seconds until its rows are there."""
    with chromium() as browser, visiting(browser, base) as visit:
        session = visit.page.context.new_cdp_session(visit.page)
        session.send("Network.enable")
        own: set[str] = set()
        loaded = 0

        def responded(event: dict[str, object]) -> None:
            if "/api/" in str(event["request"]["url"]):  # type: ignore[index]
                own.add(str(event["requestId"]))

        def received(event: dict[str, object]) -> None:
            nonlocal loaded
            if str(event["requestId"]) in own:
                loaded += int(str(event["dataLength"]))

        session.on("Network.requestWillBeSent", responded)
        session.on("Network.dataReceived", received)
        visit.page.goto(f"{base}/")
        visit.page.wait_for_selector(ROW)
        seconds = float(visit.page.evaluate("performance.now()")) / 1_000
        visit.page.wait_for_timeout(AFTER_MS)
        return float(loaded), seconds


def main() -> int:
    """Print the rows. Returns 0, or 1 without a browser."""
    if CHROMIUM is None:
        print("bench_growth_page: there is no chromium on this machine", file=sys.stderr)
        return 1
    loaded, seconds = {}, {}
    for size in SIZES:
        with served(f"--runtimes={size}", "--running=0", "--log-lines=10") as base:
            turns = [opened(base) for _ in range(TURNS)]
        loaded[size] = statistics.median(turn[0] for turn in turns)
        seconds[size] = statistics.median(turn[1] for turn in turns)
    report_growth("growth.16.data of the page of runtimes", loaded, "bytes", "<= 300,000, flat", "31 MB")
    report_growth("growth.16.page of runtimes until its rows", seconds, "s", "<= 0.5, flat", "7.1 s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
