"""Figure 16: the page in a real browser: its weight, its list of 1,000 runtimes, its charts and its log.

The answers come from `tests.browser.imagined` behind the real gateway: 1,000 runtimes of which 100 run, a chart of
up to 10,000,000 steps, a log of 1,000,000 lines.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from playwright.sync_api import CDPSession, Page

from tests.benchmarks.parts.figures import report
from tests.browser.imagined import imagine, served
from tests.browser.pages import CHROMIUM, chromium, until, visiting, weigh

RUNS = 5
WATCH_SECONDS = 10.0
CANVAS = "/static/elements/canvas.js"
# Runs of `imagine`, by their place: one with a long log and one of ten million steps.
LOGGED, LONG = 0, 8
LOG_LINES = 1_000_000


def main() -> int:
    """Print all figures. Returns 0, or 1 without a browser."""
    if CHROMIUM is None:
        print("bench_page: there is no chromium on this machine", file=sys.stderr)
        return 1
    names = [run.identity for run in imagine(0, 0, 0).runs.values()]
    logged, long = (f"/runtimes/{names[place]}" for place in (LOGGED, LONG))
    with served("--runtimes=1000", "--running=100", f"--log-lines={LOG_LINES}") as base, chromium() as browser:
        with visiting(browser, base) as visit:
            measure_weight(visit.page, f"{base}{logged}")
        with visiting(browser, base) as visit:
            measure_list(visit.page, base)
        with visiting(browser, base) as visit:
            measure_charts(visit.page, f"{base}{long}")
        with visiting(browser, base) as visit:
            measure_log(visit.page, f"{base}{logged}")
    return 0


def measure_weight(page: Page, address: str) -> None:
    """What the page of a run weighs; and its first paint."""
    bodies, heads = weigh(page, address)
    report("16.page weight, runtime page, compressed", bodies / 1000, "kB", "< 100")
    report("16.page weight, headers of its answers", heads / 1000, "kB", "")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    report("16.first contentful paint", paint, "ms", "< 1000")


def measure_list(page: Page, base: str) -> None:
    """From the answer's arrival to the rows, and what a second of 100 running runtimes costs."""
    listed = []
    for _ in range(RUNS):
        page.goto(f"{base}/")
        page.wait_for_selector(".row:not(.loading) .mini-bar")
        page.wait_for_timeout(500)
        listed.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    report("16.list of 1,000 runtimes, first contentful paint", listed, "ms", "< 1000")
    session = metrics_of(page)
    report("16.list of 1,000 runtimes, time to rows", [rows_after(page) for _ in range(RUNS)], "ms", "<= 200")
    report("16.list, 100 running: main thread", busy(session, page), "ms/s", "")


def rows_after(page: Page) -> float:
    """Milliseconds from setting a filter that all pass to all rows in sight being drawn again."""
    return float(
        page.evaluate(
            """async () => {
              const word = () => document.querySelector('.row .mini-text')
              const ask = (text) => {
                const input = document.querySelector('input[type=search]')
                input.value = text
                input.dispatchEvent(new Event('input', { bubbles: true }))
              }
              ask('nothing has this name')
              while (word()) await new Promise(requestAnimationFrame)
              const begun = performance.now()
              ask('')
              while (!word()) await new Promise(requestAnimationFrame)
              return performance.now() - begun - 180  // the pause after typing
            }"""
        )
    )


def measure_charts(page: Page, address: str) -> None:
    """An update of a chart, and a zoom into a run of up to ten million steps until its raw points are drawn."""
    page.goto(address)
    page.wait_for_selector(".chart-body canvas")
    session = metrics_of(page)
    page.evaluate(f"import('{CANVAS}').then(({{ timings }}) => {{ timings.length = 0 }})")
    per_second = busy(session, page)
    timings = page.evaluate(f"import('{CANVAS}').then(({{ timings }}) => Array.from(timings))")
    report("16.update of a chart, p95", percentile(timings, 95), "ms", "<= 8")
    report("16.update of a chart, worst", max(timings), "ms", "")
    report("16.runtime page, live: main thread", per_second, "ms/s", "")
    report("16.runtime page, live: chart updates", len(timings) / WATCH_SECONDS, "1/s", "")
    begun = time.monotonic()
    page.goto(f"{address}?from=100000&to=100800")
    foot = page.locator('[data-key="train/loss"] .chart-foot')
    until(lambda: "raw points" in foot.inner_text() or None, "the zoom ends in raw points")
    report("16.zoom to raw points, page loaded anew", (time.monotonic() - begun) * 1000, "ms", "")


def measure_log(page: Page, address: str) -> None:
    """Scroll through a million lines: how long a frame takes."""
    page.goto(f"{address}?tab=logs")
    page.wait_for_selector(".log-line .log-text")
    frames = page.evaluate(
        """async () => {
          const frame = document.querySelector('.log-frame')
          const times = []
          let last = performance.now()
          for (let i = 1; i <= 200; i++) {
            frame.scrollTop = (frame.scrollHeight * i) / 200
            await new Promise(requestAnimationFrame)
            times.push(performance.now() - last)
            last = performance.now()
          }
          return times
        }"""
    )
    report("16.log of 1M lines, frame while scrolling, median", percentile(frames, 50), "ms", "")
    report("16.log of 1M lines, frame while scrolling, p95", percentile(frames, 95), "ms", "")


def percentile(values: list[float], percent: int) -> float:
    """The value that `percent` of the values are not above."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def metrics_of(page: Page) -> CDPSession:
    """A session that can read what the main thread did."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    return session


def busy(session: CDPSession, page: Page) -> float:
    """Milliseconds of main thread in a second, over some seconds of looking."""

    def task_seconds() -> float:
        answer: dict[str, Any] = session.send("Performance.getMetrics")
        return float(next(one["value"] for one in answer["metrics"] if one["name"] == "TaskDuration"))

    before = task_seconds()
    page.wait_for_timeout(WATCH_SECONDS * 1000)
    return (task_seconds() - before) * 1000 / WATCH_SECONDS


if __name__ == "__main__":
    sys.exit(main())
