"""The command line: configurations are sent as given, names are completed, every error has an exit status."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import yaml

from milepost import errors
from milepost.cli import exits
from milepost.cli.connection import parent_name, runtime_name, trial_name
from milepost.cli.output import duration
from milepost.cli.runtimes import read_configuration
from milepost.cli.supervisor import readable


def write(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text)
    return str(path)


def test_the_folder_of_the_file_is_added_and_the_rest_is_sent_as_given(tmp_path: Path) -> None:
    text = "# mine\nentrypoint: train.py:train  # here\nparameters: {epochs: 3}"

    sent = read_configuration(write(tmp_path, text))

    assert sent.startswith(text)
    assert yaml.safe_load(sent) == {
        "entrypoint": "train.py:train",
        "parameters": {"epochs": 3},
        "working_directory": str(tmp_path),
    }


def test_json_gets_the_folder_too(tmp_path: Path) -> None:
    sent = read_configuration(write(tmp_path, '{"entrypoint": "train.py:train"}'))

    assert yaml.safe_load(sent)["working_directory"] == str(tmp_path)


def test_a_relative_working_directory_is_meant_from_the_file(tmp_path: Path) -> None:
    sent = read_configuration(write(tmp_path, "entrypoint: train.py:train\nworking_directory: code"))

    assert json.loads(sent)["working_directory"] == str(tmp_path / "code")


@pytest.mark.parametrize(
    "text",
    [
        "entrypoint: milepost.recipes.language_model:train\n",
        "entrypoint: train.py:train\ncode: {uri: 'file:/code.tar', digest: 'sha256:0'}\n",
        "entrypoint: train.py:train\nworking_directory: /somewhere\n",
        "not: [closed",
        "just a text",
    ],
)
def test_a_configuration_that_needs_no_folder_is_sent_unchanged(tmp_path: Path, text: str) -> None:
    assert read_configuration(write(tmp_path, text)) == text


def test_short_names_are_completed() -> None:
    assert runtime_name("rt-1") == runtime_name("runtimes/rt-1") == "runtimes/rt-1"
    assert trial_name("rt-1/2") == trial_name("runtimes/rt-1/trials/2") == "runtimes/rt-1/trials/2"
    assert trial_name("rt-1") == "runtimes/rt-1/trials/1"
    assert parent_name("rt-1") == "runtimes/rt-1"
    assert parent_name("rt-1/2") == "runtimes/rt-1/trials/2"


def test_every_error_has_an_exit_status_of_its_own_kind() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.MilepostError)]

    for kind in kinds:
        error = kind([]) if kind is errors.InvalidArgument else kind("it went wrong")
        expected = kind is errors.MilepostError
        assert (exits.exit_of(error) is exits.Exit.INTERNAL) == expected, kind


def test_json_log_lines_are_made_readable() -> None:
    line = json.dumps({"time": "2026-01-31T10:00:00.123", "level": "info", "event": "server.started", "port": 8471})

    assert readable(line) == "10:00:00.123 INFO    server.started port=8471"
    assert readable("Traceback") == "Traceback"
    assert readable("{not json") == "{not json"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (59.6, "1 m 0 s"), (130, "2 m 10 s"), (7_320, "2 h 2 m")]
)
def test_durations_are_said_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
