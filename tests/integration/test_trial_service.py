"""The trial service on a real log: reads, watches, restarts, the past."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.api.trial.v1 import trial_service_pb2_grpc as rpc
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from milepost.eventlog.telemetry import Telemetry
from milepost.ids import new_runtime_id
from services.readmodel.incremental import IncrementalStore
from services.trials import live as live_views
from services.trials.application import Application, Options
from services.trials.live import FORM, LiveViews, key_of
from services.trials.queries import Scope
from services.trials.readmodel.view import Key
from tests.support.servers.servers import NatsServer
from tests.support.trainers.events import NO_MOMENTS
from tests.support.trainers.writer import Writer

WAIT = 30.0
# A page token whose lists are deeper than JSON is read.
DEEP = base64.urlsafe_b64encode(b"[" * 20_000).decode()
CHECKPOINTS = Path("checkpoints") / "trials"


@asynccontextmanager
async def serving(nats: NatsServer, data_dir: Path | None = None) -> AsyncIterator[rpc.TrialServiceStub]:
    """The trial service on a free port, and a client of it. Without a data directory it has an empty one."""
    async with AsyncExitStack() as parts:
        folder = data_dir or Path(parts.enter_context(TemporaryDirectory()))
        application = Application(Options("127.0.0.1:0", folder, nats.url))
        await application.start()
        parts.push_async_callback(application.stop)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{application.port}")
        yield rpc.TrialServiceStub(await parts.enter_async_context(channel))


@pytest.fixture
async def stub(connection: Connection, shared_nats: NatsServer) -> AsyncIterator[rpc.TrialServiceStub]:
    async with serving(shared_nats) as stub:
        yield stub


@pytest.fixture
def writer(connection: Connection) -> Writer:
    return Writer(connection, new_runtime_id())


async def test_a_read_is_at_least_as_new_as_asked_for(stub: rpc.TrialServiceStub, writer: Writer) -> None:
    await writer.request()
    sequence = await writer.run()
    name = f"runtimes/{writer.runtime_id}/trials/1"
    answer = await stub.GetTrial(api.GetTrialRequest(name=name, min_sequence=sequence), timeout=WAIT)
    assert answer.trial.status == api.TRIAL_STATUS_RUNNING
    assert answer.trial.events_sequence == sequence


async def test_lists_page_filter_and_order(stub: rpc.TrialServiceStub, writer: Writer) -> None:
    sequence = await writer.request(trials=5)
    sequence = await writer.run(trial=3)
    parent = f"runtimes/{writer.runtime_id}"
    seen: list[int] = []
    token = ""
    while True:
        request = api.ListTrialsRequest(
            parent=parent, page_size=2, page_token=token, order_by="trial desc", min_sequence=sequence
        )
        page = await stub.ListTrials(request, timeout=WAIT)
        seen += [trial.trial for trial in page.trials]
        assert page.total_size == 5
        token = page.next_page_token
        if not token:
            break
    assert seen == [5, 4, 3, 2, 1]
    for text, expected in (
        ("status=Running", [3]),
        ("waiting_reason=QUEUED AND parameters.learning_rate>0.003", [4, 5]),
        ("parameters.learning_rate=0.0020", [2]),
    ):
        page = await stub.ListTrials(api.ListTrialsRequest(parent=parent, filter=text), timeout=WAIT)
        assert [trial.trial for trial in page.trials] == expected, text
    for wanted, count in (([writer.runtime_id, "rt-unknown"], 5), (["rt-unknown"], 0)):
        page = await stub.ListTrials(api.ListTrialsRequest(parent="runtimes/-", runtime_ids=wanted), timeout=WAIT)
        assert {trial.runtime_id for trial in page.trials} <= {writer.runtime_id}
        assert (len(page.trials), page.total_size) == (count, count)


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        (api.ListTrialsRequest(parent="nothing"), grpc.StatusCode.INVALID_ARGUMENT, "parent"),
        (api.ListTrialsRequest(parent="runtimes/../x"), grpc.StatusCode.INVALID_ARGUMENT, "parent"),
        (api.ListTrialsRequest(parent="runtimes/-", page_size=1_001), grpc.StatusCode.INVALID_ARGUMENT, "page_size"),
        (api.ListTrialsRequest(parent="runtimes/-", page_token="x"), grpc.StatusCode.INVALID_ARGUMENT, "page_token"),
        (api.ListTrialsRequest(parent="runtimes/-", page_token=DEEP), grpc.StatusCode.INVALID_ARGUMENT, "page_token"),
        (api.ListTrialsRequest(parent="runtimes/-", filter="colour=red"), grpc.StatusCode.INVALID_ARGUMENT, "filter"),
        (api.ListTrialsRequest(parent="runtimes/-", filter="status="), grpc.StatusCode.INVALID_ARGUMENT, "filter"),
        (api.ListTrialsRequest(parent="runtimes/-", order_by="colour"), grpc.StatusCode.INVALID_ARGUMENT, "order_by"),
        (
            api.ListTrialsRequest(parent="runtimes/-", runtime_ids=["rt-a"] * 1_001),
            grpc.StatusCode.INVALID_ARGUMENT,
            "runtime_ids",
        ),
        (api.ListTrialsRequest(parent="runtimes/-", min_sequence=-1), grpc.StatusCode.INVALID_ARGUMENT, "min_sequence"),
        (api.ListTrialsRequest(parent="runtimes/-", min_sequence=2**40), grpc.StatusCode.OUT_OF_RANGE, ""),
        (api.ListTrialsRequest(parent="runtimes/unknown"), grpc.StatusCode.NOT_FOUND, ""),
        *(
            (api.ListTrialsRequest(parent="runtimes/-", as_of=moment), grpc.StatusCode.INVALID_ARGUMENT, "as_of")
            for moment in NO_MOMENTS
        ),
        (
            api.ListTrialsRequest(parent="runtimes/-", as_of=AsOf(events_sequence=10**9)),
            grpc.StatusCode.OUT_OF_RANGE,
            "",
        ),
    ],
)
async def test_bad_input_is_refused_with_its_field(
    stub: rpc.TrialServiceStub, request_: api.ListTrialsRequest, code: grpc.StatusCode, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListTrials(request_, timeout=WAIT)
    assert caught.value.code() == code
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    assert not field or field.encode() in status.details[1].value


@pytest.mark.parametrize("field", ["after_events_sequence", "after_telemetry_sequence"])
async def test_a_watcher_ahead_of_the_log_is_told_to_begin_again(stub: rpc.TrialServiceStub, field: str) -> None:
    ahead: dict[str, Any] = {field: 2**40}
    with pytest.raises(grpc.aio.AioRpcError, match="begin again without a position") as caught:
        await anext(aiter(stub.WatchTrials(api.WatchTrialsRequest(parent="runtimes/-", **ahead), timeout=WAIT)))
    assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE


async def test_comparing_names_the_parameters_that_differ(stub: rpc.TrialServiceStub, writer: Writer) -> None:
    sequence = await writer.request(trials=2)
    names = [f"runtimes/{writer.runtime_id}/trials/{number}" for number in (1, 2)]
    await stub.GetTrial(api.GetTrialRequest(name=names[0], min_sequence=sequence), timeout=WAIT)
    answer = await stub.CompareTrials(api.CompareTrialsRequest(names=names), timeout=WAIT)
    assert list(answer.differing_parameters) == ["learning_rate"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CompareTrials(api.CompareTrialsRequest(names=names[:1]), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


class Seen:
    """What a watching client has got, and where it stands."""

    def __init__(self) -> None:
        self.trials: dict[str, api.Trial] = {}
        self.places: list[tuple[str, int, int]] = []
        self.events = 0
        self.telemetry = 0

    def take(self, response: api.WatchTrialsResponse) -> None:
        self.events = response.events_sequence or self.events
        self.telemetry = response.telemetry_sequence or self.telemetry
        if response.HasField("trial"):
            trial = response.trial
            self.trials[trial.name] = trial
            self.places.append((trial.name, trial.events_sequence, trial.telemetry_sequence))

    async def follow(self, stub: rpc.TrialServiceStub, parent: str, enough: int, events: int, telemetry: int) -> bool:
        """Watch from where it stands, for `enough` messages at most. Returns whether everything was seen."""
        request = api.WatchTrialsRequest(
            parent=parent, after_events_sequence=self.events, after_telemetry_sequence=self.telemetry
        )
        call = stub.WatchTrials(request, timeout=WAIT)
        try:
            async for response in call:
                self.take(response)
                enough -= 1
                if self.events >= events and self.telemetry >= telemetry:
                    return True
                if enough <= 0:
                    return False
            return False
        finally:
            call.cancel()


async def known(stub: rpc.TrialServiceStub, writer: Writer, sequence: int) -> None:
    """Wait until the service has read the log up to there."""
    name = f"runtimes/{writer.runtime_id}/trials/1"
    await stub.GetTrial(api.GetTrialRequest(name=name, min_sequence=sequence), timeout=WAIT)


async def test_a_watch_begins_with_the_trials_as_they_are_and_goes_on_with_each_change(
    stub: rpc.TrialServiceStub, writer: Writer
) -> None:
    sequence = await writer.request(trials=2)
    await known(stub, writer, sequence)
    call = stub.WatchTrials(api.WatchTrialsRequest(parent=f"runtimes/{writer.runtime_id}"), timeout=WAIT)
    seen = Seen()
    async for response in call:
        seen.take(response)
        if response.caught_up:
            break
    assert sorted(trial.trial for trial in seen.trials.values()) == [1, 2]
    assert seen.events >= sequence
    await writer.run(trial=2)
    telemetry = await writer.batch(50, trial=2)
    async for response in call:
        seen.take(response)
        if seen.telemetry >= telemetry:
            break
    trial = seen.trials[f"runtimes/{writer.runtime_id}/trials/2"]
    assert (trial.status, trial.progress.step) == (api.TRIAL_STATUS_RUNNING, 50)
    call.cancel()


async def test_a_watch_that_breaks_again_and_again_misses_nothing_and_sees_nothing_twice(
    stub: rpc.TrialServiceStub, writer: Writer
) -> None:
    await writer.request(trials=4)
    for number in range(1, 5):
        sequence = await writer.run(trial=number)
    parent = f"runtimes/{writer.runtime_id}"
    seen = Seen()
    assert await seen.follow(stub, parent, 100, sequence, 0)
    seen.places.clear()

    async def write() -> tuple[int, int]:
        events = telemetry = 0
        for step in range(1, 41):
            telemetry = await writer.batch(step * 10, trial=1 + step % 4)
            if step % 5 == 0:
                events = await writer.attempt(1, facts.EpochCompleted(epoch=step, step=step * 10), trial=1 + step % 4)
            await asyncio.sleep(0.02)
        return events, telemetry

    writing = asyncio.create_task(write())
    # The last change is seen by the loop below.
    for _ in range(12):
        await seen.follow(stub, parent, 3, 2**52, 2**52)
    events, telemetry = await writing
    while not await seen.follow(stub, parent, 3, events, telemetry):
        pass
    assert [seen.trials[f"{parent}/trials/{number}"].progress.step for number in (1, 2, 3, 4)] == [400, 370, 380, 390]
    assert len(set(seen.places)) == len(seen.places)


async def test_a_client_gets_at_most_ten_updates_a_second_of_a_trial(
    stub: rpc.TrialServiceStub, writer: Writer
) -> None:
    """However often it moves; the last one it gets is where the trial is."""
    await writer.request()
    await known(stub, writer, await writer.run())
    moves = 150
    call = stub.WatchTrials(api.WatchTrialsRequest(parent=f"runtimes/{writer.runtime_id}"), timeout=WAIT)
    async for response in call:
        if response.caught_up:
            break
    begun = asyncio.get_running_loop().time()

    async def move() -> None:
        for step in range(1, moves + 1):
            await writer.batch(step)
            await asyncio.sleep(0.01)

    moving = asyncio.create_task(move())
    count = 0
    async for response in call:
        count += 1
        if response.trial.progress.step == moves:
            break
    taken = asyncio.get_running_loop().time() - begun
    call.cancel()
    await moving
    assert count <= 10 * taken + 2
    assert count < moves


async def test_one_trial_can_be_watched_alone(stub: rpc.TrialServiceStub, writer: Writer) -> None:
    name = f"runtimes/{writer.runtime_id}/trials/2"
    await stub.GetTrial(api.GetTrialRequest(name=name, min_sequence=await writer.request(trials=2)), timeout=WAIT)
    call = stub.WatchTrials(api.WatchTrialsRequest(parent=name), timeout=WAIT)
    responses = []
    async for response in call:
        responses.append(response)
        if response.caught_up:
            break
    assert [response.trial.trial for response in responses if not response.caught_up] == [2]
    call.cancel()


async def test_the_past_is_what_was_known_then(stub: rpc.TrialServiceStub, writer: Writer) -> None:
    await writer.request()
    await writer.run()
    name = f"runtimes/{writer.runtime_id}/trials/1"
    recorded: list[tuple[int, int, api.Trial]] = []
    for step in (10, 20, 30):
        telemetry = await writer.batch(step)
        events = await writer.attempt(1, facts.EpochCompleted(epoch=step // 10, step=step))
        answer = await stub.GetTrial(api.GetTrialRequest(name=name, min_sequence=events), timeout=WAIT)
        while answer.trial.telemetry_sequence < telemetry:
            answer = await stub.GetTrial(api.GetTrialRequest(name=name), timeout=WAIT)
        recorded.append((events, telemetry, answer.trial))
    for events, telemetry, live in recorded:
        as_of = AsOf(events_sequence=events, telemetry_sequence=telemetry)
        past = (await stub.GetTrial(api.GetTrialRequest(name=name, as_of=as_of), timeout=WAIT)).trial
        assert past.progress == live.progress
        assert past.markers == live.markers
        assert (past.events_sequence, past.telemetry_sequence) == (events, telemetry)
    lone = AsOf(events_sequence=recorded[1][0])
    past = (await stub.GetTrial(api.GetTrialRequest(name=name, as_of=lone), timeout=WAIT)).trial
    assert past.progress.step == 20
    before = AsOf(events_sequence=1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetTrial(api.GetTrialRequest(name=name, as_of=before), timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_restart_goes_on_from_its_checkpoint_and_gives_the_same_trials(
    shared_nats: NatsServer, writer: Writer, tmp_path: Path
) -> None:
    await writer.request(trials=3)
    for number in (1, 2, 3):
        await writer.run(trial=number)
    telemetry = await writer.batch(100, trial=2)
    request = api.ListTrialsRequest(parent=f"runtimes/{writer.runtime_id}")

    async def read(stub: rpc.TrialServiceStub) -> list[api.Trial]:
        while True:
            answer = await stub.ListTrials(request, timeout=WAIT)
            if answer.telemetry_sequence >= telemetry:
                return [_timeless(trial) for trial in answer.trials]

    async with serving(shared_nats, tmp_path) as stub:
        before = await read(stub)
    assert list((tmp_path / CHECKPOINTS).glob("*.checkpoint"))
    telemetry = await writer.batch(200, trial=3)
    async with serving(shared_nats, tmp_path) as stub:
        restored = await read(stub)
    async with serving(shared_nats) as stub:
        rebuilt = await read(stub)
    assert [trial.progress.step for trial in restored] == [0, 100, 200]
    assert restored == rebuilt
    assert restored[:2] == before[:2]


async def test_what_changes_while_a_checkpoint_is_encoded_is_neither_lost_nor_counted_twice(
    shared_nats: NatsServer, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_views, "CHECKPOINT_SECONDS", 0.01)
    monkeypatch.setattr(live_views, "SLICE", 1)
    await writer.request(trials=4)
    request = api.ListTrialsRequest(parent=f"runtimes/{writer.runtime_id}")
    async with serving(shared_nats, tmp_path):
        for number in (1, 2, 3, 4):
            await writer.run(trial=number)
        for step in range(1, 30):
            last = await writer.batch(step, trial=1 + step % 4)
        # Copied while they are written: what a crash would leave.
        crashed = tmp_path / "crashed"
        (crashed / CHECKPOINTS).mkdir(parents=True)
        for path in (tmp_path / CHECKPOINTS).glob("*.checkpoint"):
            with suppress(FileNotFoundError):  # a newer one has just replaced it
                shutil.copy(path, crashed / CHECKPOINTS)
    assert list((crashed / CHECKPOINTS).glob("*.checkpoint"))
    answers = []
    for folder in (crashed, None):
        async with serving(shared_nats, folder) as stub:
            answer = await stub.ListTrials(request, timeout=WAIT)
            while answer.telemetry_sequence < last:
                answer = await stub.ListTrials(request, timeout=WAIT)
            answers.append([_timeless(trial) for trial in answer.trials])
    assert answers[0] == answers[1]


def _timeless(trial: api.Trial) -> api.Trial:
    trial.ClearField("elapsed")
    trial.ClearField("estimate")
    return trial


async def test_the_service_outlives_its_log(nats_server: NatsServer) -> None:
    async with await connect(nats_server.url, name="test") as connection:
        await ensure_streams(connection)
        writer = Writer(connection, new_runtime_id())
        await writer.request()
        async with serving(nats_server) as stub:
            request = api.ListTrialsRequest(parent=f"runtimes/{writer.runtime_id}")
            assert (await stub.ListTrials(request, timeout=WAIT)).total_size == 1
            nats_server.kill()
            assert (await stub.ListTrials(request, timeout=WAIT)).total_size == 1
            nats_server.restart()
            sequence = await writer.run()
            request.min_sequence = sequence
            answer = await stub.ListTrials(request, timeout=WAIT)
            assert answer.trials[0].status == api.TRIAL_STATUS_RUNNING


async def test_views_folded_from_the_log_alone_trust_no_checkpoint(
    connection: Connection, writer: Writer, tmp_path: Path
) -> None:
    """What was altered in the views, and from there got into a checkpoint, is found out by a comparison with the log."""
    await writer.request()
    live = LiveViews(JetStreamLog(connection), Telemetry(connection), IncrementalStore(tmp_path, FORM, key_of))
    await live.start()
    key = Key(writer.runtime_id, 1)
    await live.wait_for(await writer.control(facts.AttemptLaunched(attempt=1)))
    told = live.views.trials[key].reason
    live.views.trials[key].reason = "somebody was here"
    await live.stop()
    moment = AsOf(events_sequence=live.views.events_sequence, telemetry_sequence=max(1, live.views.telemetry_sequence))
    again = LiveViews(JetStreamLog(connection), Telemetry(connection), IncrementalStore(tmp_path, FORM, key_of))
    await again.start()
    trusting, _ = await again.at(moment, Scope(writer.runtime_id))
    rebuilt, _ = await again.at(moment, Scope(writer.runtime_id), from_log=True)
    await again.stop()
    assert trusting.trials[key].reason == "somebody was here"
    assert rebuilt.trials[key].reason == told
