"""Events are for ever: a golden file of each type is read as it was on the day it was written."""

from __future__ import annotations

import pytest

from milepost.eventlog.codec import AREAS, TYPES, UnknownEventType, decode, encode
from tests.golden.write_missing import DIRECTORY, as_json, golden_path

FILES = sorted(path.name for path in DIRECTORY.glob("*.binpb"))


@pytest.mark.parametrize("ce_type", sorted(TYPES))
def test_every_event_type_has_a_golden_file(ce_type: str) -> None:
    assert golden_path(ce_type).exists(), "run: python -m tests.golden.write_missing"


@pytest.mark.parametrize("name", FILES)
def test_a_golden_file_decodes_for_ever(name: str) -> None:
    ce_type = "milepost." + name.removesuffix(".binpb")
    assert ce_type in TYPES, "an event type was removed, but logs exist that have it"
    body = (DIRECTORY / name).read_bytes()
    payload = decode(ce_type, body)
    assert encode(payload) == (ce_type, body)


@pytest.mark.parametrize("name", FILES)
def test_a_golden_file_means_what_it_meant(name: str) -> None:
    area = AREAS[name.split(".")[0]]
    event = area.FromString((DIRECTORY / name).read_bytes())
    written = (DIRECTORY / name).with_suffix(".json").read_text(encoding="utf-8")
    assert as_json(event) == written, "a field or an enum value was renamed, renumbered or retyped"


def test_a_type_of_a_later_version_is_unknown() -> None:
    with pytest.raises(UnknownEventType):
        decode("milepost.trial.trial_completed.v2", b"")


def test_a_body_of_another_type_is_unknown() -> None:
    body = golden_path("milepost.trial.trial_completed.v1").read_bytes()
    with pytest.raises(UnknownEventType):
        decode("milepost.trial.trial_failed.v1", body)


def test_an_unreadable_body_is_unknown() -> None:
    with pytest.raises(UnknownEventType):
        decode("milepost.trial.trial_completed.v1", b"\xff\xff\xff")
