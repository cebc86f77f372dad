"""Run all tests in two halves side by side: `make test`. Most of them wait for processes, not for a processor.

Arguments go to pytest. With a path among them it is a plain `pytest` on that path.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The second half is shown as it goes; the output of the first is kept until then. They take about as long.
FIRST = ("tests/unit", "tests/integration", "tests/faults")
SECOND = ("tests/browser", "tests/e2e", "tests/gpu")
FINE = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def names_a_path(argument: str) -> bool:
    """Whether an argument is a file, a folder or a test in one."""
    return not argument.startswith("-") and Path(argument.partition("::")[0]).exists()


def main(arguments: list[str]) -> int:
    """Run pytest once or in halves. Returns its status; of halves that of the first one that failed."""
    pytest_command = [sys.executable, "-m", "pytest", *arguments]
    if any(names_a_path(argument) for argument in arguments):
        return subprocess.run(pytest_command, check=False).returncode
    with tempfile.TemporaryFile() as kept, subprocess.Popen(
        [*pytest_command, *FIRST], cwd=ROOT, stdout=kept, stderr=subprocess.STDOUT
    ) as first:  # fmt: skip
        try:
            second = subprocess.run([*pytest_command, *SECOND], cwd=ROOT, check=False).returncode
        except KeyboardInterrupt:
            second = int(pytest.ExitCode.INTERRUPTED)
        statuses = (first.wait(), second)
        kept.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(kept.read())
    failed = [status for status in statuses if status not in FINE]
    if not failed and all(status == pytest.ExitCode.NO_TESTS_COLLECTED for status in statuses):
        return int(pytest.ExitCode.NO_TESTS_COLLECTED)
    return failed[0] if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
