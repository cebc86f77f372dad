"""Names of series: which text is a key, and what becomes of the rest."""

from __future__ import annotations

import enum
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from milepost import series_names
from milepost.series_names import BadName, flat, key_of, parse
from milepost.training.telemetry.buffer import StepBuffer

PRINTABLE = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=series_names.LONGEST
).filter(lambda text: bool(text.strip()))
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=600)

APART = [
    ("recall@iou>0.5", "recall@iou<0.5"),
    ("损失", "精度"),
    ("acc@1", "acc_1"),
    ("größe", "grüße"),
    ("val loss", "val_loss"),
    ("grad/" + "model.layers." * 25 + "q", "grad/" + "model.layers." * 25 + "k"),
    ("a\x00b", "a\\x00b"),
    ("a\x00b", "a\x01b"),
    ("", "_"),
    ("loss", "lοss"),
    ("Loss", "loss"),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_two_names_are_two_series(one: str, other: str) -> None:
    assert key_of(one) != key_of(other)


@given(PRINTABLE)
def test_printable_text_is_its_own_key(text: str) -> None:
    key = unicodedata.normalize("NFC", text).strip()
    assume(0 < len(key) <= series_names.LONGEST)
    assert key_of(text) == parse(text) == key


@given(ANYTHING, ANYTHING)
def test_whatever_is_logged_has_a_key_of_its_own(one: str, other: str) -> None:
    for text in (one, other):
        assert parse(key_of(text)) == key_of(text), "it is a key for everybody else too"
    same = unicodedata.normalize("NFC", one).strip() == unicodedata.normalize("NFC", other).strip()
    assert (key_of(one) == key_of(other)) == same


@pytest.mark.parametrize("text", ["", "  ", "a\x00", "a\nb", "a\u2028b", "\ud800", "x" * 251, "a\x9fb"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        parse(text)


def test_one_character_in_two_forms_and_space_at_the_ends_are_the_same_name() -> None:
    assert key_of("gro\u0308ße") == "größe" == key_of(" größe\n")


def test_what_is_no_text_has_the_name_it_prints_as() -> None:
    class Split(str, enum.Enum):  # noqa: UP042 - what scripts have
        TRAIN = "train"

    assert [key_of(name) for name in (3, ("a", 1), None, Split.TRAIN)] == ["3", "('a', 1)", "None", "train"]


def test_nested_values_are_named_by_their_path() -> None:
    plain = {"loss": 1.0}
    assert flat(plain) is plain
    assert flat({"train": {"loss": 1, "top": {5: 2}}, "lr": 3}) == {"train/loss": 1, "train/top/5": 2, "lr": 3}
    endless: dict[str, object] = {"loss": 1.0}
    endless["self"] = endless
    assert flat(endless)["self/self/loss"] == 1.0


def test_a_buffer_keeps_names_apart_and_says_once_what_it_changed() -> None:
    said: list[str] = []
    buffer = StepBuffer(lambda problem, text: said.append(problem))
    names = [name for pair in APART for name in pair]
    buffer.append(1, 0.0, {"train": {"loss": 1.0, "acc@1": 2.0}, **dict.fromkeys(names, 3.0)})
    buffer.append(2, 0.0, {" loss": 4.0})
    keys = {key for columns in buffer.take() for key in columns.keys}
    assert keys == {"train/loss", "train/acc@1", *map(key_of, names)}
    assert set(said) == {"series name", "same series"}
