"""What a run was made with: from a Git checkout, import paths, and what must not be recorded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain.sentences import sentence
from milepost.training.process import environment
from milepost.training.process.environment import EnvironmentRecord, git_state, installed_packages, look_around


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text("rate = 0.1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_clean_checkout_is_its_commit_and_branch(checkout: Path) -> None:
    state = git_state(checkout)
    assert state is not None
    assert (state.commit, state.branch) == (git(checkout, "rev-parse", "HEAD"), "main")
    assert not (state.dirty or state.diff or state.untracked or state.unknown_changes)


def test_changes_are_recorded_as_a_diff_without_their_secrets(checkout: Path) -> None:
    (checkout / "train.py").write_text("rate = 0.2\nAPI_KEY = 'sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaa'\n")
    (checkout / "new.py").write_text("")
    state = git_state(checkout)
    assert state is not None and state.dirty
    assert "-rate = 0.1\n+rate = 0.2\n" in state.diff
    assert "sk-aaaa" not in state.diff and "[redacted" in state.diff
    assert list(state.untracked) == ["new.py"]
    assert state.diff_byte_count == len(state.diff.encode())


def test_a_diff_that_is_not_wanted_is_not_read(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "train.py").write_text("rate = 0.2\n")
    monkeypatch.setenv(environment.DIFF_VARIABLE, "0")
    state = look_around(1, checkout).git
    assert (state.dirty, state.diff, state.diff_byte_count) == (True, "", 0)


def test_a_large_diff_is_cut_at_a_line_and_says_how_long_it_was(checkout: Path) -> None:
    (checkout / "train.py").write_text("x = 1  # long enough\n" * 20_000)
    state = git_state(checkout)
    assert state is not None
    assert len(state.diff.encode()) <= environment.MAX_DIFF_BYTES < state.diff_byte_count
    assert state.diff.endswith("+x = 1  # long enough\n")


def test_the_user_in_the_address_of_a_remote_stays_out(checkout: Path) -> None:
    git(checkout, "remote", "add", "origin", "https://ann:hunter2@git.example.org/team/code.git")
    state = git_state(checkout)
    assert state is not None
    assert state.remote == "https://git.example.org/team/code.git"


def test_many_files_that_are_not_tracked_are_counted(checkout: Path) -> None:
    for number in range(60):
        (checkout / f"file{number}").touch()
    state = git_state(checkout)
    assert state is not None
    assert (len(state.untracked), state.left_out_untracked_count) == (50, 10)


def test_a_folder_in_no_checkout_and_a_machine_without_git_have_no_state(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) is None


def test_git_that_does_not_answer_in_time_leaves_changes_unknown(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = environment._git
    monkeypatch.setattr(environment, "_git", lambda folder, *a: None if a[0] == "status" else asked(folder, *a))
    state = git_state(checkout)
    assert state is not None and state.unknown_changes and state.commit


def test_installed_packages_are_those_that_an_import_finds_first(tmp_path: Path) -> None:
    for place, names in (
        ("one", ["torch-2.13.0.dist-info", "my_tool-1.0+cpu.local.egg-info", "torch", "notes-info"]),
        ("two", ["Torch-1.0.dist-info", "numpy-2.4.0.dist-info"]),
    ):
        for name in names:
            (tmp_path / place / name).mkdir(parents=True)
    path = [str(tmp_path / "one"), str(tmp_path / "nowhere"), str(tmp_path / "two")]
    assert dict(installed_packages(path)) == {"torch": "2.13.0", "my_tool": "1.0+cpu.local", "numpy": "2.4.0"}


def test_a_record_is_reported_once_and_its_end_waits_for_it(checkout: Path) -> None:
    reported: list[facts.EnvironmentRecorded] = []
    command = ["python", "train.py", "--api-key", "abcdefgh12345"]
    record = EnvironmentRecord(3, checkout, reported.append, devices=["cuda:0"], command=command)
    record.wait()
    (fact,) = reported
    assert (fact.attempt, list(fact.devices)) == (3, ["cuda:0"])
    assert fact.command == "python train.py --api-key [redacted: looks like a secret]"
    assert "pytest" in fact.packages
    said = sentence(fact)
    assert said.startswith(f"Environment: commit {fact.git.commit[:10]} of main, Python 3.")
    assert said.endswith(f"{len(fact.packages)} packages, cuda:0")
