"""Events are for ever: a golden file of each type is read as it was on the day it was written."""

from __future__ import annotations

import json
from functools import partial

import pytest

from milepost import bundle
from milepost.api.event.v1.trial_events_pb2 import AlertRaised
from milepost.eventlog import Head, NewEvent, RecordedEvent, codec
from milepost.eventlog.codec import (
    AREAS,
    TYPES,
    UPCASTERS,
    UnknownEventType,
    category_of,
    decode,
    encode,
    is_known,
    newest_type,
)
from milepost.eventlog.envelope import record_envelope, seal
from milepost.eventlog.proof.chain import verify_chain
from milepost.eventlog.upcasting import Upcasters
from services.metrics.lineage import Lineages
from services.runtime.readmodel.messages import event_message
from services.runtime.readmodel.views import Views
from services.trials.readmodel.views import Views as TrialViews
from tests.golden.write_missing import DIRECTORY, SAMPLE_TIME, as_json, golden_path

FILES = sorted(path.name for path in DIRECTORY.glob("*.binpb"))


@pytest.mark.parametrize("ce_type", sorted(TYPES))
def test_every_event_type_has_a_golden_file(ce_type: str) -> None:
    assert golden_path(ce_type).exists(), "run: python -m tests.golden.write_missing"


@pytest.mark.parametrize("name", FILES)
def test_a_golden_file_decodes_for_ever(name: str) -> None:
    ce_type = "milepost." + name.removesuffix(".binpb")
    assert is_known(ce_type), "an event type was removed, but logs exist that have it"
    body = (DIRECTORY / name).read_bytes()
    payload = decode(ce_type, body)
    # Of an old version the newest is what is meant.
    assert encode(payload) == (newest_type(ce_type), UPCASTERS.newest(ce_type, body)[1])


@pytest.mark.parametrize("name", FILES)
def test_a_golden_file_means_what_it_meant(name: str) -> None:
    area = AREAS[name.split(".")[0]]
    body = UPCASTERS.newest("milepost." + name.removesuffix(".binpb"), (DIRECTORY / name).read_bytes())[1]
    event = area.FromString(body)
    written = (DIRECTORY / name).with_suffix(".json").read_text(encoding="utf-8")
    assert as_json(event) == written, "a field or an enum value was renamed, renumbered or retyped"


def test_every_old_version_has_a_golden_file_and_an_end() -> None:
    """A log may hold such a version: its golden file must stay, and lead to a type of the contract."""
    old = set(UPCASTERS.types())
    assert {ce_type for ce_type in old if not golden_path(ce_type).exists()} == set()
    assert {ce_type for ce_type in old if not is_known(ce_type)} == set()
    written = {"milepost." + name.removesuffix(".binpb") for name in FILES}
    assert written == TYPES.keys() | old


# Old versions. No event has one yet: those here are of the tests only, as a log of an earlier day would have them.


def v0_of_alert_raised(alert: str, step: int) -> bytes:
    """A body whose field 3 was called differently, had its step as text, and no kind."""
    return json.dumps({"text": alert, "at": str(step)}).encode()


def upcast_alert_raised(body: bytes) -> bytes:
    old = json.loads(body)
    raised = AlertRaised(message=old["text"], step=int(old["at"]))
    return encode(raised)[1]


@pytest.fixture
def with_v0(monkeypatch: pytest.MonkeyPatch) -> Upcasters:
    upcasters = Upcasters()
    upcasters.register("milepost.trial.alert_raised.v0", upcast_alert_raised)
    monkeypatch.setattr(codec, "UPCASTERS", upcasters)
    return upcasters


def recorded_v0() -> RecordedEvent:
    """An old event as the log has it: chained over its own bytes, under its own type."""
    body = v0_of_alert_raised("loss is NaN", 3210)
    event = NewEvent(
        "events.rt-1.trial.1.attempt-1", "milepost.trial.alert_raised.v0", body, "an-id", SAMPLE_TIME, "/x", "ada"
    )
    (envelope,) = seal([event], [Head("events.rt-1.trial.1.*")])
    return record_envelope(envelope, 1, SAMPLE_TIME)


def test_an_event_of_an_old_version_is_read_as_the_newest(with_v0: Upcasters) -> None:
    event = recorded_v0()
    assert decode(event.type, event.body) == AlertRaised(message="loss is NaN", step=3210)
    assert category_of(event.type) == category_of("milepost.trial.alert_raised.v1")


def test_what_is_stored_of_an_old_version_stays_as_it_was(with_v0: Upcasters) -> None:
    """The chain is over the bytes of the day they were written, not over what they are read as."""
    event = recorded_v0()
    assert verify_chain([event]) == []
    assert bundle.read_event(bundle.event_line(event)) == (event, event.hash)


def test_every_reader_takes_an_old_version(with_v0: Upcasters) -> None:
    event = recorded_v0()
    message = event_message(event)
    assert message.type == "milepost.trial.alert_raised.v0"
    assert message.trial_event.alert_raised == AlertRaised(message="loss is NaN", step=3210)
    assert "NaN" in message.message
    views = Views()
    views.apply(event)
    assert views.skipped == 0
    trials = TrialViews()
    trials.apply_event(event)
    assert trials.skipped_events == 0
    lineages = Lineages()
    lineages.apply(event)
    assert lineages.unknown_events == 0


def test_without_its_step_an_old_version_is_unknown_and_skipped() -> None:
    views = Views()
    views.apply(recorded_v0())
    assert views.skipped == 1


def _with_mark(mark: bytes, body: bytes) -> bytes:
    return body + mark


def test_steps_follow_each_other_to_the_newest_version() -> None:
    upcasters = Upcasters()
    for version in range(3):
        upcasters.register(f"milepost.trial.thing.v{version}", partial(_with_mark, str(version).encode()))
    assert upcasters.newest("milepost.trial.thing.v1", b"") == ("milepost.trial.thing.v3", b"12")
    assert upcasters.newest_type("milepost.trial.thing.v0") == "milepost.trial.thing.v3"
    assert upcasters.newest("milepost.trial.other.v1", b"x") == ("milepost.trial.other.v1", b"x")


def test_a_step_is_registered_once_and_for_a_version() -> None:
    upcasters = Upcasters()
    upcasters.register("milepost.trial.thing.v1", bytes)
    with pytest.raises(ValueError, match="already"):
        upcasters.register("milepost.trial.thing.v1", bytes)
    with pytest.raises(ValueError, match="not a type"):
        upcasters.register("thing", bytes)


def test_an_old_body_that_cannot_be_brought_up_is_unknown(with_v0: Upcasters) -> None:
    with pytest.raises(UnknownEventType, match="not readable"):
        decode("milepost.trial.alert_raised.v0", b"{")


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
