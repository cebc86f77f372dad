"""What the command line says to who has just begun: where things are, what lacks, and that nothing runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from milepost.cli import cli
from milepost.cli.connection import UNSUPERVISED_SECONDS, open_client
from milepost.cli.exits import Exit
from milepost.cli.local import doctor
from milepost.client import RETRY_SECONDS
from milepost.installation import endpoints, page_files
from milepost.installation.endpoints import Endpoints

NOWHERE = "127.0.0.1:9"


def stack(folder: Path, pid: int) -> None:
    """Say in a data folder that a stack of this supervisor has it, whose services answer nobody."""
    folder.mkdir(exist_ok=True)
    said = Endpoints(f"http://{NOWHERE}", NOWHERE, NOWHERE, NOWHERE, f"nats://{NOWHERE}", f"http://{NOWHERE}", pid)
    endpoints.write(said, folder)


def config(*arguments: str) -> dict[str, dict[str, str]]:
    result: Result = CliRunner().invoke(cli, ["config", "-o", "json", *arguments])
    assert result.exit_code == 0, result.output
    return {item["name"]: item for item in json.loads(result.stdout)}


def test_config_says_which_data_folder_it_is_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_DATA_DIR", str(tmp_path / "mine"))
    told = config()["data_dir"]
    assert (told["value"], told["variable"]) == (str(tmp_path / "mine"), "MILEPOST_DATA_DIR")
    assert told["origin"] == "environment"

    asked = config("--data-dir", str(tmp_path / "other"))["data_dir"]
    assert asked["value"] == str(tmp_path / "other")
    assert asked["origin"] == "flag"


def test_doctor_names_a_page_that_lacks_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_files, "STAMP", Path("vendor") / "not-there")
    (lacking,) = doctor._page()
    assert (lacking.subject, lacking.ok) == ("page", False)
    assert "make vendor" in lacking.text

    # A file of the page that every checkout has, in place of the one that says that all have been fetched.
    monkeypatch.setattr(page_files, "STAMP", Path("index.html"))
    (whole,) = doctor._page()
    assert (whole.subject, whole.ok) == ("page", True)


def test_only_a_supervised_stack_is_waited_for(tmp_path: Path) -> None:
    """Where nobody starts a service again, a command says so after a second; with a supervisor it waits for it."""
    stack(tmp_path / "left", 0)
    stack(tmp_path / "runs", os.getpid())

    with open_client(str(tmp_path / "left")) as alone, open_client(str(tmp_path / "runs")) as supervised:
        assert alone.patience.seconds == UNSUPERVISED_SECONDS == 1.0
        assert supervised.patience.seconds == RETRY_SECONDS


def test_without_a_server_a_command_says_how_one_is_started(tmp_path: Path) -> None:
    stack(tmp_path / "left", 0)

    result = CliRunner().invoke(cli, ["runtime", "list", "--data-dir", str(tmp_path / "left")])

    said = (
        result.output if result.exception is None or isinstance(result.exception, SystemExit) else str(result.exception)
    )
    assert result.exit_code != Exit.OK
    assert "milepost up" in said


def test_a_data_folder_that_is_not_there_is_not_taken_for_the_stack_at_the_default_ports(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["runtime", "list", "--data-dir", str(tmp_path / "mistyped")])

    assert result.exit_code == Exit.USAGE
    assert f"there is no data folder {tmp_path / 'mistyped'}" in result.output


def test_nor_is_one_in_which_no_stack_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(cli, ["runtime", "list", "--data-dir", str(tmp_path)])
    assert result.exit_code == Exit.USAGE
    assert f"no stack was ever started in {tmp_path}" in result.output
    assert f"milepost up --data-dir {tmp_path}" in result.output

    monkeypatch.setenv("MILEPOST_RUNTIME_ADDRESS", "127.0.0.1:1")
    with open_client(str(tmp_path)) as client:
        assert client.endpoints.runtime == "127.0.0.1:1", "a cluster is named by its addresses"
