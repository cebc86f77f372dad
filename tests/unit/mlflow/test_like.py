"""LIKE as SQL means it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.errors import InvalidArgument
from services.mlflow.filters import Candidate, parse
from services.mlflow.like import MAX_PATTERN, Like


@given(st.text("ab%_", max_size=12), st.text("abA\n", max_size=12), st.booleans())
def test_a_pattern_means_what_sql_says(pattern: str, text: str, ignore_case: bool) -> None:
    """The same as a regular expression says, on patterns so short that one ends."""
    expression = "".join({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in pattern)
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    assert Like(pattern, ignore_case).matches(text) == bool(re.fullmatch(expression, text, flags))


def test_a_pattern_of_many_wildcards_comes_to_an_end() -> None:
    """A regular expression would not, in the time that a test has."""
    accepts = parse(f"tags.note LIKE '{'%a' * 400}b'")
    assert not accepts(Candidate(tags={"note": "a" * 8_000}))
    assert accepts(Candidate(tags={"note": "a" * 7_999 + "b"}))
    with pytest.raises(InvalidArgument, match="filter"):
        parse(f"tags.note ILIKE '{'%' * (MAX_PATTERN + 1)}'")
