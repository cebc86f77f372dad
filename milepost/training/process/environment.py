"""What a run was made with: the commit and changes of its code, installed packages, Python, machine, devices.

Recorded once per attempt, by the first process, in a thread of its own: training does not wait for it.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.security.redaction import Redactor
from milepost.training.telemetry.system_metrics import open_nvml

# Set to 0, the text of changes that are not committed stays where it is.
DIFF_VARIABLE = "MILEPOST_RECORD_DIFF"
MAX_DIFF_BYTES = 32 << 10
MAX_PACKAGES = 2_000
MAX_UNTRACKED = 50
MAX_COMMAND_CHARACTERS = 4_000
_GIT_SECONDS = 5.0
# How long the end of a process waits for what it has not recorded yet.
_END_SECONDS = 1.0
_INSTALLED = re.compile(r"([^-]+)-(.+)\.(?:dist-info|egg-info)")
_USER_OF_ADDRESS = re.compile(r"(?<=://)[^/@]*@")


class EnvironmentRecord:
    """Looks around beside the training loop, and reports what it finds."""

    def __init__(
        self,
        attempt: int,
        folder: Path,
        report: Callable[[facts.EnvironmentRecorded], None],
        *,
        devices: Sequence[str] = (),
        command: Sequence[str] = (),
    ) -> None:
        """Begin.

        Args:
            folder: of the code.
            report: takes the fact, in a thread of its own.
            devices: what this process computes on, as in `InstanceStarted`.
            command: that the user has started, word by word.
        """

        def record() -> None:
            report(look_around(attempt, folder, devices, command))

        self._thread = threading.Thread(target=record, name="milepost environment", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until it is reported, one second at most."""
        self._thread.join(_END_SECONDS)


def look_around(
    attempt: int, folder: Path, devices: Sequence[str] = (), command: Sequence[str] = ()
) -> facts.EnvironmentRecorded:
    """Return what this process is made of. What cannot be found out is left empty."""
    found = facts.EnvironmentRecorded(
        attempt=attempt,
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        platform=platform.platform(),
        cpu_count=os.cpu_count() or 0,
        devices=devices,
        gpus=_gpus(),
        command=" ".join(Redactor().command(command))[:MAX_COMMAND_CHARACTERS],
    )
    packages = dict(installed_packages(sys.path))
    for name in sorted(packages, key=str.lower)[:MAX_PACKAGES]:
        found.packages[name] = packages[name]
    found.left_out_package_count = len(packages) - len(found.packages)
    git = git_state(folder, with_diff=os.environ.get(DIFF_VARIABLE, "1") != "0")
    if git is not None:
        found.git.CopyFrom(git)
    return found


def code_folder() -> Path:
    """Return the folder of the script that this process runs; the current one where it is no file."""
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else None
    return script.resolve().parent if script is not None and script.is_file() else Path.cwd()


def command_of_this_process() -> list[str]:
    """Return what was started, without code that was given as text (`python -c`)."""
    return [Path(sys.executable).name, *sys.argv]


def _gpus() -> list[str]:
    nvml = open_nvml()
    if nvml is None:
        return []
    with suppress(nvml.NVMLError):
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return [str(nvml.nvmlDeviceGetName(handle)) for handle in handles]
    return []


def installed_packages(path: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give name and version of what is installed on an import path; the first one of a name counts, as for imports."""
    seen = set()
    for folder in path:
        try:
            with os.scandir(folder or ".") as entries:
                names = sorted(entry.name for entry in entries)
        except OSError:
            continue
        for name in names:
            match = _INSTALLED.fullmatch(name)
            if match is not None and match[1].lower() not in seen:
                seen.add(match[1].lower())
                yield match[1], match[2]


def git_state(folder: Path, *, with_diff: bool = True) -> facts.GitState | None:
    """Return the state of the Git checkout that a folder lies in; None: in none, or Git is not to be had."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD") or ""
    remote = _git(folder, "remote", "get-url", "origin") or ""
    state = facts.GitState(
        commit=commit.strip(),
        branch="" if branch.strip() == "HEAD" else branch.strip(),
        remote=_USER_OF_ADDRESS.sub("", remote.strip()),
    )
    status = _git(folder, "status", "--porcelain=v1", "-z", "--untracked-files=normal")
    if status is None:
        state.unknown_changes = True
        return state
    changed = [line for line in status.split("\0") if line]
    untracked = [line[3:] for line in changed if line.startswith("?? ")]
    state.dirty = bool(changed)
    state.untracked.extend(untracked[:MAX_UNTRACKED])
    state.left_out_untracked_count = len(untracked) - len(state.untracked)
    if with_diff and len(changed) > len(untracked):
        _add_diff(state, _git(folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color"))
    return state


def _add_diff(state: facts.GitState, diff: str | None) -> None:
    if diff is None:
        state.unknown_changes = True
        return
    redacted = Redactor().text(diff).encode()
    state.diff_byte_count = len(redacted)
    # A line that is cut could not be read as a diff.
    kept = redacted if len(redacted) <= MAX_DIFF_BYTES else redacted[: redacted.rfind(b"\n", 0, MAX_DIFF_BYTES) + 1]
    state.diff = kept.decode(errors="replace")


def _git(folder: Path, *arguments: str) -> str | None:
    """Ask Git; None: it does not say."""
    # It takes no lock that a user's own Git would wait for, and asks nobody for a password.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
