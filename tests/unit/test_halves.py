"""`make test` leaves no test out, and ends as its halves do."""

from __future__ import annotations

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
