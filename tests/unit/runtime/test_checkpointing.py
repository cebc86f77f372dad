"""Views that were written down and read again, or folded again from the log, are the views that were."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.configuration import resolve
from milepost.domain import runtime, trial
from milepost.eventlog import NewEvent, attempt_subject, codec
from milepost.eventlog.memory import MemoryLog
from milepost.ids import new_event_id
from services.runtime.decisions import Cause, Decisions
from services.runtime.readmodel.checkpointing import Checkpointing, digest
from services.runtime.readmodel.events import Events
from services.runtime.readmodel.pieces import LARGE
from services.runtime.readmodel.views import Views
from tests.unit.domain.given import NOW, at
from tests.unit.runtime.world import configuration

# A data directory of an earlier build.
EARLIER = Path(__file__).parents[2] / "golden" / "data-directory.tar.xz"
BEHIND = Cause("local:ada", "request:1")


class Desk:
    """Views that follow a log in memory, and decisions on both."""

    def __init__(self) -> None:
        self.log = MemoryLog(lambda: NOW)
        self.views = Views()
        self.decisions = Decisions(self.log, self.views, lambda: NOW)

    async def live(self, runtime_id: str, end: object) -> None:
        """Let a runtime run, take a snapshot, be fenced, and end in some way."""
        request = runtime.RequestRuntime(runtime_id, "text", configuration(), "sha256:a", 1)
        commands: dict[int | None, list[object]] = {
            None: [request],
            1: [trial.CreateTrial(runtime_id, 1, {"x": "1"}, {})],
        }
        await self.decisions.decide(runtime_id, commands, BEHIND)
        allocation = runtime.Allocation(1.0, 0.5, (0,), "here", 1.0)
        await self.decide(runtime_id, None, runtime.AllocateResources(allocation), runtime.ReportStarted())
        await self.decide(runtime_id, 1, trial.LaunchAttempt(1, None))
        await self.says(runtime_id, facts.AttemptStarted(attempt=1))
        await self.says(runtime_id, facts.InstanceStarted(attempt=1, rank=0))
        await self.says(runtime_id, facts.InstanceReadinessChanged(attempt=1, rank=0, ready=True))
        await self.says(
            runtime_id, facts.SnapshotCommitted(attempt=1, snapshot_id="s5", step=5, metrics={"a": float("nan")})
        )
        await self.decide(runtime_id, 1, trial.ReportInstanceHealth(1, 0, common.HEALTH_DEGRADED, "late"))
        await self.decide(runtime_id, 1, end)

    async def decide(self, runtime_id: str, number: int | None, *commands: object) -> None:
        await self.decisions.decide(runtime_id, {number: list(commands)}, BEHIND)

    async def says(self, runtime_id: str, payload: object) -> None:
        ce_type, body = codec.encode(payload)  # type: ignore[arg-type]
        subject = attempt_subject(runtime_id, 1, 1)
        event = NewEvent(subject, ce_type, body, new_event_id(), NOW, "/test", "trainer")
        head = self.views.runtimes[runtime_id].trials[1].head
        await self.views.wait_for((await self.log.append([event], [head])).sequences[-1])


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    following = asyncio.create_task(desk.views.follow(desk.log))
    ends = [
        trial.FenceAttempt(1, facts.FENCE_REASON_LOST, common.EXIT_CAUSE_LOST, "silent", 9),
        trial.StopTrial(common.STOP_MODE_GRACEFUL, at(60), "enough"),
        trial.RaiseAlert(facts.AlertRaised(attempt=1, kind=facts.ALERT_KIND_NO_PROGRESS, step=5)),
    ]
    for number, end in enumerate(ends):
        await desk.live(f"rt-{number}", end)
    await desk.decide("rt-0", 1, trial.ScheduleRetry(1, 2, at(5), common.EXIT_CAUSE_LOST, "silent"))
    await desk.decide("rt-0", None, runtime.StopRuntime(common.STOP_MODE_ABRUPT, at(1), "done"))
    yield desk
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def fold_again(desk: Desk) -> Views:
    views = Views()
    async for event in desk.log.read():
        views.apply(event)
    return views


async def test_views_folded_again_are_equal_byte_for_byte(desk: Desk) -> None:
    assert digest(await fold_again(desk)) == digest(desk.views)


async def test_views_read_from_a_checkpoint_are_equal_byte_for_byte(desk: Desk, tmp_path: Path) -> None:
    await Checkpointing(tmp_path, desk.views, 7).write()
    views = Views()
    await Checkpointing(tmp_path, views, 7).restore(desk.views.sequence)
    assert views.sequence == desk.views.sequence
    assert digest(views) == digest(desk.views)
    assert views.runtimes["rt-0"] == desk.views.runtimes["rt-0"]


async def test_a_checkpoint_of_another_stream_or_from_beyond_the_end_does_not_count(desk: Desk, tmp_path: Path) -> None:
    await Checkpointing(tmp_path, desk.views, 7).write()
    for stream, end in ((8, desk.views.sequence), (7, desk.views.sequence - 1)):
        views = Views()
        await Checkpointing(tmp_path, views, stream).restore(end)
        assert views.runtimes == {}


async def test_a_checkpoint_of_an_earlier_build_is_passed_over_and_the_log_gives_the_same(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a cache: folding from the first event takes time and changes nothing, and the next start begins from a new one."""
    with tarfile.open(EARLIER) as archive:
        written = [one for one in archive if "/checkpoints/runtime/" in one.name]
        archive.extractall(tmp_path, written, filter="data")
    (folder,) = tmp_path.rglob("checkpoints/runtime")
    # Of this stream, and the log goes beyond it: nothing but its layout is in the way.
    (stream,) = {json.loads(one.read_bytes().partition(b"\n")[0])["position"]["stream"] for one in folder.iterdir()}
    for place, path in enumerate(sorted(folder.iterdir()), 1):
        path.rename(folder / f"{place:020d}.checkpoint")
    views = Views()
    keeping = Checkpointing(folder, views, stream)
    await keeping.restore(desk.views.sequence)
    assert views.sequence == 0 and not views.runtimes
    assert [record.message for record in caplog.records] == ["checkpoint.unreadable"] * len(written)
    async for event in desk.log.read():
        views.apply(event)
    assert digest(views) == digest(desk.views)
    await keeping.write()
    again = Views()
    await Checkpointing(folder, again, stream).restore(views.sequence)
    assert again.sequence == views.sequence and digest(again) == digest(views)


