"""Who owns the steps of a branch, and of those before it."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.event.v1.common_pb2 import AncestorSteps, SnapshotOrigin
from milepost.eventlog import RecordedEvent, attempt_subject, control_subject
from milepost.eventlog.codec import encode
from services.metrics.lineage import Lineages
from services.metrics.storage.selection import StepRange, TrialRef, in_pieces, trunk_pieces

CHILD, PARENT, GRANDPARENT = (TrialRef(runtime, 1) for runtime in ("rt-c", "rt-b", "rt-a"))


def part(trial: TrialRef, attempt: int, first: int, last: int) -> AncestorSteps:
    return AncestorSteps(
        runtime_id=trial.runtime_id, trial=trial.trial, attempt=attempt, first_step=first, last_step=last
    )


TRUNK = [part(GRANDPARENT, 1, 1, 10), part(GRANDPARENT, 2, 11, 20), part(PARENT, 1, 21, 30)]


def test_what_an_heir_logged_again_at_the_step_it_began_at_counts() -> None:
    """An evaluation that a stop of the parent interrupted runs again in the branch, as it does in a resume."""
    assert trunk_pieces(TRUNK, CHILD, {30: (1,)}) == [
        StepRange(GRANDPARENT, 1, 0, 9),
        StepRange(GRANDPARENT, 1, 10, 10, (2,)),
        StepRange(GRANDPARENT, 2, 10, 19),
        StepRange(GRANDPARENT, 2, 20, 20, (1,), yields_in=PARENT),
        StepRange(PARENT, 1, 20, 29),
        StepRange(PARENT, 1, 30, 30, (1,), yields_in=CHILD),
    ]
    yielding = in_pieces([StepRange(PARENT, 1, 30, 30, (1,), yields_in=CHILD)])
    assert "NOT IN (SELECT key FROM points" in yielding.sql
    assert (yielding.parameters["p0yr"], yielding.parameters["p0yt"]) == ("rt-c", 1)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_of_each_step_there_is_one_owner_that_yields_to_nobody(lengths: list[int]) -> None:
    """Before an attempt of the branch has begun."""
    trunk, first = [], 1
    for index, length in enumerate(lengths):
        trunk.append(part(TrialRef(f"rt-{index}", 1), 1, first, first + length - 1))
        first += length
    pieces = trunk_pieces(trunk, CHILD, {})
    for step in range(first):
        owners = [piece for piece in pieces if piece.first <= step <= piece.last]
        assert len([piece for piece in owners if not piece.yields_to]) == 1


def test_a_branch_says_where_it_begins_and_a_run_that_is_none_inherits_nothing() -> None:
    lineages = Lineages()
    origin = SnapshotOrigin(runtime_id="rt-b", trial=1, attempt=1, snapshot_id="s", step=30, trunk=TRUNK)
    told = [
        (control_subject("rt-b", 1), facts.TrialCreated(runtime_id="rt-b", trial=1)),
        (control_subject("rt-c", 1), facts.TrialCreated(runtime_id="rt-c", trial=1, origin=origin)),
        (control_subject("rt-c", 1), facts.AttemptLaunched(attempt=1)),
        (attempt_subject("rt-c", 1, 1), facts.AttemptStarted(attempt=1, restored_snapshot_id="s", restored_step=30)),
    ]
    time = datetime(2026, 3, 1, tzinfo=UTC)
    for sequence, (subject, payload) in enumerate(told, 1):
        ce_type, body = encode(payload)
        lineages.apply(
            RecordedEvent(
                sequence, subject, time, ce_type, body, f"e{sequence}", time, "/t", "a", "", "", sequence, "", ""
            )
        )
    assert (lineages.branch_step(CHILD), lineages.branch_step(PARENT)) == (30, 0)
    assert (lineages.eldest(CHILD), lineages.eldest(PARENT)) == (GRANDPARENT, PARENT)
    assert lineages.inherited(CHILD)[-1] == StepRange(PARENT, 1, 30, 30, (1,), yields_in=CHILD)
    assert lineages.owned(CHILD) == [StepRange(CHILD, 1, 30)]
    assert lineages.inherited(PARENT) == []
