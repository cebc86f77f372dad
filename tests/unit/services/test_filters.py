"""Filters are terms joined by AND; what the language does not have is refused with its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from milepost.errors import InvalidArgument
from services.readmodel.filters import Term, parse_filter
from services.runtime.readmodel.listing import parse_predicate
from services.trials.queries import compile_filter


def test_terms_are_joined_by_and() -> None:
    assert parse_filter('status=Failed AND label.team="n l p" AND create_time>2026-01-01 AND walk') == [
        Term("status", "=", "Failed"),
        Term("label.team", "=", "n l p"),
        Term("create_time", ">", "2026-01-01"),
        Term("", "", "walk"),
    ]
    assert parse_filter("  ") == []


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("status=Failed OR status=Aborted", "at character 15, 'OR status=Aborted'", "OR does not exist"),
        ("NOT status=Failed", "at character 1,", "NOT does not exist"),
        ("status=Failed status=Aborted", "at character 15, 'status=Aborted'", "AND is missing"),
        ("two words", "at character 5, 'words'", "double quotes"),
        ("status IN (Failed)", "at character 8, 'IN (Failed)'", "IN does not exist"),
        ("status=", "at character 1, 'status='", "not understood"),
        ("a AND -name:b", "at character 7, '-name:b'", "not understood"),
        ("a AND", "at character 6", "between two terms"),
        ("AND a", "at character 1", "between two terms"),
        ("a AND AND b", "at character 7", "between two terms"),
    ],
)  # fmt: skip
def test_what_the_language_does_not_have_is_refused_with_its_place(text: str, place: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_filter(text)

    (violation,) = refused.value.violations
    assert violation.field == "filter"
    assert place in violation.description and said in violation.description


def test_a_reserved_word_in_quotes_is_a_text() -> None:
    assert parse_filter('name="OR" AND "NOT"') == [Term("name", "=", "OR"), Term("", "", "NOT")]


def test_a_value_may_have_colons_and_a_text_has_them_in_quotes() -> None:
    assert parse_filter('label.host=a:b AND "a:b"') == [Term("label.host", "=", "a:b"), Term("", "", "a:b")]


@pytest.mark.parametrize(
    ("read", "term", "said"),
    [
        (parse_predicate, "colour=red", "colour is not a known field; known: status,"),
        (parse_predicate, "label.=red", "label. is not a known field; known: status,"),
        (parse_predicate, "status=Sleeping", "status is one of Started, "),
        (parse_predicate, "create_time>monday", "create_time is compared with a time"),
        (compile_filter, "colour=red", "colour is not a known field; known: status,"),
        (compile_filter, "parameters.=1", "parameters. is not a known field; known: status,"),
        (compile_filter, "status=Sleeping", "status is one of Running, "),
        (compile_filter, "waiting_reason=tired", "waiting_reason is one of "),
    ],
)
def test_a_field_or_word_that_a_list_does_not_have_is_refused_with_its_place(
    read: Callable[[str], object], term: str, said: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(f"walk AND {term}")

    (violation,) = refused.value.violations
    assert violation.description.startswith(f"at character 10, '{term}': {said}")


def test_the_words_of_a_field_are_taken_in_any_case() -> None:
    assert Term("status", "=", "failed").as_one_of(["Completed", "Failed"]) == Term("status", "=", "Failed")
    assert Term("status", ":", "fail").as_one_of(["Failed"]).accepts("Failed")
