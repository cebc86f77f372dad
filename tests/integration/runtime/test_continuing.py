"""Who goes on with the run of a script: the process before is known to be dead, or nothing changes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from milepost import ids
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat
from milepost.api.training.v1 import launch_service_pb2 as launch_api
from milepost.api.training.v1.launch_service_pb2_grpc import LaunchServiceStub
from milepost.client import from_rpc_error
from milepost.domain import trial
from milepost.errors import FailedPrecondition, MilepostError
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.installation.endpoints import Endpoints
from milepost.names import AttemptKey
from milepost.names import AttemptKey as Key
from milepost.training.script.resume import Mode, Wanted, begin_attempt
from milepost.training.spooling.journal import AttemptJournal, driver_sender
from milepost.training.spooling.spool import Spool
from services.runtime.scheduling.liveness import Liveness
from tests.integration.runtime import harness
from tests.integration.runtime.harness import Stack
from tests.support.servers.servers import NatsServer

FIRST = common.ProcessIdentity(host="near", process_id=7, boot_id="a", process_start=70, pid_namespace="pid:[1]")
SECOND = common.ProcessIdentity(host="far", process_id=8, boot_id="b", process_start=80, pid_namespace="pid:[2]")


class Scripts:
    """Runs of scripts without scripts: the test says what each process would."""

    def __init__(self, stack: Stack, nats: NatsServer, folder: Path, ahead: list[float]) -> None:
        self.stack = stack
        self.nats = nats
        self.folder = folder
        self._ahead = ahead
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{stack.application.port}")
        self.launches: Any = LaunchServiceStub(self.channel)

    async def start(self, *payloads: Message) -> api.Runtime:
        """Start a run whose first attempt says these facts."""
        configuration = json.dumps({"name": "mine", "launcher": "external"})
        request = api.StartRuntimeRequest(
            configuration_text=configuration,
            runtime_id=ids.new_runtime_id(),
            request_id=str(time.time_ns()),
            process=FIRST,
        )
        runtime: api.Runtime = (await self.stack.stub.StartRuntime(request)).runtime
        await self.say(runtime, 1, facts.InstanceStarted(process=FIRST), facts.AttemptStarted(), *payloads)
        return runtime

    async def say(self, runtime: api.Runtime, attempt: int, *payloads: Message) -> None:
        """Append facts as an attempt does."""
        key = AttemptKey(runtime.runtime_id, 1, attempt)
        spool = Spool(self.folder / f"{runtime.runtime_id}-{attempt}" / "spool-driver.sqlite", driver_sender(key))
        async with await connect(self.nats.url) as connection:
            journal = AttemptJournal(JetStreamLog(connection), key, spool)
            for payload in payloads:
                payload.attempt = attempt  # type: ignore[attr-defined]
                journal.record(payload)
            running = asyncio.create_task(journal.run())
            assert await journal.wait_appended(20), journal.trouble
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await self.stack.application.views.wait_for(journal.head.sequence)
        spool.close()

    async def begin(self, runtime: api.Runtime, **fields: Any) -> launch_api.BeginAttemptResponse:
        request = launch_api.BeginAttemptRequest(
            **{"name": f"{runtime.name}/trials/1", "request_id": str(time.time_ns()), "process": SECOND, **fields}
        )
        return await self.launches.BeginAttempt(request)  # type: ignore[no-any-return]

    async def refused(self, runtime: api.Runtime, **fields: Any) -> MilepostError:
        """Ask, expect a refusal that changes nothing, and return it."""
        before = await self.stack.story(runtime.name)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await self.begin(runtime, **fields)
        assert await self.stack.story(runtime.name) == before
        return from_rpc_error(refusal.value, "")

    def state(self, runtime: api.Runtime) -> trial.Trial:
        return self.stack.application.views.runtimes[runtime.runtime_id].trials[1].state

    def beat(self, runtime: api.Runtime) -> None:
        liveness, beat = self.stack.application.liveness, Heartbeat(step=1, next_beat_ms=2_000)
        liveness.watch(Key(runtime.runtime_id, 1, 1))
        liveness.receive(f"heartbeat.{runtime.runtime_id}.1.1.0", beat.SerializeToString())

    def pass_time(self, seconds: float) -> None:
        """Put the clock ahead by which silence is judged."""
        self._ahead[0] += seconds


@pytest.fixture
async def scripts(nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scripts]:
    ahead = [0.0]
    monkeypatch.setattr("services.runtime.application.Liveness", lambda: Liveness(lambda: time.monotonic() + ahead[0]))
    async with harness.running(nats_server, tmp_path / "data") as stack:
        made = Scripts(stack, nats_server, tmp_path / "scripts", ahead)
        yield made
        await made.channel.close(None)


def snapshot(step: int, attempt: int = 1) -> facts.SnapshotCommitted:
    return facts.SnapshotCommitted(
        snapshot_id=f"step-{step:012}-a{attempt}", step=step, uri=f"file:///nowhere/{step}", manifest_sha256="ab"
    )


async def test_while_a_process_is_heard_of_another_is_refused_and_told_who_it_is(scripts: Scripts) -> None:
    runtime = await scripts.start()
    scripts.beat(runtime)
    error = await scripts.refused(runtime)
    assert error.reason == "ATTEMPT_RUNNING"
    assert f"attempt 1 of {runtime.runtime_id} is run by process 7 on near, last heard 20" in error.message
    assert f"milepost runtime stop {runtime.runtime_id}" in error.message
    told = error.metadata
    assert (told["attempt"], told["host"], told["process_id"], told["boot_id"]) == ("1", "near", "7", "a")
    assert (told["process_start"], told["pid_namespace"]) == ("70", "pid:[1]")
    assert told["contact_time"].startswith("20")
    assert 30 < float(told["gone_after_seconds"]) <= 32


async def test_silence_beyond_the_grace_lets_another_process_go_on(scripts: Scripts) -> None:
    runtime = await scripts.start(snapshot(20))
    scripts.beat(runtime)
    scripts.pass_time(31)
    assert (await scripts.refused(runtime)).reason == "ATTEMPT_RUNNING"
    scripts.pass_time(2)
    assert (await scripts.refused(runtime)).reason == "NEWER_SNAPSHOT"
    begun = await scripts.begin(runtime, snapshot_id=snapshot(20).snapshot_id)
    assert (begun.launch.attempt, begun.launch.snapshot_step) == (2, 20)
    events = [e.trial_event for e in await scripts.stack.events(runtime.name) if e.trial]
    fence = next(event.attempt_fenced for event in events if event.HasField("attempt_fenced"))
    assert (fence.reason, fence.cause) == (facts.FENCE_REASON_LOST, common.EXIT_CAUSE_LOST)
    assert "no contact since " in fence.detail
    assert "process 8 on far goes on with the run" in fence.detail
    launched = [event.attempt_launched for event in events if event.HasField("attempt_launched")][-1]
    assert (launched.reason, launched.process, launched.host) == (facts.LAUNCH_REASON_RESUME, SECOND, "far")
    with pytest.raises(AssertionError):
        await scripts.say(runtime, 1, facts.EpochCompleted(epoch=1, step=25))
    assert (await scripts.stack.get(runtime.name)).status == api.RUNTIME_STATUS_STARTED


async def test_a_process_that_was_seen_dead_is_replaced_at_once_and_a_repeat_gets_the_same_attempt(
    scripts: Scripts,
) -> None:
    runtime = await scripts.start()
    scripts.beat(runtime)
    fields = {"dead_attempt": 1, "dead_detail": "process 7 is gone", "request_id": "r" * 20}
    for _ in range(2):
        assert (await scripts.begin(runtime, **fields)).launch.attempt == 2
    kinds = await scripts.stack.types(runtime.name)
    assert kinds[-4:] == ["attempt_fenced", "trial_failed", "trial_resume_requested", "attempt_launched"]
    assert "runtime_failed" not in kinds
    error = await scripts.refused(runtime, dead_attempt=1)
    assert "attempt 2 of " in error.message, "it knew of the death of another attempt"


async def test_of_two_processes_that_want_a_run_at_once_one_gets_it(scripts: Scripts) -> None:
    runtime = await scripts.start()
    asked = [scripts.begin(runtime, dead_attempt=1, request_id=f"request-{n}") for n in range(6)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    won = [answer for answer in answers if isinstance(answer, launch_api.BeginAttemptResponse)]
    lost = [from_rpc_error(answer, "") for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert [answer.launch.attempt for answer in won] == [2]
    assert {error.reason for error in lost} == {"ATTEMPT_RUNNING"}
    assert scripts.state(runtime).attempt == 2


async def test_a_step_of_a_checkpoint_of_its_own_cuts_the_lineage_there(scripts: Scripts) -> None:
    runtime = await scripts.start(snapshot(20), snapshot(40))
    begun = await scripts.begin(runtime, dead_attempt=1, step=30)
    assert (begun.launch.snapshot_id, begun.launch.attempt) == ("", 2)
    await scripts.say(runtime, 2, facts.AttemptStarted(restored_step=30))
    state = scripts.state(runtime)
    assert [trial.owner_of(state.lineage, step) for step in (30, 31, 100)] == [1, 2, 2]
    assert [(record.step, record.superseded) for record in state.snapshots] == [(20, False), (40, True)]
    assert "from a checkpoint of the script's own at step 30" in "\n".join(await scripts.stack.story(runtime.name))


async def test_snapshots_that_are_not_whole_where_the_script_runs_are_passed_over_and_kept(scripts: Scripts) -> None:
    runtime = await scripts.start(snapshot(20), snapshot(40))
    newest, before = snapshot(40).snapshot_id, snapshot(20).snapshot_id
    begun = await scripts.begin(runtime, dead_attempt=1, snapshot_id=before, rejected_snapshot_ids=[newest])
    assert begun.launch.snapshot_id == before
    assert "snapshot_deleted" not in await scripts.stack.types(runtime.name)


async def test_a_run_that_has_ended_goes_on_and_one_that_is_complete_only_with_a_larger_total(
    scripts: Scripts,
) -> None:
    completed = facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, last_step=10)
    runtime = await scripts.start(facts.PlanDeclared(total_steps=10), completed)
    await scripts.stack.wait_ended(runtime.name)
    for fields in ({}, {"total_steps": 10}):
        assert (await scripts.refused(runtime, **fields)).reason == "RUNTIME_COMPLETED"
    assert (await scripts.begin(runtime, total_steps=20)).launch.attempt == 2
    failed = facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_FAILED, cause=common.EXIT_CAUSE_EXCEPTION, last_step=12)
    await scripts.say(runtime, 2, facts.AttemptStarted(), failed)
    # Not waited for: the end of the attempt may not be concluded yet.
    assert (await scripts.begin(runtime)).launch.attempt == 3
    await scripts.stack.wait(runtime.name, lambda r: r.status == api.RUNTIME_STATUS_STARTED, "it is in progress")


async def test_more_is_recorded_of_a_run_that_is_complete_and_nothing_gives_way(scripts: Scripts) -> None:
    completed = facts.AttemptEnded(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, last_step=10)
    runtime = await scripts.start(snapshot(5), completed)
    begun = await scripts.begin(runtime, appends=True)
    assert (begun.launch.attempt, begun.launch.snapshot_id) == (2, "")
    await scripts.say(runtime, 2, facts.AttemptStarted(restored_step=2))
    state = scripts.state(runtime)
    assert trial.owner_of(state.lineage, 100) == 1
    assert [record.superseded for record in state.snapshots] == [False]
    assert "Attempt 2 launched on resume to record more" in "\n".join(await scripts.stack.story(runtime.name))
    await scripts.say(runtime, 2, completed)
    await scripts.stack.wait_ended(runtime.name)
    error = await scripts.refused(runtime, appends=True, step=1, snapshot_id="a", rejected_snapshot_ids=["b"])
    assert {v.field for v in error.violations} == {"step", "snapshot_id", "rejected_snapshot_ids"}  # type: ignore[attr-defined]


async def test_a_stop_that_a_dead_process_cannot_obey_is_carried_out_before_it_goes_on(scripts: Scripts) -> None:
    runtime = await scripts.start()
    scripts.beat(runtime)
    await scripts.stack.stub.StopRuntime(api.StopRuntimeRequest(name=runtime.name, deadline=Duration(seconds=300)))
    await scripts.stack.wait_event(runtime.name, "trial_stop_requested")
    assert (await scripts.refused(runtime)).reason == "ATTEMPT_RUNNING"
    assert (await scripts.begin(runtime, dead_attempt=1)).launch.attempt == 2
    kinds = await scripts.stack.types(runtime.name)
    assert [kind for kind in kinds if kind.startswith("runtime_")][-1] == "runtime_aborted"
    assert kinds.index("runtime_aborted") < kinds.index("resume_requested")


async def test_a_run_of_a_script_belongs_to_the_process_whose_request_it_was(scripts: Scripts) -> None:
    runtime = await scripts.start()
    configuration = json.dumps({"name": "mine", "launcher": "external"})
    other = api.StartRuntimeRequest(
        configuration_text=configuration, runtime_id=runtime.runtime_id, request_id="other", process=SECOND
    )
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await scripts.stack.stub.StartRuntime(other)
    assert refusal.value.code() is grpc.StatusCode.ALREADY_EXISTS
    taken_up = launch_api.TakeUpAttemptRequest(name=f"{runtime.name}/trials/1")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await scripts.launches.TakeUpAttempt(taken_up)
    assert harness.refusal(refusal.value) == ("FAILED_PRECONDITION", "ATTEMPT_RUNNING")


async def test_what_makes_no_sense_is_refused(scripts: Scripts) -> None:
    runtime = await scripts.start()
    error = await scripts.refused(
        runtime, request_id="", process=None, dead_attempt=-1, dead_detail="x" * 1_001, step=-1, total_steps=2**62
    )
    fields = {violation.field for violation in error.violations}  # type: ignore[attr-defined]
    assert fields == {"request_id", "process", "dead_attempt", "dead_detail", "step", "total_steps"}
    await scripts.stack.stub.DeleteRuntime(api.DeleteRuntimeRequest(name=runtime.name, force=True))
    await scripts.stack.wait_phase(runtime.name, api.RUNTIME_PHASE_DELETED)
    assert (await scripts.refused(runtime, dead_attempt=1)).reason == "RUNTIME_DELETED"


async def test_a_process_elsewhere_is_waited_for_until_it_counts_as_dead(
    scripts: Scripts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a node that a job is started again on, while the service has not missed the old one yet."""
    runtime = await scripts.start()
    scripts.beat(runtime)
    going_on = asyncio.create_task(asyncio.to_thread(go_on, scripts, runtime, tmp_path))
    said = ""
    async with asyncio.timeout(20):
        while "; waiting" not in said:
            await asyncio.sleep(0.02)
            said += capsys.readouterr().err
    assert "is run by process 7 on near" in said
    scripts.pass_time(33)
    assert (await going_on).launch.attempt == 2


async def test_a_process_elsewhere_that_is_heard_again_lives_and_is_left_alone(
    scripts: Scripts, tmp_path: Path
) -> None:
    runtime = await scripts.start()
    scripts.beat(runtime)
    going_on = asyncio.create_task(asyncio.to_thread(go_on, scripts, runtime, tmp_path))
    async with asyncio.timeout(20):
        while not going_on.done():
            scripts.beat(runtime)
            await asyncio.sleep(0.05)
    with pytest.raises(FailedPrecondition, match="is run by process 7 on near"):
        await going_on
    assert scripts.state(runtime).attempt == 1


def go_on(scripts: Scripts, runtime: api.Runtime, folder: Path) -> launch_api.BeginAttemptResponse:
    """Go on with a run as `init` does."""
    endpoints = Endpoints(runtime=f"127.0.0.1:{scripts.stack.application.port}", nats=scripts.nats.url)
    which = Wanted(runtime.runtime_id, runtime.runtime_id, Mode.MUST)
    return begin_attempt(endpoints, which, folder / "trial-1", None, lambda path: None)
