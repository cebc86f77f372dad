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
from milepost.configuration.words import LAUNCHERS
from milepost.errors import InvalidArgument
from milepost.eventlog import RecordedEvent, codec, control_subject, runtime_subject
from services.pages import write_token
from services.runtime.readmodel import checkpointing, listing, views
from services.runtime.readmodel.checkpointing import Checkpointing, digest
from services.runtime.readmodel.view import Written
from services.runtime.readmodel.views import Views
from tests.unit.domain.given import NOW

NAMES = tuple(f"rt-{letter}" for letter in "abcdef")
QUERIES = [
    {"order_by": order, "filter": text, "show_deleted": deleted}
    for order in ("", *listing._ORDERS)
    for text in ("", "status=Completed", "label.team=a", "phase=RUNNING")
    for deleted in (False, True)
]
# What a gRPC client takes that was not told otherwise.
DEFAULT_CLIENT_BYTES = 4 << 20
# What may happen to a runtime, in any order: what has no right to happen then changes nothing.
HAPPENINGS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 8)), max_size=40)


class Story:
    """Views, and events that happen to them one after the other."""

    def __init__(self) -> None:
        self.views = Views()

    def happen(self, runtime_id: str, kind: int) -> None:
        subject = control_subject(runtime_id, 1) if kind in (1, 2) else runtime_subject(runtime_id)
        self.happen_with(subject, _payload(runtime_id, kind))

    def take(self, payload: Message, runtime_id: str) -> None:
        self.happen_with(runtime_subject(runtime_id), payload)

    def happen_with(self, subject: str, payload: Message) -> None:
        sequence = self.views.sequence + 1
        time = NOW + timedelta(seconds=sequence)
        ce_type, body = codec.encode(payload)
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
    await Checkpointing(tmp_path, story.views, 7).write()
    again = Story()
    await Checkpointing(tmp_path, again.views, 7).restore(story.views.sequence)

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
    monkeypatch.setattr(checkpointing, "SLICE", 2)
    story = Story()
    for runtime_id in NAMES:
        story.complete(runtime_id)
    writing = asyncio.create_task(Checkpointing(tmp_path, story.views, 7).write())
    await asyncio.sleep(0)
    story.happen(NAMES[0], 7)
    await writing
    again = Views()
    await Checkpointing(tmp_path, again, 7).restore(story.views.sequence)
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


def wait(story: Story, runtime_id: str, priority: int = 0, launcher: str = "local") -> None:
    """Let a runtime be requested that waits for resources."""
    configuration = RuntimeConfiguration(priority=priority, launcher=LAUNCHERS[launcher])
    story.take(runtime_facts.RuntimeRequested(runtime_id=runtime_id, configuration=configuration), runtime_id)


def places(story: Story) -> dict[str, int]:
    answer = listing.Lists(story.views).page(api.ListRuntimesRequest())
    return {one.runtime_id: story.views.queue.position(one.runtime_id) for one in answer.runtimes}


def test_places_in_the_queue_follow_from_who_waits() -> None:
    story = Story()
    for runtime_id, priority, launcher in (("a", 0, "local"), ("b", 0, "local"), ("c", 5, "local"), ("d", 0, "ray")):
        wait(story, runtime_id, priority, launcher)
    assert places(story) == {"a": 2, "b": 3, "c": 1, "d": 1}
    story.take(runtime_facts.ResourcesAllocated(cpus=1), "c")
    assert places(story) == {"a": 1, "b": 2, "c": 0, "d": 1}
    story.take(runtime_facts.StopRequested(), "a")
    assert places(story) == {"a": 0, "b": 1, "c": 0, "d": 1}


async def test_places_survive_a_checkpoint(tmp_path: Path) -> None:
    story = Story()
    for runtime_id in NAMES:
        wait(story, runtime_id)
    await Checkpointing(tmp_path, story.views, 7).write()
    again = Views()
    await Checkpointing(tmp_path, again, 7).restore(story.views.sequence)
    assert [again.queue.position(name) for name in NAMES] == list(range(1, len(NAMES) + 1))


async def test_who_watches_a_runtime_hears_that_it_moves_up_and_lists_are_not_told_of_each() -> None:
    """Nothing is appended for it: positions of a long queue would be most of the log."""
    story = Story()
    for runtime_id in ("a", "b", "c"):
        wait(story, runtime_id)
        story.take(runtime_facts.ResourcesPending(reason=runtime_facts.PENDING_REASON_BEHIND_OTHERS), runtime_id)
    watching, all_of_them = listing.watch(story.views, "c", "", 0), listing.watch(story.views, "", "", 0)
    assert (await anext(watching)).runtime.queue_position == 3
    assert (await anext(watching)).caught_up
    told = [(await anext(all_of_them)).runtime.queue_position for _ in range(3)]
    assert told == [1, 2, 3] and (await anext(all_of_them)).caught_up
    for runtime_id, position in (("a", 2), ("b", 1)):
        story.take(runtime_facts.ResourcesAllocated(cpus=1), runtime_id)
        answer = await asyncio.wait_for(anext(watching), 5)
        assert (answer.runtime.runtime_id, answer.runtime.queue_position) == ("c", position)
        assert answer.sequence == answer.runtime.sequence == 6
        assert (await asyncio.wait_for(anext(all_of_them), 5)).runtime.runtime_id == runtime_id


def test_a_page_token_of_other_types_is_refused() -> None:
    story = Story()
    story.complete(NAMES[0])
    lists = listing.Lists(story.views)
    token = write_token(["", "create_time", False], ["text where a number belongs"])
    with pytest.raises(InvalidArgument, match="page_token"):
        lists.page(api.ListRuntimesRequest(order_by="create_time", page_token=token))


@given(st.lists(st.text(st.characters(min_codepoint=1)), unique=True))
def test_texts_sort_the_other_way_round_too(texts: list[str]) -> None:
    assert sorted(texts, key=listing._backwards) == sorted(texts, reverse=True)


def test_a_page_of_large_runtimes_shrinks_until_a_client_takes_it() -> None:
    """Each has parameters of some 250 kB; all come, over as many pages as it takes."""
    story = Story()
    large = RuntimeConfiguration(parameters={f"p{number}": f'"{"x" * 16_000}"' for number in range(16)})
    ids = [f"rt-{number}" for number in range(30)]
    for runtime_id in ids:
        story.happen_with(
            runtime_subject(runtime_id), runtime_facts.RuntimeRequested(runtime_id=runtime_id, configuration=large)
        )
    lists, token = listing.Lists(story.views), ""
    found: list[str] = []
    while len(found) < len(ids):
        answer = lists.page(api.ListRuntimesRequest(page_size=1_000, page_token=token, order_by="create_time"))
        assert answer.ByteSize() < DEFAULT_CLIENT_BYTES
        assert answer.total_size == len(ids)
        found += [runtime.runtime_id for runtime in answer.runtimes]
        token = answer.next_page_token
        assert bool(token) == (len(found) < len(ids))
    assert found == ids