async def test_two_decisions_at_once_on_one_chain_do_not_interleave(desk: Desk) -> None:
    others = [Decisions(desk.log, desk.views, lambda: NOW) for _ in range(4)]
    stop = runtime.StopRuntime(common.STOP_MODE_GRACEFUL, at(60))
    decided = await asyncio.gather(*(other.decide("rt-1", {None: [stop]}, BEHIND) for other in others))
    assert sorted(len(one.events) for one in decided) == [0, 0, 0, 1]


async def test_the_past_begins_at_what_was_written_down_and_is_the_same(desk: Desk, tmp_path: Path) -> None:
    """For any moment, before and behind it."""
    last, folded = desk.views.sequence, Views()
    async for message in desk.log.read(0, last // 2):
        folded.apply(message)
    checkpointing = Checkpointing(tmp_path, folded, 1)
    await checkpointing.write()
    began: list[int] = []

    def written(sequence: int) -> Views:
        views = checkpointing.before(sequence)
        began.append(views.sequence)
        return views

    for sequence in (last // 3, last // 2, last):
        moment = AsOf(events_sequence=sequence)
        begun = await Events(desk.log, desk.views, written).views_as_of(moment)
        assert digest(begun) == digest(await Events(desk.log, desk.views).views_as_of(moment))
    assert began == [0, last // 2, last // 2]


async def test_a_large_view_is_written_piece_by_piece_and_is_what_it_is(desk: Desk, tmp_path: Path) -> None:
    """Trials and the history of a search, of which some change between two checkpoints."""
    search = {"kind": "tpe", "space": {"x": {"minimum": 0, "maximum": 1}}, "max_trials": 999,
              "objective": {"metric": "loss"}}  # fmt: skip
    configuration_ = resolve({"entrypoint": "a:b", "search": search})
    await desk.decide("rt-9", None, runtime.RequestRuntime("rt-9", "", configuration_, "sha256:a", 999))

    async def suggest(number: int) -> None:
        chosen = runtime_facts.TrialSuggested(trial=number, parameters={"x": f"0.{number}"}, sampler="tpe")
        entries = len(desk.views.runtimes["rt-9"].state.history.entries)
        create = trial.CreateTrial("rt-9", number, {"x": f"0.{number}"}, {"x": f"0.{number}"})
        await desk.decisions.decide("rt-9", {None: [runtime.SuggestTrial(entries, chosen)], number: [create]}, BEHIND)

    async def check(keeping: Checkpointing) -> None:
        await keeping.write()
        again = Views()
        await Checkpointing(tmp_path, again, 7).restore(desk.views.sequence)
        assert again.runtimes["rt-9"] == desk.views.runtimes["rt-9"] and digest(again) == digest(desk.views)

    for number in range(1, LARGE + 1):
        await suggest(number)
    keeping = Checkpointing(tmp_path, desk.views, 7)
    await check(keeping)
    await suggest(LARGE + 1)
    await desk.decide("rt-9", 3, trial.LaunchAttempt(1, None))
    report = runtime_facts.ObjectiveReported(trial=2, outcome=runtime_facts.OBJECTIVE_OUTCOME_VALUE, value=0.5)
    await desk.decide("rt-9", None, runtime.ReportObjective(report))
    await check(keeping)
