"""What user code can put into the folder of its attempt neither stops the service nor shows what is not its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.training.telemetry.marker import marker_path, read_marker
from services.runtime.launchers import local

HUGE = 1 << 40


def pipe(path: Path) -> None:
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(HUGE)


def link(path: Path) -> None:
    """To a file that is none of the attempt's."""
    other = path.parent.parent / "secret"
    other.write_text(json.dumps({"cause": "EXIT_CAUSE_COMPLETED", "detail": "a secret", "pid": 1, "start": 1}))
    path.symlink_to(other)


def folder(path: Path) -> None:
    path.mkdir()


def noise(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    made = tmp_path / "attempt-1"
    made.mkdir()
    return made


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", [pipe, huge, link, folder, noise])
def test_files_that_are_not_what_they_should_be_say_nothing(attempt: Path, plant: Callable[[Path], None]) -> None:
    for name in ("exit.json", "process.json", "ray-folder", "driver.log", marker_path(attempt, 0).name):
        plant(attempt / name)
    exit_ = local._exit_of(attempt, 3)
    assert exit_.cause == common.EXIT_CAUSE_EXCEPTION
    assert exit_.detail.startswith("the driver left with exit code 3") and "secret" not in exit_.detail
    assert local._read_process(attempt) is None
    assert read_marker(marker_path(attempt, 0)) == 0
    local._remove_ray_folder(attempt)
    if plant is link:
        assert (attempt.parent / "secret").exists()


def test_the_last_line_of_a_long_log_is_found_without_reading_it_all(attempt: Path) -> None:
    with (attempt / "driver.log").open("wb") as file:
        file.truncate(HUGE)
        file.seek(0, os.SEEK_END)
        file.write(b"\nValueError: the end")
    assert local._exit_of(attempt, 1).detail == "the driver left with exit code 1: ValueError: the end"
