"""What a comparison of two states names."""

from services.runtime.audit.verification import changes_between


def named(before: object, after: object) -> list[tuple[str, str, str]]:
    return [(change.path, change.before, change.after) for change in changes_between(before, after)]


def test_a_changed_field_is_named_by_its_path() -> None:
    before = {"runtime": {"status": "Started"}, "trials": {"1": {"progress": {"step": 3}}}}
    after = {"runtime": {"status": "Aborted"}, "trials": {"1": {"progress": {"step": 7}}}}
    assert named(before, after) == [
        ("runtime.status", '"Started"', '"Aborted"'),
        ("trials[1].progress.step", "3", "7"),
    ]


def test_of_a_list_only_what_went_and_what_came_is_named() -> None:
    before = {"markers": [{"step": 50, "planned": True}, {"step": 100, "planned": True}]}
    after = {"markers": [{"step": 50, "planned": False}, {"step": 100, "planned": True}]}
    assert named(before, after) == [
        ("markers[]", '{"step": 50, "planned": true}', ""),
        ("markers[]", "", '{"step": 50, "planned": false}'),
    ]


def test_equal_states_differ_in_nothing() -> None:
    assert named({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}) == []
