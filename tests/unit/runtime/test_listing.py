"""Lists that are kept and changed little by little are the lists that sorting everything anew would give."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.errors import InvalidArgument
from milepost.eventlog import RecordedEvent, codec, control_subject, runtime_subject
from services.runtime import keeping, listing, views
from services.runtime.keeping import Keeping, digest
from services.runtime.shelf import Written
from services.runtime.views import Views
from tests.unit.domain.given import NOW

NAMES = tuple(f"rt-{letter}" for letter in "abcdef")
QUERIES = [
    {"order_by": order, "filter": text, "show_deleted": deleted}
    for order in ("", "create_time", "create_time desc", "display_name", "status")
    for text in ("", "status=Completed", "label.team=a", "phase=RUNNING")
    for deleted in (False, True)
]
# What may happen to a runtime, in any order: what has no right to happen then changes nothing.
HAPPENINGS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 8)), max_size=40)


class Story:
    """Views, and events that happen to them one after the other."""

    def __init__(self) -> None:
        self.views = Views()

    def happen(self, runtime_id: str, kind: int) -> None:
        subject = control_subject(runtime_id, 1) if kind in (1, 2) else runtime_subject(runtime_id)
        sequence = self.views.sequence + 1
        time = NOW + timedelta(seconds=sequence)
        ce_type, body = codec.encode(_payload(runtime_id, kind))
        event = RecordedEvent(
            sequence, subject, time, ce_type, body, f"id-{sequence}", time, "", "ada", "", "", 1, "", ""
        )
        self.views.apply(event)

    def complete(self, runtime_id: str) -> None:
        for kind in (0, 1, 3, 2, 4, 5, 6):
            self.happen(runtime_id, kind)


def _payload(runtime_id: str, kind: int) -> Message:
    configuration = RuntimeConfiguration(name=f"run {runtime_id[-1] in 'ace'}", labels={"team": runtime_id[-1]})
    payloads: list[Message] = [
        runtime_facts.RuntimeRequested(runtime_id=runtime_id, configuration=configuration, trial_count=1),
        facts.TrialCreated(runtime_id=runtime_id, trial=1),
        facts.AttemptLaunched(attempt=1),
        runtime_facts.ResourcesAllocated(cpus=1),
        runtime_facts.RuntimeStarted(),
        runtime_facts.RuntimeCompleted(),
        runtime_facts.ResourcesReleased(),
        runtime_facts.DeleteRequested(),
        runtime_facts.ResumeRequested(trials=[1]),
    ]
    return payloads[kind]


def pages(lists: listing.Lists, **query: object) -> Iterator[api.ListRuntimesResponse]:
    token = ""
    while True:
        answer = lists.page(api.ListRuntimesRequest(page_size=2, page_token=token, **query))  # type: ignore[arg-type]
        yield answer
        token = answer.next_page_token
        if not token:
            return


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS)
def test_a_list_that_was_kept_is_the_list_that_is_sorted_anew(happenings: list[tuple[str, int]]) -> None:
    story = Story()
    kept = listing.Lists(story.views)
    for runtime_id, kind in happenings:
        story.happen(runtime_id, kind)
        query = QUERIES[(story.views.sequence * 7) % len(QUERIES)]
        assert list(pages(kept, **query)) == list(pages(listing.Lists(story.views), **query))
    for query in QUERIES:
        assert list(pages(kept, **query)) == list(pages(listing.Lists(story.views), **query))


@settings(max_examples=40, deadline=None)
@given(HAPPENINGS)
def test_counts_are_those_of_counting_everything(happenings: list[tuple[str, int]]) -> None:
    story = Story()
    for runtime_id, kind in happenings:
        story.happen(runtime_id, kind)
    known = [one for one in story.views.runtimes.values() if one.state.exists]
    shown = [one.state.status.value for one in known if not one.state.deleting and one.state.status is not None]
    counts = listing.Lists(story.views).page(api.ListRuntimesRequest()).status_counts
    assert {word: count for word, count in counts.items() if count} == {word: shown.count(word) for word in shown}
    active = [one for one in known if one.state.phase is not None and one.state.phase.value not in ("ENDED", "DELETED")]
    assert [one.runtime_id for one in story.views.active()] == [
        one.runtime_id for one in sorted(active, key=lambda one: one.created.sequence if one.created else 0)
    ]


def test_more_changes_than_are_remembered_are_sorted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "REMEMBERED_CHANGES", 3)
    story = Story()
    kept = listing.Lists(story.views)
    list(pages(kept))
    for runtime_id in NAMES:
        story.complete(runtime_id)
    assert story.views.list_changes(0) is None
    assert list(pages(kept)) == list(pages(listing.Lists(story.views)))


async def test_runtimes_at_rest_stay_written_after_a_restart_until_somebody_asks_for_them(tmp_path: Path) -> None:
    story = Story()
    for runtime_id in NAMES[:4]:
        story.complete(runtime_id)
    for kind in (0, 1, 3):
        story.happen(NAMES[4], kind)
    await Keeping(tmp_path, story.views, 7).write()
    again = Story()
    await Keeping(tmp_path, again.views, 7).restore(story.views.sequence)

    lists = listing.Lists(again.views)
    assert [one.runtime_id for one in again.views.active()] == [NAMES[4]]
    assert lists.page(api.ListRuntimesRequest(page_size=2)) == listing.Lists(story.views).page(
        api.ListRuntimesRequest(page_size=2)
    )
    written = [entry.summary.runtime_id for entry in again.views.runtimes.entries() if isinstance(entry, Written)]
    assert written == list(NAMES[:3]), "the page opened the newest that ended, and no other"
    assert digest(again.views) == digest(story.views)

    # What happens to one that was not open happens as if it had never been written down.
    for happened in (story, again):
        happened.happen(NAMES[0], 7)
    assert digest(again.views) == digest(story.views)
    assert list(pages(lists, show_deleted=True)) == list(pages(listing.Lists(story.views), show_deleted=True))


async def test_what_changes_while_a_checkpoint_is_encoded_is_in_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "SLICE", 2)
    story = Story()
    for runtime_id in NAMES:
        story.complete(runtime_id)
    writing = asyncio.create_task(Keeping(tmp_path, story.views, 7).write())
    await asyncio.sleep(0)
    story.happen(NAMES[0], 7)
    await writing
    again = Views()
    await Keeping(tmp_path, again, 7).restore(story.views.sequence)
    assert again.sequence == story.views.sequence
    assert digest(again) == digest(story.views)


async def test_a_watch_tells_everything_once_in_the_order_of_the_changes() -> None:
    story = Story()
    for runtime_id in NAMES:
        story.complete(runtime_id)
    story.happen(NAMES[1], 7)
    told: list[tuple[str, int]] = []
    async for answer in listing.watch(story.views, "", "", 1):
        if answer.caught_up:
            break
        told.append((answer.runtime.runtime_id, answer.sequence))
        if len(told) == 2:
            story.happen(NAMES[5], 7)
    assert [name for name, _ in told] == [NAMES[0], NAMES[2], NAMES[3], NAMES[4], NAMES[1]]
    assert [sequence for _, sequence in told] == sorted(sequence for _, sequence in told)


def test_a_page_token_of_other_types_is_refused() -> None:
    story = Story()
    story.complete(NAMES[0])
    lists = listing.Lists(story.views)
    token = listing.write_token(["", "create_time", False], ["text where a number belongs"])
    with pytest.raises(InvalidArgument, match="page_token"):
        lists.page(api.ListRuntimesRequest(order_by="create_time", page_token=token))
