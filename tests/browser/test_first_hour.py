"""A new user's first hour, with the README's own words: a wheel in an empty environment, no clone, an empty home."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.pages import PATIENCE_SECONDS, visiting
from tests.e2e.stack import until
from tests.support.programs.guides import block
from tests.support.programs.installed import Installed, UserStack, build_wheel, install

README = "README.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("user")
    return install(folder, build_wheel(folder))


@pytest.fixture(scope="module")
def running(installed: Installed) -> Iterator[UserStack]:
    with installed.up() as up:
        yield up


@pytest.fixture(autouse=True)
def seconds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what each part of the hour takes; shown with `-s`."""
    began = time.monotonic()
    yield
    print(f"{request.node.name}: {time.monotonic() - began:.1f} s")


def test_without_a_stack_a_command_says_so_and_what_to_do(installed: Installed) -> None:
    nowhere = {f"MILEPOST_{part}_ADDRESS": "127.0.0.1:9" for part in ("RUNTIME", "TRIALS", "METRICS", "GATEWAY")}
    done = installed.run("milepost", "runtime", "list", environment=nowhere)

    assert done.returncode == 5
    assert "is the stack running? Start it with `milepost up`" in done.stderr
    looked = installed.run("milepost", "doctor", "-o", "json", environment=nowhere)
    found = {finding["subject"]: finding["ok"] for finding in json.loads(looked.stdout)}
    assert (looked.returncode, found["page"], found["runtime"]) == (1, True, False)


def test_the_page_of_a_wheel_opens(running: UserStack, browser: Browser) -> None:
    with visiting(browser, running.endpoints.gateway) as visit:
        page = visit.open("/")
        expect(page.get_by_role("button", name="New runtime")).to_be_visible(timeout=PATIENCE_SECONDS * 1000)
        assert visit.complaints == []


def test_six_lines_of_a_script_are_a_run(installed: Installed, running: UserStack) -> None:
    program = block(README, "python", "milepost.init")
    assert len([line for line in program.splitlines() if line]) <= 6
    (installed.folder / "mine.py").write_text(program)

    done = installed.run("python", "mine.py")

    assert done.returncode == 0, done.stderr
    said = json.loads(installed.run("milepost", "runtime", "get", "mine", "-o", "json").stdout)
    assert said["status"] == "Completed"
    trial = json.loads(installed.run("milepost", "trial", "get", "mine", "-o", "json").stdout)
    assert (trial["progress"]["step"], trial["progress"]["total_steps"]) == (100, 100)


def test_a_run_of_the_readme_is_started_stopped_and_resumed(installed: Installed, running: UserStack) -> None:
    """Each command is as the README has it; stop and resume name the run, not its id."""
    program, configuration = block(README, "python", "def train"), block(README, "yaml", "entrypoint: train.py:train")
    assert len([line for line in program.splitlines() if line]) <= 14
    (installed.folder / "train.py").write_text(program)
    (installed.folder / "config.yaml").write_text(configuration)
    typed = [line.split("#")[0][2:].split() for line in block(README, "console", "milepost up").splitlines()]
    commands = {" ".join(words[:3]): words for words in typed}

    def milepost(*words: str) -> str:
        done = installed.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    started = milepost(*commands["milepost runtime start"])
    assert re.fullmatch(r"rt-[0-9a-v]{26}\n", started)

    def step() -> int:
        return int(json.loads(milepost("milepost", "trial", "get", "linear", "-o", "json"))["progress"].get("step", 0))

    until(lambda: step() > 100, "it trains")
    milepost(*commands["milepost runtime stop"], "--wait")
    stopped_at = step()
    milepost(*commands["milepost runtime resume"])
    until(lambda: step() > stopped_at, "it goes on")
    milepost(*commands["milepost runtime stop"], "--wait")
    assert "Graceful stop requested" in milepost(*commands["milepost runtime why"])


def test_a_search_over_the_same_program_answers_on_the_page(
    installed: Installed, running: UserStack, browser: Browser
) -> None:
    """The README's `train.py` as it is; the page opens with the trial that is best."""
    (installed.folder / "train.py").write_text(block(README, "python", "def train"))
    (installed.folder / "search.yaml").write_text(
        "name: rates\nentrypoint: train.py:train\nparameters: {steps: 40}\nresources: {cpus_per_worker: 0.5}\n"
        "search: {kind: grid, space: {learning_rate: [0.001, 0.03]}, max_concurrent_trials: 2}\n"
    )
    done = installed.run("milepost", "runtime", "start", "search.yaml", "--wait")
    assert done.returncode == 0, done.stderr
    listed = installed.run("milepost", "trial", "list", "rates").stdout
    assert listed.splitlines()[0].endswith("LEARNING_RATE")
    assert [row.split()[-1] for row in listed.splitlines()[1:]] == ["0.001", "0.03"]
    with visiting(browser, running.endpoints.gateway) as visit:
        page = visit.open("/")
        page.get_by_text("rates", exact=True).click()
        expect(page.locator(".search-answer")).to_contain_text("0.03", timeout=PATIENCE_SECONDS * 1000)


def test_a_mistake_in_the_configuration_is_named_with_all_others(installed: Installed, running: UserStack) -> None:
    (installed.folder / "wrong.yaml").write_text(
        "entrypoint: nowhere.py:train\nparameters: {learning_rate: .nan}\nnmae: x\n"
    )

    done = installed.run("milepost", "runtime", "start", "wrong.yaml")

    assert done.returncode == 2
    for field in ("nmae", "parameters.learning_rate", "entrypoint"):
        assert f"error: {field}" in done.stderr, done.stderr
