"""Whether an entrypoint is there is found out without running it."""

from __future__ import annotations

import gc
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from milepost.training.loop.parameters import BadParameter, bind
from services.runtime.commands import entrypoints
from services.runtime.commands.entrypoints import examine, wrong_parameters

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
    assert examine(entrypoint, folder).missing is None


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
    assert said in (examine(entrypoint, folder).missing or "")


# What an entrypoint may look like, and what it may be given.
HEADS = [
    "trial",
    "trial, learning_rate, steps",
    "trial, learning_rate, steps=10",
    "trial, *, learning_rate, steps=10",
    "trial, learning_rate, **more",
    "trial, **more",
]
GIVEN = [{}, {"learning_rate": 1}, {"learning_rate": 1, "steps": 2}, {"lerning_rate": 1, "steps": 2}, {"other": 1}]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("given", GIVEN)
def test_parameters_are_refused_as_the_worker_would_refuse_them(
    tmp_path: Path, head: str, given: dict[str, int]
) -> None:
    """What is read from the source and what Python says of the function are one rule."""
    source = f"def train({head}): ...\n"
    (tmp_path / "loop.py").write_text(source)
    space: dict[str, Any] = {}
    exec(source, space)
    try:
        bind(space["train"], given)
        refused = False
    except BadParameter:
        refused = True

    declared = examine("loop.py:train", str(tmp_path)).declared

    assert declared is not None
    assert bool(wrong_parameters(declared, "train", given)) == refused


def test_a_misspelt_parameter_is_named_with_what_was_meant(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text("def train(trial, learning_rate, steps): ...\n")
    declared = examine("loop.py:train", str(tmp_path)).declared
    assert declared is not None

    violations = wrong_parameters(declared, "train", ["lerning_rate", "steps"])

    assert [(v.field, v.description) for v in violations] == [
        ("parameters.lerning_rate", "train takes no such parameter; did you mean learning_rate?"),
        ("parameters", "train needs learning_rate"),
    ]


@pytest.mark.parametrize(
    "source",
    ["@wraps\ndef train(trial, x): ...\n", "train = other\n", "def train(trial, *rest): ...\n",
     "def train(trial): ...\ntrain = decorate(train)\n", "from other import train\n"],
)  # fmt: skip
def test_of_what_is_no_plain_definition_nothing_is_assumed(tmp_path: Path, source: str) -> None:
    (tmp_path / "loop.py").write_text(source)

    assert examine("loop.py:train", str(tmp_path)).declared is None


def test_several_are_examined_at_once(tmp_path: Path) -> None:
    """The collector may run in the middle of a parse, and with it another thread."""

    def let_others_run(phase: str, info: dict[str, int]) -> None:
        time.sleep(0.0002)

    (tmp_path / "train.py").write_text("def train(trial):\n    return [" + "(1, 2), " * 300 + "]\n")
    usual = gc.get_threshold()
    gc.callbacks.append(let_others_run)
    gc.set_threshold(10)
    try:
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: examine("train.py:train", str(tmp_path)), range(24)))
    finally:
        gc.set_threshold(*usual)
        gc.callbacks.remove(let_others_run)
    assert {one.missing for one in found} == {None}


def test_what_is_no_source_is_said_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep.py").write_text("x = " + "(" * 10_000 + ")" * 10_000)
    assert "cannot be read as Python" in (examine("deep.py:train", str(tmp_path)).missing or "")
    os.mkfifo(tmp_path / "pipe.py")
    assert examine("pipe.py:train", str(tmp_path)).missing
    monkeypatch.setattr(entrypoints, "MAX_SOURCE_BYTES", 10)
    assert "has more than" in (examine("deep.py:train", str(tmp_path)).missing or "")
