"""Whether an entrypoint is there is found out without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.entrypoints import why_missing

EXPLODES = "raise SystemExit('it was run')\n"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "__init__.py").write_text(EXPLODES)
    (tmp_path / "mine" / "deep" / "__init__.py").write_text("")
    (tmp_path / "mine" / "deep" / "loop.py").write_text(EXPLODES + "async def train(trial): ...\n")
    (tmp_path / "script.py").write_text(
        EXPLODES + "import os as system\nfrom x import y\nif True:\n    def guarded(): ...\nmade, also = 1, 2\n"
    )
    (tmp_path / "star.py").write_text("from somewhere import *\n")
    (tmp_path / "broken.py").write_text("def train(:\n")
    (tmp_path / "services.py").write_text("def train(trial): ...\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    "entrypoint",
    [
        "mine.deep.loop:train",
        "script.py:guarded",
        "script:y",
        "script.py:system",
        "script.py:also",
        "star.py:anything",
        # A user's file wins over a package of ours with the same name.
        "services:train",
        "json:dumps",
    ],
)
def test_what_is_there_is_accepted(folder: str, entrypoint: str) -> None:
    assert why_missing(entrypoint, folder) is None


@pytest.mark.parametrize(
    ("entrypoint", "said"),
    [
        ("none.py:train", "no file none.py"),
        ("script.py:train", "no function train"),
        ("mine.deep.none:train", "no module mine.deep.none"),
        ("script.deep:train", "no module script.deep"),
        ("no_such_module:train", "no module no_such_module"),
        ("json:no_such_function", "no function no_such_function"),
        ("broken.py:train", "cannot be read as Python"),
    ],
)
def test_what_is_missing_is_named(folder: str, entrypoint: str, said: str) -> None:
    assert said in (why_missing(entrypoint, folder) or "")
