"""Clients find the stack they are told of, then the one of this folder, then the user's, then the default ports."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.installation import endpoints
from milepost.installation.endpoints import Endpoints


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = Endpoints(runtime="127.0.0.1:1234", pid=7, data_dir=str(tmp_path))
    endpoints.write(written, tmp_path)

    assert endpoints.read(tmp_path) == written


def test_a_torn_or_missing_file_is_none(tmp_path: Path) -> None:
    assert endpoints.read(tmp_path) is None
    (tmp_path / endpoints.FILE).write_text('{"gateway": ')
    assert endpoints.read(tmp_path) is None


def test_a_variable_wins_over_the_file_of_the_data_directory(tmp_path: Path) -> None:
    endpoints.write(Endpoints(runtime="127.0.0.1:1", trials="127.0.0.1:2"), tmp_path)

    found = endpoints.find(tmp_path, {"MILEPOST_TRIALS_ADDRESS": "trials:9", "MILEPOST_GATEWAY_ADDRESS": "gate:80"})

    assert (found.runtime, found.trials, found.gateway) == ("127.0.0.1:1", "trials:9", "http://gate:80")


def test_the_stack_of_this_folder_is_found_before_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, port in ((tmp_path / "here" / ".milepost", 1), (tmp_path / "home" / ".milepost", 2)):
        folder.mkdir(parents=True)
        endpoints.write(Endpoints(runtime=f"127.0.0.1:{port}"), folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    monkeypatch.chdir(tmp_path / "here")
    assert endpoints.find(None, {}).runtime == "127.0.0.1:1"
    monkeypatch.chdir(tmp_path)
    assert endpoints.find(None, {}).runtime == "127.0.0.1:2"


def test_without_any_stack_the_default_ports_are_tried(tmp_path: Path) -> None:
    assert endpoints.find(tmp_path, {}) == Endpoints(data_dir=str(tmp_path))
