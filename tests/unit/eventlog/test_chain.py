"""The hash chain: what it covers, and how a change in it is found."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.eventlog import Head, NewEvent, RecordedEvent, attempt_subject, control_subject, runtime_subject
from milepost.eventlog.codec import HASHED_HEADERS, chain_hash
from milepost.eventlog.envelope import NotAnEvent, record, record_envelope, seal
from milepost.eventlog.memory import MemoryLog
from milepost.eventlog.proof.chain import (
    EMPTY_DIGEST,
    LISTED_ODDITIES,
    MIN_RANGES,
    ChainVerifier,
    Finding,
    Oddities,
    UnreadableMessage,
    roll,
    verify_chain,
)
from tests.support.trainers.events import new_event, new_events

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TRIAL = "events.rt-1.trial.1.*"


def history(count: int = 6) -> list[RecordedEvent]:
    envelopes = seal(new_events(count, "rt-1"), [Head(TRIAL)])
    return [record_envelope(envelope, index, NOW) for index, envelope in enumerate(envelopes, 1)]


def test_of_many_oddities_each_is_named() -> None:
    """Every second of ten thousand messages, in no run that would shorten the list."""
    subject, oddities = attempt_subject("rt-1", 1, 1), Oddities()
    for sequence in range(1, 10_001, 2):
        oddities.add(Finding("unreadable", sequence, subject, "no event", tolerated=True))
    (finding,) = oddities.findings()
    listed = finding.message.removeprefix("5,000 messages: ").removesuffix("; the first: no event")
    assert [int(text) for text in listed.split(", ")] == list(range(1, 10_001, 2))


def test_what_is_listed_of_very_many_subjects_has_a_bound() -> None:
    oddities = Oddities()
    for attempt in range(1, 601):
        for sequence in range(1, 1_001, 2):
            subject = attempt_subject("rt-1", 1, attempt)
            oddities.add(Finding("unreadable", sequence, subject, "no event", tolerated=True))
    *listed, more = oddities.findings()
    assert (len(listed), more.message) == (LISTED_ODDITIES, "and 100 more subjects of attempts")
    assert all(finding.message.count(", ") < 2 * MIN_RANGES for finding in listed)
    assert "300 more ranges" in listed[0].message


def kinds(events: list[RecordedEvent]) -> list[tuple[str, int]]:
    return [(finding.kind, finding.sequence) for finding in verify_chain(events)]


def test_the_hash_is_the_one_that_logs_have() -> None:
    """Given headers and a body, the digest is fixed for ever: other programs compute it too."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "01890000-0000-7000-8000-000000000001",
        "ce-type": "milepost.trial.epoch_completed.v1",
        "ce-source": "/tests",
        "ce-subject": "events.rt-1.trial.1.control",
        "ce-time": "2026-03-01T12:00:00.000000Z",
        "mp-actor": "zoë",
        "mp-version": "1",
        "Nats-Msg-Id": "not covered",
    }
    assert chain_hash(headers, b"body") == "e63d3820254198f3abbaacb2f40b8e1bbb2529e6d3194d5544c7d31016df46f9"
    linked = {
        **headers,
        "mp-version": "2",
        "mp-prev": "e63d3820254198f3abbaacb2f40b8e1bbb2529e6d3194d5544c7d31016df46f9",
    }
    assert chain_hash(linked, b"") == "abe25ec795c64a570dc47e62121956d0286cc00812ac76dde5b03936ff4ab91d"


def test_the_rolling_digest_is_the_one_that_anchors_have() -> None:
    message = UnreadableMessage(1, "events.rt-1.runtime", NOW, "ab" * 32, "for the test")
    assert EMPTY_DIGEST == "d0d057f5db72963d3ddbb243a5247a786b8bb4483d8d938105461108eab10498"
    assert roll(EMPTY_DIGEST, message) == "bf788c2b281c857a3a11cdbeef0b7fd4fe010722c0b14083d28dfbfda37d8086"


@pytest.mark.parametrize("name", HASHED_HEADERS)
def test_every_listed_header_counts_in_the_hash(name: str) -> None:
    headers = dict.fromkeys(HASHED_HEADERS, "value")
    assert chain_hash(headers, b"") != chain_hash({**headers, name: "valuf"}, b"")
    assert chain_hash({**headers, name: ""}, b"") == chain_hash({k: v for k, v in headers.items() if k != name}, b"")


@given(
    st.dictionaries(st.sampled_from(HASHED_HEADERS), st.text()), st.integers(0, 10), st.text(max_size=3), st.binary()
)
def test_text_cannot_be_moved_from_one_header_to_the_next(
    headers: dict[str, str], index: int, moved: str, body: bytes
) -> None:
    name = HASHED_HEADERS[index]
    following = HASHED_HEADERS[(index + 1) % len(HASHED_HEADERS)]
    one = {**headers, name: headers.get(name, "") + moved}
    other = {**headers, following: moved + headers.get(following, "")}
    same = all(one.get(n, "") == other.get(n, "") for n in HASHED_HEADERS)
    assert (chain_hash(one, body) == chain_hash(other, body)) == same


def as_described(headers: dict[str, str], body: bytes) -> str:
    """Hash as `chain_hash` and docs say it, piece by piece."""
    pieces = [piece for name in HASHED_HEADERS for piece in (name, headers.get(name, ""))]
    texts = [*(piece.encode("utf-8", "replace") for piece in pieces), body]
    return hashlib.sha256(b"".join(len(text).to_bytes(8, "big") + text for text in texts)).hexdigest()


@given(
    st.dictionaries(
        st.sampled_from(HASHED_HEADERS),
        st.text() | st.text(st.characters(max_codepoint=127), max_size=8).map(lambda text: text * 40),
    ),
    st.binary(),
)
def test_the_hash_is_the_described_one_for_any_text(headers: dict[str, str], body: bytes) -> None:
    assert chain_hash(headers, body) == as_described(headers, body)


