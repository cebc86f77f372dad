"""One stack and one browser for all tests of the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from milepost.api.config.v1 import rule_pb2 as config
from milepost.api.rule.v1 import rule_service_pb2 as rule_api
from tests.browser.pages import AXE, CHROMIUM, Visit, chromium, until, visiting
from tests.e2e.stack import StackProcess

FOLDER = Path(__file__).parent
FIXED = ("train/learning_rate", "train/grad_norm", "train/loss")
STEPS = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them, with the reason, where there is no browser."""
    for item in items:
        if FOLDER not in item.path.parents:
            continue
        item.add_marker(pytest.mark.browser)
        item.add_marker(pytest.mark.timeout(240))
        if CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="there is no chromium on this machine"))


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """A running stack for the tests of the page."""
    running = StackProcess(tmp_path_factory.mktemp("page") / "data")
    try:
        yield running.start()
    finally:
        running.end()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    assert AXE.is_file(), "run `make vendor-tests` first"
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def walk(stack: StackProcess) -> str:
    """A run that is under way when the first tests look at it."""
    name = start(stack, "walk", steps=STEPS)
    stack.wait_for_step(name, 1)
    return name


@pytest.fixture(scope="package")
def walked(stack: StackProcess) -> str:
    """Another run like that, which has completed, with everything stored.

    It is not the same: tests that look at this one may come first, and would wait until that one stands still.
    """
    name = start(stack, "walk", steps=STEPS)
    stack.wait_for_end(name)
    until(lambda: stack.completeness(name).stored_points >= 3 * STEPS, "all points are stored")
    return name


@pytest.fixture(scope="package")
def search(stack: StackProcess) -> str:
    """A search of four short trials that has ended."""
    given = json.loads(configuration("search of four", steps=20, steps_per_epoch=20, step_seconds=0.001))
    space = {"fall": [10, 20], "eval_every": [5, 10]}
    given["search"] = {"kind": "grid", "max_concurrent_trials": 4, "space": space}
    given["resources"] = {"workers": 0, "cpus_per_worker": 0.25}
    name = stack.client.start_runtime(json.dumps(given)).name
    stack.wait_for_end(name)
    return name


@pytest.fixture(scope="package")
def fired(stack: StackProcess) -> str:
    """A run that has completed, and in which a rule fired at step 20; it is open until the run's end."""
    threshold = config.Threshold(series="train/loss", comparison=config.COMPARISON_BELOW, value=3.2)
    rule = config.Rule(
        display_name="Fell fast",
        selector='name="fired"',
        severity=config.SEVERITY_CRITICAL,
        detector=config.Detector(threshold=threshold),
    )
    stack.client.rules.CreateRule(rule_api.CreateRuleRequest(rule_id="fell-fast", rule=rule))
    name = start(stack, "fired", steps=60, steps_per_epoch=20, eval_every=20, step_seconds=0.005)
    stack.wait_for_end(name)
    asked = rule_api.ListFiringsRequest(parent="rules/fell-fast")
    until(lambda: [one for one in stack.client.rules.ListFirings(asked).firings if one.HasField("cleared")], "it fired")
    return name


@pytest.fixture
def visit(stack: StackProcess, browser: Browser) -> Iterator[Visit]:
    """A page of the stack. The test fails if the browser complains about anything."""
    with visiting(browser, stack.endpoints.gateway) as opened:
        yield opened
        assert opened.complaints == []


def configuration(name: str, **parameters: object) -> str:
    """A run of `loop.py`; see there for the parameters."""
    usual = {"steps": 600, "steps_per_epoch": 200, "eval_every": 50, "step_seconds": 0.02}
    return json.dumps(
        {
            "name": name,
            "entrypoint": "loop.py:train",
            "working_directory": str(FOLDER),
            "parameters": {**usual, **parameters},
            "snapshots": {"every_steps": 100, "keep_last": 5},
            "retries": {"max_retries": 0},
        }
    )


def start(stack: StackProcess, name: str, **parameters: object) -> str:
    """Start a run of `loop.py`. Returns its resource name."""
    return stack.client.start_runtime(configuration(name, **parameters)).name


def remove(stack: StackProcess, name: str) -> None:
    """Delete a run that one test alone looks at: the lists of others begin with the newest."""
    stack.client.delete_runtime(name, purge=True)
