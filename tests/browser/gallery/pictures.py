"""Takes the pictures of `docs/pictures/` from real runs on a real stack: `make pictures`.

A demo's language model is watched in the light, in the dark and on a phone, stopped and resumed; runs of `loop.py` fail
with NaN, wait in the queue and are compared. Nothing is drawn by hand.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtimes
from tests.browser.conftest import configuration, start
from tests.browser.pages import CHROMIUM, Visit, chromium, until, visiting
from tests.e2e.stack import StackProcess

PICTURES = Path(__file__).resolve().parents[3] / "docs" / "pictures"
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1440, "height": 900}
# A real model takes its time on a machine that does other things too.
PATIENCE_SECONDS = 600.0


def main() -> int:
    """Take all pictures. Returns 0, or 1 without a browser."""
    if CHROMIUM is None:
        print("pictures: there is no chromium on this machine", file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mp-pictures-") as folder, chromium() as browser:
        stack = StackProcess(Path(folder) / "data")
        try:
            stack.start()
            take_all(stack, browser, Path(folder))
        finally:
            stack.end()
    return 0


def take_all(stack: StackProcess, browser: Browser, folder: Path) -> None:
    """Begin with what takes long, take pictures of the rest meanwhile."""
    model = start_model(stack)
    stack.wait_for_step(model, 420)
    with looking(stack, browser) as visit:
        picture(visit, f"/{model}", "running")
        picture(visit, "/?new=1", "new-runtime")
    with looking(stack, browser, color_scheme="dark") as visit:
        picture(visit, f"/{model}", "running-dark")
    with looking(stack, browser, viewport=PHONE, device_scale_factor=2) as visit:
        picture(visit, f"/{model}", "phone")
    stop_and_resume(stack, browser, model)
    failed = start(stack, "nan hunt", steps=400, steps_per_epoch=200, step_seconds=0.01, nan_from=321, fail_at=340)
    other = start(stack, "baseline", steps=400, steps_per_epoch=200, step_seconds=0.012, fall=90)
    queued = stack.client.start_runtime(too_large()).name
    stack.wait_for_end(failed)
    stack.wait_for_end(other)
    with looking(stack, browser) as visit:
        picture(visit, f"/{failed}", "failed-nan")
        picture(visit, f"/{queued}", "queued")
        picture(visit, f"/{other}", "completed")
        visit.page.get_by_role("tab", name="Events").click()
        visit.page.set_viewport_size({**DESKTOP, "height": 720})
        visit.page.evaluate("document.querySelector('.tabs').scrollIntoView()")
        shoot(visit, "events")
        visit.page.set_viewport_size(DESKTOP)
        names = ",".join(f"{name.removeprefix('runtimes/')}/1" for name in (failed, other))
        picture(visit, f"/trials?compare={names}", "compare", full=True)
        picture(visit, "/", "runtimes")
        aborted = [e.sequence for e in stack.events(model) if e.type.split(".")[2] == "runtime_aborted"][-1]
        picture(visit, f"/{model}/audit?at={aborted}", "audit")
        verify(visit, f"/{model}/audit?at={aborted}")
    with looking(stack, browser, color_scheme="dark") as visit:
        picture(visit, "/", "runtimes-dark")
    take_search(stack, browser)
    take_imported(stack, browser, folder, other)


def take_search(stack: StackProcess, browser: Browser) -> None:
    """A search whose later trials wait for the earlier ones."""
    given = json.loads(configuration("learning rates", steps=200, steps_per_epoch=100, step_seconds=0.06))
    given["search"] = {"kind": "grid", "space": {"fall": [20, 40, 80, 160, 320]}, "max_concurrent_trials": 1}
    name = stack.client.start_runtime(json.dumps(given)).name
    until(lambda: stack.trial(name, 2).progress.step > 110 or None, "the second trial runs", PATIENCE_SECONDS)
    with looking(stack, browser) as visit:
        picture(visit, f"/{name}?trial=2&tab=trials&columns=loss,p:fall", "waiting")
        visit.page.evaluate("document.querySelector('.tabs').scrollIntoView()")
        shoot(visit, "trials")


def start_model(stack: StackProcess) -> str:
    """The run of `milepost demo`."""
    recipe = Path(__file__).resolve().parents[3] / "milepost" / "recipes" / "language_model.yaml"
    return stack.client.start_runtime(recipe.read_text()).name


def too_large() -> str:
    """A run that has to wait: others hold what it asks for."""
    return json.dumps(
        {
            "name": "wide search",
            "entrypoint": "milepost.recipes.language_model:train",
            "search": {"kind": "grid", "space": {"learning_rate": [0.001, 0.003, 0.01]}},
            "resources": {"workers": 0, "cpus_per_worker": 2},
            "priority": -10,
        }
    )


def stop_and_resume(stack: StackProcess, browser: Browser, model: str) -> None:
    """The dialog of a stop, then the run after its resume."""
    # What is behind a dialog is blurred, which makes large files.
    with looking(stack, browser, viewport={"width": 1200, "height": 640}) as visit:
        visit.open(f"/{model}")
        visit.page.click("button:has-text('Stop')")
        visit.until("document.querySelector('[data-testid=loss]')?.innerText.includes('since')", "the loss is known")
        shoot(visit, "stop")
        visit.page.keyboard.press("Escape")
    request = runtimes.StopRuntimeRequest(name=model, mode=common.STOP_MODE_ABRUPT, reason="to show a resume")
    stack.client.runtimes.StopRuntime(request)
    stack.wait_for_end(model)
    step = stack.trial(model).progress.step
    stack.client.runtimes.ResumeRuntime(runtimes.ResumeRuntimeRequest(name=model))
    until(lambda: stack.trial(model).progress.step > step + 40 or None, "it goes on", PATIENCE_SECONDS)
    with looking(stack, browser) as visit:
        picture(visit, f"/{model}", "resumed")


def verify(visit: Visit, path: str) -> None:
    """The audit page with the verdict of a verification."""
    visit.open(path)
    visit.page.get_by_role("button", name="Verify").click()
    visit.until("document.querySelector('.verdict')", "the verdict is there", PATIENCE_SECONDS)
    shoot(visit, "audit-verified")


def take_imported(stack: StackProcess, browser: Browser, folder: Path, name: str) -> None:
    """The same run as another installation shows it, from its bundle."""
    bundle = folder / "run.zip"
    assert stack.milepost("audit", "export", name, "--file", str(bundle)).returncode == 0
    elsewhere = StackProcess(folder / "elsewhere")
    try:
        elsewhere.start()
        result = elsewhere.milepost("audit", "import", str(bundle))
        assert result.returncode == 0, result.stderr
        with looking(elsewhere, browser) as visit:
            picture(visit, f"/{name}", "imported")
    finally:
        elsewhere.end()


@contextmanager
def looking(stack: StackProcess, browser: Browser, **options: object) -> Iterator[Visit]:
    """A page at the size of the pictures."""
    with visiting(browser, stack.endpoints.gateway, **{"viewport": DESKTOP, **options}) as visit:
        yield visit


def picture(visit: Visit, path: str, name: str, full: bool = False) -> None:
    """Open a page, wait until everything on it is drawn, take its picture."""
    visit.open(path)
    visit.until("document.querySelector('main')?.innerText.length > 60", f"{path} is shown")
    visit.until(
        "[...document.querySelectorAll('.chart-foot')].every((foot) => !/Loading|does not answer/.test(foot.innerText))",
        f"the charts of {path} are drawn",
    )
    visit.until(
        "[...document.querySelectorAll('svg.spark')].every((one) => one.querySelector('path'))",
        f"the sparklines of {path} are drawn",
    )
    visit.page.wait_for_timeout(1500)
    shoot(visit, name, full)


def shoot(visit: Visit, name: str, full: bool = False) -> None:
    """Save what is seen, or with `full` the whole page: charts are drawn when they come into view."""
    if full:
        height = visit.page.evaluate("document.documentElement.scrollHeight")
        for top in [*range(0, height, 400), 0]:
            visit.page.evaluate(f"window.scrollTo(0, {top})")
            visit.page.wait_for_timeout(150)
    visit.page.screenshot(path=PICTURES / f"{name}.png", full_page=full)
    print(f"docs/pictures/{name}.png", flush=True)


if __name__ == "__main__":
    sys.exit(main())
