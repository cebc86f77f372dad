"""`make test` leaves no test out, and ends as its halves do."""

from __future__ import annotations

import sys

import pytest

from tests import __main__ as halves
from tests.__main__ import FIRST, ROOT, SECOND, names_a_path


def test_every_folder_with_tests_is_in_one_half() -> None:
    folders = {path.parent.relative_to(ROOT).parts[1] for path in (ROOT / "tests").rglob("test_*.py")}
    folders -= {"assets"}
    assert sorted(f"tests/{folder}" for folder in folders) == sorted([*FIRST, *SECOND])


def test_a_path_among_the_arguments_is_run_as_it_is() -> None:
    assert names_a_path(f"{halves.__file__}::test_of_something")
    assert not names_a_path("-k")
    assert not names_a_path("resume or stop")


# In place of pytest: says which half it is, and ends as that is told to.
HALF = "import sys; half, status = sys.argv[-1].split(':'); print(half); sys.exit(int(status))"


@pytest.mark.parametrize(
    ("first", "second", "check", "status", "shown"),
    [
        (0, 0, 0, 0, ["second", "first", "checked"]),
        (0, 0, 3, 3, ["second", "first", "checked"]),
        (1, 0, 3, 1, ["second", "first", "checked"]),
        (0, 4, 3, 4, ["second", "first", "checked"]),
        (2, 0, 3, 2, ["second", "first"]),
        (5, 5, 0, 5, ["second", "first", "checked"]),
    ],
    ids=["fine", "check fails", "first fails", "second fails", "interrupted", "nothing collected"],
)
def test_a_check_follows_the_first_half_and_its_status_counts(
    first: int, second: int, check: int, status: int, shown: list[str],
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    program = [sys.executable, "-S", "-c"]
    monkeypatch.setattr(halves, "PYTEST", [*program, HALF])
    monkeypatch.setattr(halves, "FIRST", (f"first:{first}",))
    monkeypatch.setattr(halves, "SECOND", (f"second:{second}",))
    monkeypatch.setattr(halves, "CHECK", [*program, f"print('checked'); raise SystemExit({check})"])
    assert halves.main(["--check", "-v"]) == status
    assert capfd.readouterr().out.split() == shown
