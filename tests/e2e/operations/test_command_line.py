"""The command line for people: runs by name or the beginning of an id, lists that say how far each is."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.runtime.v1.runtime_service_pb2 import RUNTIME_PHASE_DELETED as DELETED
from milepost.cli.exits import Exit
from tests.e2e.runs import PACED_STEPS, paced
from tests.e2e.stack import StackProcess, until

NAMES = ("the only one", "one of two", "one of two")


@pytest.fixture(scope="module")
def runs(stack: StackProcess) -> list[str]:
    """Ids of three runs that have ended; the last two have one name."""
    started = [stack.client.start_runtime(paced(name, 0.001)).name for name in NAMES]
    for name in started:
        stack.wait_for_end(name)
    return [name.removeprefix("runtimes/") for name in started]


def test_a_run_is_found_by_its_name_and_by_the_beginning_of_its_id(stack: StackProcess, runs: list[str]) -> None:
    for typed in (NAMES[0], runs[0], f"runtimes/{runs[0]}", runs[0][:-1]):
        found = stack.milepost("runtime", "get", typed, "-o", "json")
        assert found.returncode == Exit.OK, found.stderr
        assert json.loads(found.stdout)["runtime_id"] == runs[0]
    trial = stack.milepost("trial", "get", f"{NAMES[0]}/1", "-o", "json")
    assert json.loads(trial.stdout)["name"] == f"runtimes/{runs[0]}/trials/1"


def test_a_name_of_several_runs_is_refused_with_a_list_of_them(stack: StackProcess, runs: list[str]) -> None:
    refused = stack.milepost("runtime", "get", NAMES[1])

    assert refused.returncode == Exit.USAGE
    assert "means 2 runtimes" in refused.stderr
    assert runs[1] in refused.stderr and runs[2] in refused.stderr and runs[0] not in refused.stderr


def test_a_name_that_nobody_has_is_not_found(stack: StackProcess) -> None:
    assert stack.milepost("runtime", "get", "nobody").returncode == Exit.NOT_FOUND
    assert stack.milepost("trial", "get", "nobody/2").returncode == Exit.NOT_FOUND


def test_the_list_says_how_far_each_run_is(stack: StackProcess, runs: list[str]) -> None:
    listed = stack.milepost("runtime", "list", "--filter", f'name="{NAMES[0]}"').stdout.splitlines()

    assert listed[0].split() == ["ID", "NAME", "STATUS", "STEP", "LOSS", "LEFT", "TRIALS", "CREATED", "BY"]
    assert f"{NAMES[0]}  Completed  {PACED_STEPS} / {PACED_STEPS}" in listed[1]


def test_without_a_terminal_nothing_is_deleted_unless_it_was_said(stack: StackProcess, runs: list[str]) -> None:
    refused = stack.milepost("runtime", "delete", runs[1], input="y\n")

    assert refused.returncode == Exit.USAGE and "-y" in refused.stderr
    hidden = stack.milepost("runtime", "delete", runs[1], "-y")
    assert hidden.returncode == Exit.OK and f"milepost runtime undelete {runs[1]}" in hidden.stderr, hidden.stderr
    gone = stack.milepost("runtime", "get", runs[1])
    assert gone.returncode == Exit.NOT_FOUND and "it can be undeleted until" in gone.stderr
    assert "(deleted, until " in stack.milepost("runtime", "list", "--deleted").stdout
    assert stack.milepost("runtime", "undelete", runs[1]).returncode == Exit.OK
    assert stack.milepost("runtime", "get", runs[1]).returncode == Exit.OK
    assert stack.milepost("runtime", "delete", runs[1], "-y").returncode == Exit.OK
    assert stack.milepost("runtime", "delete", runs[1], "-y", "--purge").returncode == Exit.OK
    refused = stack.milepost("runtime", "undelete", runs[1])
    assert refused.returncode == Exit.PRECONDITION and "purged" in refused.stderr
    until(lambda: stack.client.get_runtime(f"runtimes/{runs[1]}", show_deleted=True).phase == DELETED, "it is purged")


def test_a_printed_configuration_can_be_given_back(stack: StackProcess, tmp_path: Path) -> None:
    """YAML, JSON, what the answer of HTTP has and what a run has: all of them are the configuration that was given."""
    given = {**json.loads(paced("round", 1e-05)), "labels": {"note": "1e-3"}}
    printed = json.dumps(given)
    file = tmp_path / "given.json"
    for form in ("table", "json", "table"):
        file.write_text(printed)
        done = stack.milepost("runtime", "start", str(file), "--validate-only", "-o", form)
        assert done.returncode == Exit.OK, done.stderr
        printed = done.stdout
    name = stack.client.start_runtime(printed).name
    run = stack.client.get_runtime(name)
    url = f"{stack.endpoints.gateway}/api/v1/runtimes"
    shown = httpx.get(f"{url}/{run.runtime_id}").json()["runtime"]
    assert {name: shown["configuration"][name] for name in ("parameters", "labels")} == {
        name: given[name] for name in ("parameters", "labels")
    }
    for body in ({"configuration": shown["configuration"]}, {"configuration_text": shown["resolved_text"]}):
        again = httpx.post(url, json={**body, "validate_only": True}, headers={"x-milepost-csrf": "1"})
        assert again.json()["runtime"]["configuration_digest"] == run.configuration_digest
    typed = runtime_api.StartRuntimeRequest(configuration=run.configuration, validate_only=True)
    assert stack.client.runtimes.StartRuntime(typed).runtime.configuration == run.configuration


@pytest.mark.parametrize("flags", [("--validate-only",), ()])
def test_a_grid_that_is_larger_than_its_limit_says_what_is_left_out(
    stack: StackProcess, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """Before it is started and when it is; nobody reads a grid of 27 off ten runs."""
    file = tmp_path / "grid.json"
    space = {"step_seconds": [number / 1e6 for number in range(1, 28)]}
    file.write_text(json.dumps({**json.loads(paced("grid", 1e-05)), "search": {"kind": "grid", "space": space}}))
    done = stack.milepost("runtime", "start", str(file), *flags)
    assert done.returncode == Exit.OK, done.stderr
    assert "runs 10 of 27 combinations: search.max_trials leaves out 17" in done.stderr
    if not flags:
        stack.client.stop_runtime(f"runtimes/{done.stdout.strip()}", mode=common.STOP_MODE_ABRUPT)
