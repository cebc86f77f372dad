"""Bad input: a clear error, the right code and exit status, and nothing changed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from tests.e2e.stack import FREE_PORTS, ROOT, StackProcess


def runtimes_and_requests(stack: StackProcess) -> tuple[int, list[int]]:
    """Count the runtimes, and say where the newest was asked for. Others may still be going on."""
    listed = stack.client.runtimes.ListRuntimes(runtime_api.ListRuntimesRequest(show_deleted=True))
    asked = runtime_api.EventFilter(types=["milepost.runtime.runtime_requested.v1"])
    newest = runtime_api.ListEventsRequest(parent="runtimes/-", filter=asked, page_size=1, newest_first=True)
    return listed.total_size, [event.sequence for event in stack.client.runtimes.ListEvents(newest).events]


@pytest.mark.parametrize(
    ("configuration", "named"),
    [
        ("entrypoint: [", "configuration"),
        ("entrypoint: milepost.recipes.language_model:train\nlearning_rte: 1\n", "learning_rte"),
        ("entrypoint: milepost.recipes.language_model:train\nlimits: {log_megabytes: many}\n", "limits.log_megabytes"),
        ("entrypoint: milepost.recipes.language_model:train\nparameters: {rate: .nan}\n", "parameters.rate"),
        ("entrypoint: milepost.recipes.no_such_recipe:train\n", "entrypoint"),
        ("entrypoint: no_such_file.py:train\n", "entrypoint"),
        ("name: nothing to run\n", "entrypoint"),
    ],
)
def test_a_bad_configuration_is_refused_by_field_and_starts_nothing(
    stack: StackProcess, tmp_path: Path, configuration: str, named: str
) -> None:
    before = runtimes_and_requests(stack)
    file = tmp_path / "config.yaml"
    file.write_text(configuration)

    done = stack.milepost("runtime", "start", str(file))

    assert done.returncode == Exit.USAGE, done.stderr
    assert named in done.stderr
    assert done.stdout == ""
    assert runtimes_and_requests(stack) == before


def test_all_violations_of_a_configuration_come_at_once(stack: StackProcess, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("name: ''\nentrypoint: 7\nunknown_key: 1\nretries: {max_retries: -1}\n")

    done = stack.milepost("runtime", "start", str(file))

    assert done.returncode == Exit.USAGE
    for field in ("entrypoint", "unknown_key", "retries.max_retries"):
        assert field in done.stderr


@pytest.mark.parametrize("command", ["get", "stop", "resume", "logs", "events", "snapshots", "wait"])
def test_an_unknown_runtime_is_not_found(stack: StackProcess, command: str) -> None:
    done = stack.milepost("runtime", command, "rt-00000000000000000000000000")

    assert done.returncode == Exit.NOT_FOUND, done.stderr
    assert done.stderr.startswith("error: ")


def test_what_an_unknown_runtime_has_is_not_found(stack: StackProcess) -> None:
    """Its curves, its lines and whether they are all there: not nothing, and no success."""
    name = "rt-00000000000000000000000000"
    for command in (("query", name), ("query", name, "train/loss"), ("export", name), ("completeness", name)):
        done = stack.milepost("metrics", *command)
        assert done.returncode == Exit.NOT_FOUND, (command, done.stdout, done.stderr)
        assert done.stdout == ""
    url = f"{stack.endpoints.gateway}/api/v1/runtimes/{name}"
    for path in ("trials/1/series", "completeness", "logs", "logs/facets", "trials/1/determinism"):
        assert httpx.get(f"{url}/{path}").status_code == 404, path


@pytest.mark.parametrize("name", ["*", ">", "..", "rt.1", "RT-UPPER", "a" * 70])
def test_a_malformed_id_is_invalid(stack: StackProcess, name: str) -> None:
    done = stack.milepost("runtime", "get", name)

    assert done.returncode == Exit.USAGE, done.stderr


def test_an_unreadable_file_and_an_unknown_option_are_wrong_usage(stack: StackProcess) -> None:
    assert stack.milepost("runtime", "start", "/no/such/file.yaml").returncode == Exit.USAGE
    assert stack.milepost("runtime", "list", "--no-such-option").returncode == Exit.USAGE


def test_errors_go_to_stderr_and_json_to_stdout(stack: StackProcess) -> None:
    done = stack.milepost("runtime", "list", "-o", "json")

    assert done.returncode == 0
    assert done.stderr == ""
    assert "runtimes" in json.loads(done.stdout)


def start_second(stack: StackProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "milepost", "up", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)


def test_a_data_directory_in_use_is_refused_and_its_holder_named(stack: StackProcess) -> None:
    done = start_second(stack, f"--data-dir={stack.data_dir}", *FREE_PORTS)

    assert done.returncode == Exit.STACK
    assert f"process {stack.endpoints.pid}" in done.stderr
    assert stack.milepost("runtime", "list").returncode == 0


def test_a_port_asked_for_and_taken_is_refused(stack: StackProcess, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start_second(stack, f"--data-dir={tmp_path / 'other'}", f"--runtime-listen=127.0.0.1:{port}")

    assert done.returncode == Exit.STACK
    assert str(port) in done.stderr
