"""What a script is told of decisions that were made about it."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.training.script.attempt.verdict import Verdict

LAUNCHED = facts.AttemptLaunched(attempt=1)
FENCED = facts.AttemptFenced(attempt=1, detail="it did not stop before the deadline")
NEXT = facts.AttemptLaunched(attempt=2, process=common.ProcessIdentity(host="far", process_id=7))


def verdict(*payloads: Message) -> Verdict:
    made = Verdict(1)
    for payload in payloads:
        made.note(payload)
    return made


@pytest.mark.parametrize(
    ("payloads", "words"),
    [
        ((LAUNCHED, facts.TrialStopRequested(reason="enough"), FENCED), "this run was stopped (enough); what it did"),
        ((LAUNCHED, facts.TrialStopRequested(), FENCED, NEXT), "this run was stopped; what it did"),
        ((LAUNCHED, FENCED, NEXT), "attempt 2 goes on with this run in process 7 on far; nothing more"),
        ((LAUNCHED, FENCED, facts.AttemptLaunched(attempt=2)), "attempt 2 goes on with this run; nothing more"),
        ((LAUNCHED, FENCED), "this run was given up: it did not stop before the deadline; nothing more"),
        # A stop of the next attempt is not one of this.
        ((LAUNCHED, FENCED, NEXT, facts.TrialStopRequested(reason="enough")), "attempt 2 goes on with this run"),
    ],
)
def test_a_script_is_told_who_ended_its_attempt(payloads: tuple[Message, ...], words: str) -> None:
    told = verdict(*payloads)
    assert told.is_given_up
    assert told.words().startswith(words)


def test_an_attempt_that_said_its_own_end_was_not_given_up() -> None:
    assert not verdict(LAUNCHED, facts.AttemptEnded(attempt=1), facts.TrialCompleted(attempt=1), NEXT).is_given_up
    assert not verdict(LAUNCHED, facts.TrialStopRequested()).is_given_up
