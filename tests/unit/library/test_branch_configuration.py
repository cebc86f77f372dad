"""What a branch may change in a configuration, and what is told of it."""

from __future__ import annotations

import pytest

from milepost.configuration import branch_with, patch_violations, resolve
from milepost.errors import FailedPrecondition, InvalidArgument

PARENT = resolve(
    {
        "entrypoint": "train.py:train",
        "working_directory": "/code",
        "parameters": {"rate": 0.1, "steps": 100, "name": "a.b"},
        "search": {"space": {"rate": [0.1, 0.2]}},
        "initialize_from": "runtimes/rt-0123456789abcdefghijklmnop/trials/1/snapshots/step-000000000005-a1",
    }
)
GIVEN = {**PARENT.parameters, "rate": "0.2"}


def test_a_branch_of_a_search_has_what_its_trial_had_and_searches_no_more() -> None:
    branched = branch_with(PARENT, GIVEN, {"steps": 200}, {"labels": {"why": "again"}})
    assert dict(branched.configuration.parameters) == {"rate": "0.2", "steps": "200", "name": '"a.b"'}
    assert not branched.configuration.HasField("search")
    assert branched.configuration.initialize_from == "", "its weights come with the snapshot"
    assert [(c.field, c.before, c.after) for c in branched.changes] == [
        ("labels.why", "", '"again"'),
        ("parameters.steps", "100", "200"),
    ]


def test_a_branch_may_search_from_there_on() -> None:
    branched = branch_with(PARENT, GIVEN, {}, {"search": {"space": {"rate": [1, 2, 3]}}})
    assert len(branched.configuration.search.space["rate"].values) == 3
    assert [change.field for change in branched.changes] == ["search"]


@pytest.mark.parametrize("field", ["entrypoint", "working_directory", "resources", "environment", "launcher", "code"])
def test_code_and_place_are_those_of_the_parent(field: str) -> None:
    with pytest.raises(FailedPrecondition, match=field) as refused:
        branch_with(PARENT, GIVEN, {}, {field: None})
    assert refused.value.reason == "NOT_A_BRANCH"


def test_what_is_no_field_is_told_as_in_any_configuration() -> None:
    with pytest.raises(InvalidArgument, match="nonsense"):
        branch_with(PARENT, GIVEN, {}, {"nonsense": 1})


def test_a_parameter_is_patched_under_its_name_and_with_its_type() -> None:
    known = {"rate": 0.1, "fast": True, "name": "a", "said": None}
    assert patch_violations(known, {"rate": 1, "fast": False, "name": "b", "said": 3}) == []
    wrong = patch_violations(known, {"raet": 1, "rate": "1", "fast": 1, "name": True})
    assert [violation.field for violation in wrong] == [
        "parameters.raet", "parameters.rate", "parameters.fast", "parameters.name",
    ]  # fmt: skip
    assert "did you mean rate?" in wrong[0].description
