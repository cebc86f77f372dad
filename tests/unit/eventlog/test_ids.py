"""Ids sort by time and hold only what subjects, paths and names may hold."""

from __future__ import annotations

from milepost import ids


def test_an_event_id_is_a_uuid_of_version_7() -> None:
    made = ids.uuid7(1_700_000_000_000)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == 1_700_000_000_000


def test_runtime_ids_are_valid_distinct_and_sort_by_time() -> None:
    made = [ids.new_runtime_id() for _ in range(1_000)]
    assert len(set(made)) == 1_000
    assert all(ids.is_runtime_id(one) and ids.is_token(one) for one in made)
    assert [one[:12] for one in made] == sorted(one[:12] for one in made)


def test_what_could_leave_a_subject_or_a_folder_is_no_id() -> None:
    for bad in (
        "",
        "*",
        ">",
        ".",
        "..",
        "a.b",
        "a b",
        "A",
        "-a",
        "a\n",
        "a\0",
        "\u0430",
        "x" * 64,
        "rt-",
        "rt-" + "z" * 26,
    ):
        assert not ids.is_runtime_id(bad)
    for bad in ("", "*", ">", ".", "..", "a.b", "a b", "A", "-a", "a\n", "a\0", "\u0430", "x" * 64):
        assert not ids.is_token(bad)
