"""What the metric service takes from EVENTS, and what it hands to live readers and senders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from google.protobuf.message import Message

from milepost.api.config.v1 import configuration_pb2 as configuration
from milepost.api.event.v1 import runtime_events_pb2 as runtime_events
from milepost.api.event.v1 import trial_events_pb2 as trial_events
from milepost.domain.trial import Segment
from milepost.eventlog import RecordedEvent, attempt_subject, control_subject, runtime_subject
from milepost.eventlog.codec import encode
from services.metrics.checkpointing import CODEC, Checkpointing
from services.metrics.ingest.live import MAX_WAITING_ITEMS, Hub
from services.metrics.ingest.quota import MARKER_LOGGER, Usage, admit
from services.metrics.ingest.ranges import RangeSet
from services.metrics.ingest.senders import Senders
from services.metrics.lineage import Cut, Lineages
from services.metrics.storage.batches import STEPS, STORED, Batch, Line, SenderKey
from services.readmodel.checkpoints import CheckpointStore

START = datetime(2026, 3, 1, tzinfo=UTC)
CONTROL = control_subject("rt-a", 1)


def own(attempt: int) -> str:
    return attempt_subject("rt-a", 1, attempt)


def folded(*facts: tuple[str, Message], onto: Lineages | None = None, after: int = 0) -> tuple[Lineages, list[Cut]]:
    """Fold facts at the sequences 1, 2, 3..., one second apart."""
    lineages = onto or Lineages()
    cuts = []
    for sequence, (subject, payload) in enumerate(facts, after + 1):
        ce_type, body = encode(payload)
        time = START + timedelta(seconds=sequence)
        event = RecordedEvent(
            sequence, subject, time, ce_type, body, f"e{sequence}", time, "/t", "a", "", "", sequence, "", ""
        )
        cut = lineages.apply(event)
        if cut is not None:
            cuts.append(cut)
    return lineages, cuts


CREATED = (CONTROL, trial_events.TrialCreated(runtime_id="rt-a", trial=1))


def launched(attempt: int) -> tuple[str, Message]:
    return CONTROL, trial_events.AttemptLaunched(attempt=attempt)


def started(attempt: int, restored_step: int = 0) -> tuple[str, Message]:
    return own(attempt), trial_events.AttemptStarted(attempt=attempt, restored_step=restored_step)


def test_a_resume_gives_the_steps_behind_its_snapshot_to_the_new_attempt() -> None:
    lineages, cuts = folded(CREATED, launched(1), started(1), launched(2), started(2, 600))
    assert [(cut.attempt, cut.restored_step, cut.events_sequence) for cut in cuts] == [(1, 0, 3), (2, 600, 5)]
    assert lineages.lineage("rt-a", 1) == (Segment(1, 1, 600), Segment(2, 601))
    assert lineages.attempts("rt-a", 1) == [1, 2]


def test_attempts_that_went_on_from_a_step_are_known_until_a_later_one_goes_back_behind_it() -> None:
    facts: list[tuple[str, Message]] = [CREATED]
    for attempt, step in enumerate([0, 600, 600, 700, 650], 1):
        facts += [launched(attempt), started(attempt, step)]
    lineages, _ = folded(*facts)
    assert lineages.restarts("rt-a", 1) == {600: (2, 3), 650: (5,)}
    assert lineages.restarts("rt-a", 1, 9) == {600: (2, 3), 700: (4,)}
    assert lineages.restarts("rt-b", 1) == {}


def test_the_lineage_of_an_earlier_moment_knows_nothing_of_later_cuts() -> None:
    lineages, _ = folded(CREATED, launched(1), started(1), launched(2), started(2, 600))
    assert lineages.lineage("rt-a", 1, 4) == (Segment(1, 1),)
    at = int((START + timedelta(seconds=4)).timestamp() * 1000)
    assert lineages.sequence_at(at) == 3
    assert lineages.sequence_at(at + 1000) == 5
    assert lineages.sequence_at(0) == 0


def test_an_attempt_that_is_not_the_current_one_cuts_nothing() -> None:
    lineages, _ = folded(CREATED, launched(1), started(1), launched(2), started(2, 600), started(1, 10))
    assert lineages.lineage("rt-a", 1) == (Segment(1, 1, 600), Segment(2, 601))
    fence = (CONTROL, trial_events.AttemptFenced(attempt=1))
    lineages, cuts = folded(CREATED, launched(1), fence, started(1))
    assert cuts == []


def test_of_a_trial_that_the_log_does_not_know_the_first_attempt_did_everything() -> None:
    assert Lineages().lineage("rt-b", 3) == (Segment(1, 1),)


def test_quota_and_deletion_come_from_the_facts_of_the_runtime() -> None:
    subject = runtime_subject("rt-a")

    def limited(megabytes: int) -> configuration.RuntimeConfiguration:
        return configuration.RuntimeConfiguration(limits=configuration.Limits(log_megabytes=megabytes))

    lineages, _ = folded(
        (subject, runtime_events.RuntimeRequested(runtime_id="rt-a", configuration=limited(5))),
        (subject, runtime_events.ResumeRequested(configuration=limited(9))),
    )
    assert lineages.log_quota_bytes("rt-a") == 9_000_000
    assert not lineages.is_deleted("rt-a")
    lineages, _ = folded((subject, runtime_events.DeleteRequested()))
    assert lineages.is_deleted("rt-a")


def test_a_run_that_can_be_undeleted_keeps_what_comes_until_its_purge() -> None:
    subject, hidden = runtime_subject("rt-a"), runtime_events.DeleteRequested()
    hidden.purge_time.GetCurrentTime()
    lineages, _ = folded((subject, hidden))
    assert not lineages.is_deleted("rt-a")
    lineages, _ = folded((subject, hidden), (subject, runtime_events.PurgeStarted()))
    assert lineages.is_deleted("rt-a")
    lineages, _ = folded((subject, hidden), (subject, runtime_events.DeleteRequested()))
    assert lineages.is_deleted("rt-a")


async def test_lineages_from_a_checkpoint_and_the_rest_of_the_log_are_those_of_the_whole_log(tmp_path: Path) -> None:
    """A checkpoint of another stream, or of more than the log has, does not count."""
    limits = configuration.Limits(log_megabytes=5)
    best = configuration.SnapshotPolicy(keep_best=configuration.KeepBest(metric="x"))
    requested = runtime_events.RuntimeRequested(
        runtime_id="rt-a", configuration=configuration.RuntimeConfiguration(limits=limits, snapshots=best)
    )
    facts = [(runtime_subject("rt-a"), requested), CREATED, launched(1), started(1), launched(2), started(2, 600)]
    facts += [launched(3), started(3, 600), (runtime_subject("rt-b"), runtime_events.DeleteRequested())]
    whole, _ = folded(*facts)
    for end in range(1, len(facts) + 1):
        store = CheckpointStore(tmp_path / str(end), CODEC.form)
        first, _ = folded(*facts[:end])
        keeping = Checkpointing(store)
        await keeping.restore(Lineages(), 7, 0)
        await keeping.write(first)
        restored = Lineages()
        await Checkpointing(store).restore(restored, 7, end)
        assert restored.sequence == end
        folded(*facts[end:], onto=restored, after=end)
        assert list(restored.histories()) == list(whole.histories())
        at = int((START + timedelta(seconds=6.5)).timestamp() * 1000)
        assert restored.sequence_at(at) == whole.sequence_at(at)
        for stream, last in ((8, end), (7, end - 1)):
            other = Lineages()
            await Checkpointing(store).restore(other, stream, last)
            assert other.sequence == 0


# --- live readers ---------------------------------------------------------------------------------------------------


def batch(sequence: int, items: int = 1, trial: int = 1) -> Batch:
    return Batch(sequence, 0, SenderKey("rt-a", trial, 1, "rank-0"), sequence, STORED, items)


def test_a_reader_gets_the_batches_of_its_trials_in_order() -> None:
    watched: list[tuple[str, int]] = []
    hub = Hub(watched.append)
    reader, other = hub.subscribe([("rt-a", 1)]), hub.subscribe([("rt-a", 0)])
    for sequence in (1, 2):
        hub.publish(batch(sequence))
    hub.publish(batch(3, trial=2))
    assert [b.sequence for b in reader.take_now()] == [1, 2]
    assert [b.sequence for b in other.take_now()] == [1, 2, 3]
    assert watched == [("rt-a", 1), ("rt-a", 0)]
    reader.close()
    other.close()
    assert not hub.is_watched("rt-a", 1)


def test_a_reader_that_does_not_read_holds_a_bounded_number_of_points() -> None:
    hub = Hub()
    reader = hub.subscribe([("rt-a", 1)])
    for sequence in range(20):
        hub.publish(batch(sequence, MAX_WAITING_ITEMS // 10))
    assert reader.overflowed
    assert reader.take_now() == []
    reader.restart()
    hub.publish(batch(99))
    assert [b.sequence for b in reader.take_now()] == [99]


# --- senders --------------------------------------------------------------------------------------------------------


def test_a_number_is_accepted_once_and_told_when_it_is_stored() -> None:
    senders = Senders(clock=lambda: 1.0)
    key, sender = ("rt-a", 1, 1), SenderKey("rt-a", 1, 1, "rank-0")
    assert senders.missing(STEPS, [key, key]) == [key]
    senders.load(STEPS, [key], {sender: RangeSet([(1, 5)])})
    assert senders.missing(STEPS, [key]) == []
    assert [senders.accept(STEPS, sender, number) for number in (5, 6, 6)] == [False, True, False]
    assert [(r.first, r.last) for r in senders.message(key, watched=True).ranges] == [(1, 5)]
    senders.settle(STEPS, sender, 6)
    assert [(r.first, r.last) for r in senders.message(key, watched=True).ranges] == [(1, 6)]
    assert senders.recent() == [key]


# --- quota ----------------------------------------------------------------------------------------------------------


def line(text: str, index: int = 0) -> Line:
    return Line(index, 1, 2, 0, 1, 7, "", text, "")


def test_lines_behind_the_quota_are_counted_and_marked_once_a_trial() -> None:
    usage = Usage()
    first = admit(usage, 1, [line("12345"), line("67890", 1), line("x", 2)], 10, 0)
    assert [stored.text for stored in first.lines[:2]] == ["12345", "67890"]
    assert (first.lines[2].logger, first.lines[2].index, first.over_quota) == (MARKER_LOGGER, 3, 1)
    again = admit(usage, 1, [line("y")], 10, 0)
    assert (again.lines, again.over_quota) == ([], 1)
    assert len(admit(usage, 2, [line("z")], 10, 0).lines) == 1
