"""Everything that starts a stack or talks to one finds the data folder by one rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.installation import data_folder, endpoints
from milepost.installation.settings import collect


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder without any data folder."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def _everywhere(named: str | None, environment: dict[str, str]) -> set[tuple[Path, str]]:
    """Ask by each way that there is: the rule itself, a service or `up`, a client or a script."""
    found = data_folder.find(named, environment)
    settings = collect({"data_dir": named}, environment)
    return {
        (found.path, found.origin),
        (settings.data_dir, settings.origin("data_dir")),
        (Path(endpoints.find(named, environment).data_dir), found.origin),
    }


def test_the_home_folder_is_used_where_nothing_else_is_there(home: Path) -> None:
    assert _everywhere(None, {}) == {(home / ".milepost", "default")}


def test_a_data_folder_in_the_working_folder_comes_before_that_of_the_user(home: Path) -> None:
    (home / ".milepost").mkdir()
    Path(".milepost").mkdir()

    assert _everywhere(None, {}) == {(Path.cwd() / ".milepost", "this folder")}


def test_the_settings_file_the_variable_and_the_flag_win_in_this_order(home: Path) -> None:
    Path(".milepost").mkdir()
    Path("settings.yaml").write_text("data_dir: /of/file\n")
    environment = {"MILEPOST_CONFIG": "settings.yaml"}

    assert _everywhere(None, environment) == {(Path("/of/file"), "file")}
    environment["MILEPOST_DATA_DIR"] = "/of/variable"
    assert _everywhere(None, environment) == {(Path("/of/variable"), "environment")}
    assert _everywhere("/of/flag", environment) == {(Path("/of/flag"), "flag")}


def test_a_user_without_a_home_gets_a_folder_of_this_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)

    assert data_folder.find(None, {}).path == Path.cwd() / ".milepost"


def test_only_what_is_neither_named_nor_the_default_is_said(home: Path) -> None:
    assert data_folder.find(None, {}).said() == ""
    assert data_folder.find("/of/flag", {}).said() == ""
    assert data_folder.find(None, {"MILEPOST_DATA_DIR": "/v"}).said() == ""
    Path(".milepost").mkdir()
    assert data_folder.find(None, {}).said() == f"data folder {Path.cwd() / '.milepost'} (found in this folder)"
