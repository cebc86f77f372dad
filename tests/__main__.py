"""Run all tests in two halves side by side: `make test`. Most of them wait for processes, not for a processor.

Arguments go to pytest. With a path among them it is a plain `pytest` on that path. `--check` before them has `make check`
follow the first half, in the time in which it would wait for the second: `make test CHECK=1`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The second half is shown as it goes; the output of the first is kept until then. The first takes a few minutes less.
FIRST = ("tests/unit", "tests/integration", "tests/faults")
SECOND = ("tests/browser", "tests/e2e", "tests/gpu")
# Says in a line of its own that it begins: its output follows that of the first half.
CHECK = ["sh", "-c", "printf '\n== make check\n'; make check && echo fine"]
PYTEST = [sys.executable, "-m", "pytest"]
FINE = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def names_a_path(argument: str) -> bool:
    """Whether an argument is a file, a folder or a test in one."""
    return not argument.startswith("-") and Path(argument.partition("::")[0]).exists()


class Aside(Thread):
    """Runs commands one after the other, and keeps their output. One that is interrupted is the last."""

    def __init__(self, commands: Sequence[list[str]], output: IO[bytes]) -> None:
        super().__init__()
        self._commands = commands
        self._output = output
        self.statuses: list[int] = []
        self.start()

    def run(self) -> None:
        for command in self._commands:
            if pytest.ExitCode.INTERRUPTED in self.statuses:
                return
            done = subprocess.run(command, cwd=ROOT, stdout=self._output, stderr=subprocess.STDOUT, check=False)
            self.statuses.append(done.returncode)


def main(arguments: list[str]) -> int:
    """Run pytest once or in halves. Returns its status; of halves that of the first one that failed."""
    checks = [CHECK] if "--check" in arguments[:1] else []
    arguments = arguments[len(checks) :]
    pytest_command = [*PYTEST, *arguments]
    if any(names_a_path(argument) for argument in arguments):
        return subprocess.run(pytest_command, check=False).returncode
    with tempfile.TemporaryFile() as kept:
        aside = Aside([[*pytest_command, *FIRST], *checks], kept)
        try:
            second = subprocess.run([*pytest_command, *SECOND], cwd=ROOT, check=False).returncode
        except KeyboardInterrupt:
            second = int(pytest.ExitCode.INTERRUPTED)
        aside.join()
        kept.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(kept.read())
    first, *checked = aside.statuses
    failed = [status for status in (first, second) if status not in FINE] + [status for status in checked if status]
    if not failed and first == second == pytest.ExitCode.NO_TESTS_COLLECTED:
        return int(pytest.ExitCode.NO_TESTS_COLLECTED)
    return failed[0] if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