@pytest.mark.parametrize("size", [127, 128, 255, 256, 257, 2048])
@pytest.mark.parametrize("letter", ["a", "é", "€"])
def test_the_hash_is_the_described_one_for_any_length(size: int, letter: str) -> None:
    headers = dict.fromkeys(HASHED_HEADERS, "value") | {"mp-actor": letter * size}
    assert chain_hash(headers, b"body") == as_described(headers, b"body")


def test_an_honest_history_has_no_findings() -> None:
    assert kinds(history()) == []
    verifier = ChainVerifier(after=0)
    assert [finding for event in history() for finding in verifier.check(event)] == []
    assert verifier.checked == 6


def test_several_chains_are_checked_in_one_pass() -> None:
    events: list[NewEvent] = []
    for number in range(5):
        events += [
            new_event(runtime_subject("rt-1")),
            new_event(control_subject("rt-1", 1)),
            new_event(attempt_subject("rt-1", 1, number + 1)),
        ]
    envelopes = seal(events, [Head("events.rt-1.runtime"), Head(TRIAL)])
    recorded = [record_envelope(envelope, index, NOW) for index, envelope in enumerate(envelopes, 1)]
    assert verify_chain(recorded) == []
    found = verify_chain([*recorded[:7], *recorded[8:]])
    assert [(f.kind, f.sequence, f.tolerated) for f in found] == [("unlinked", 9, True)]


@pytest.mark.parametrize("index", range(5))
def test_a_changed_event_is_found_by_the_one_behind_it(index: int) -> None:
    events = history()
    events[index] = replace(events[index], hash=chain_hash({}, b"changed"))
    assert kinds(events) == [("hash_chain", index + 1)]


@pytest.mark.parametrize("index", range(5))
def test_a_removed_event_is_found(index: int) -> None:
    events = history()
    del events[index]
    assert kinds(events) == [("version_gap", index + 2), ("hash_chain", index + 2)]


def test_swapped_events_are_found() -> None:
    events = history()
    events[2], events[3] = events[3], events[2]
    assert kinds(events)[0] == ("version_gap", 4)


def test_a_repeated_event_is_found() -> None:
    events = history()
    events.insert(3, events[2])
    assert kinds(events) == [("version_gap", 3), ("hash_chain", 3)]


def test_a_history_that_lost_its_beginning_is_found() -> None:
    assert kinds(history()[2:]) == [("version_gap", 3), ("hash_chain", 3)]


def test_a_check_that_begins_in_the_middle_takes_the_first_event_as_it_is() -> None:
    events = history()
    verifier = ChainVerifier(partial=True, after=2)
    assert [finding for event in events[2:] for finding in verifier.check(event)] == []
    verifier = ChainVerifier(partial=True)
    spoiled = [events[2], replace(events[3], hash="00" * 32), *events[4:]]
    assert [f.sequence for event in spoiled for f in verifier.check(event)] == [4]


def test_a_check_can_go_on_from_known_heads() -> None:
    events = history()
    verifier = ChainVerifier({TRIAL: events[2].head}, after=3)
    assert [finding for event in events[3:] for finding in verifier.check(event)] == []


def test_a_gap_between_sequences_is_named_with_its_first_sequence() -> None:
    events = history()
    later = [replace(event, sequence=event.sequence + (4 if index > 2 else 0)) for index, event in enumerate(events)]
    verifier = ChainVerifier(after=0)
    findings = [finding for event in later for finding in verifier.check(event)]
    assert [(f.kind, f.sequence, f.message) for f in findings] == [
        ("sequence_gap", 4, "4 messages are missing before 8")
    ]


def test_a_message_that_is_no_event_is_found() -> None:
    events: list[RecordedEvent | UnreadableMessage] = list(history())
    events.append(UnreadableMessage(7, "events.rt-1.runtime", NOW, "00" * 32, "no headers"))
    assert [(f.kind, f.sequence) for f in verify_chain(events)] == [("unreadable", 7)]


def test_an_event_moved_to_another_subject_is_no_event() -> None:
    (envelope,) = seal(new_events(1, "rt-1"), [Head(TRIAL)])
    with pytest.raises(NotAnEvent):
        record(1, "events.rt-2.trial.1.control", envelope.headers, envelope.body, NOW)


@pytest.mark.parametrize("name", ["ce-id", "ce-type", "ce-time", "mp-version", "mp-actor"])
def test_an_event_without_a_header_that_all_have_is_no_event(name: str) -> None:
    (envelope,) = seal(new_events(1, "rt-1"), [Head(TRIAL)])
    headers = {key: value for key, value in envelope.headers.items() if key != name}
    with pytest.raises(NotAnEvent):
        record(1, envelope.subject, headers, envelope.body, NOW)


@given(st.data())
def test_the_rolling_digest_changes_with_everything_a_reader_sees(data: st.DataObject) -> None:
    event = history(1)[0]
    change: dict[str, Any] = data.draw(
        st.sampled_from(
            [
                {"sequence": 2},
                {"subject": "events.rt-1.trial.1.attempt-1"},
                {"recorded_time": NOW + timedelta(microseconds=1)},
                {"hash": "00" * 32},
            ]
        )
    )
    assert roll(EMPTY_DIGEST, replace(event, **change)) != roll(EMPTY_DIGEST, event)


async def test_what_the_log_in_memory_holds_verifies() -> None:
    log = MemoryLog()
    head = Head(TRIAL)
    for count in (1, 3, 2):
        head = (await log.append(new_events(count, "rt-1"), [head])).heads[TRIAL]
    assert verify_chain([event async for event in log.read()]) == []
