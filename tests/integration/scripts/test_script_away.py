"""A script that is away for a while: it comes back to its run, and hears what was decided meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1.runtime_service_pb2 import PreviewStopRequest, StopRuntimeRequest
from milepost.client import Client
from milepost.domain import runtime, trial
from milepost.eventlog.nats.connection import Connection
from milepost.installation.endpoints import Endpoints
from services.runtime.application import Application
from tests.integration.scripts.test_external import (
    RESUMABLE,
    _nothing_is_left,
    clock,
    finish_script,
    first_line,
    health_of,
    only_trial,
    own,
    reachable,
    read_facts,
    service,
    start_script,
    until,
    wait_ended,
)
from tests.support.servers.proxy import running_proxy
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import Writer

__all__ = ["_nothing_is_left", "own", "service"]
# Longer than any grace, in seconds.
LONG = 1_000.0
# Holds the interpreter until it gets SIGUSR1, as a call of C code may; or waits for a line.
HELD = """
import ctypes, signal, sys, milepost
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
wanted, got = ctypes.create_string_buffer(128), ctypes.c_int()
ctypes.CDLL(None).sigaddset(wanted, int(signal.SIGUSR1))
trial = milepost.init(name="held", total_steps=40)
for step in range(1, 41):
    milepost.log({"train/loss": 1.0 / step})
    if step == 5:
        sys.stdin.readline()
        print("held", flush=True)
        if sys.argv[1] == "suspended":
            sys.stdin.readline()
        else:
            ctypes.PyDLL(None).sigwait(wanted, ctypes.byref(got))
    if step == 20:
        with trial.evaluation() as evaluation:
            evaluation.log({"eval/loss": 0.5})
"""
# As on another machine: nothing of its process is seen from here. It goes on when it is told to.
AWAY = """
import sys, milepost
from milepost.api.event.v1.common_pb2 import ProcessIdentity
from milepost.training.script import external_run, opening
far = ProcessIdentity(host="far", boot_id="x", pid_namespace="pid:[1]", process_id=7, process_start=1)
external_run.own_identity = opening.own_identity = lambda: far
trial = milepost.init(name="away", total_steps=40, snapshots={"every_steps": 5})
def train(last):
    while trial.step < last:
        milepost.log({"train/loss": 1000.0 + trial.step + 1})
        trial.maybe_snapshot(lambda: {"step": trial.step})
train(5)
trial.wait_for_snapshot()
print("done 5", flush=True)
sys.stdin.readline()
train(40)
print("did all", flush=True)
"""


@pytest.mark.parametrize("how", ["suspended", "interpreter held"])
async def test_a_script_that_does_nothing_for_longer_than_the_grace_records_all_of_it(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path, how: str
) -> None:
    """Nobody takes it for dead: its process is there."""
    async with Writer(own, "*") as writer:
        process = await start_script(tmp_path, reachable(service, nats_server), how, code=HELD)
        await until(lambda: health_of(service) == common.HEALTH_HEALTHY)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        await first_line(process, "held")
        if how == "suspended":
            process.send_signal(signal.SIGSTOP)
        clock.ahead = LONG
        await until(lambda: health_of(service) == common.HEALTH_UNHEALTHY)
        process.send_signal(signal.SIGCONT if how == "suspended" else signal.SIGUSR1)
        status, errors = await finish_script(process)
        assert status == 0, errors
        ended, state = await wait_ended(service)
        await until(lambda: len(writer.points("train/loss")[1]) == 40)
    assert (ended.status, state.attempt) == (runtime.Status.COMPLETED, 1)
    events = await read_facts(own, ended.runtime_id)
    assert [event.step for event in events if isinstance(event, facts.EvaluationCompleted)] == [20]
    assert not [event for event in events if isinstance(event, facts.AttemptFenced)]


async def test_a_script_that_was_stopped_while_it_was_away_hears_of_it_and_stops(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with Writer(own, "*"), running_proxy(nats_server.port) as proxy:
        environment = {**reachable(service, nats_server), "MILEPOST_NATS_URL": proxy.url}
        process = await start_script(tmp_path, environment, code=AWAY)
        await first_line(process, "done 5")
        await until(lambda: [record.step for record in only_trial(service).snapshots] == [5])
        proxy.is_silent = True
        clock.ahead = LONG
        await until(lambda: health_of(service) == common.HEALTH_UNHEALTHY)
        (runtime_id,) = service.views.runtimes
        with Client(Endpoints(runtime=f"127.0.0.1:{service.port}")) as client:
            request = StopRuntimeRequest(name=f"runtimes/{runtime_id}", reason="enough", deadline=Duration(seconds=1))
            await asyncio.to_thread(client.runtimes.StopRuntime, request)
        ended, state = await wait_ended(service)
        assert ended.status is runtime.Status.ABORTED
        assert isinstance(state.situation, trial.Stopped)
        proxy.is_silent = False
        proxy.reset()
        assert process.stderr is not None
        said = b""
        async with asyncio.timeout(60):
            while b"this run was stopped" not in said:
                said += await process.stderr.readline()
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        assert process.stdout is not None
        output = await process.stdout.read()
        said += (await process.communicate())[1]
    # As with any stop that a script does not ask for: `milepost.Stopped` ends it.
    assert process.returncode == 1 and b"did all" not in output and b"Traceback" not in said, said.decode()
    assert (await wait_ended(service))[1].situation == state.situation, "what it does afterwards changes nothing"


async def test_a_script_whose_run_was_resumed_by_another_while_it_was_away_trains_on_and_records_nothing_more(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """It says who goes on with the run; no step has a value of both."""
    async with Writer(own, "*") as writer, running_proxy(nats_server.port) as proxy:
        folder = tmp_path / "far"
        folder.mkdir()
        environment = {**reachable(service, nats_server), "MILEPOST_NATS_URL": proxy.url}
        process = await start_script(folder, environment, code=AWAY)
        await first_line(process, "done 5")
        await until(lambda: [record.step for record in only_trial(service).snapshots] == [5])
        await until(lambda: len(writer.points("train/loss")[1]) == 5)
        proxy.is_silent = True
        clock.ahead = LONG
        await until(lambda: health_of(service) == common.HEALTH_UNHEALTHY)
        (runtime_id,) = service.views.runtimes
        options = json.dumps({"resume": runtime_id})
        other = await start_script(tmp_path, reachable(service, nats_server), options, "40", "2000", code=RESUMABLE)
        assert await first_line(other, "attempt") == "attempt 2 after 5"
        await first_line(other, "done")
        proxy.is_silent = False
        proxy.reset()
        assert process.stderr is not None
        said = ""
        async with asyncio.timeout(60):
            while f"attempt 2 goes on with this run in process {other.pid} on " not in said:
                said += (await process.stderr.readline()).decode()
        output, _ = await process.communicate(b"go\n")
        assert process.returncode == 0 and b"did all" in output, "its training is its own"
        status, errors = await finish_script(other)
        assert status == 0, errors
        ended, state = await wait_ended(service)
        await until(lambda: len(writer.lineage("train/loss", state)) == 40)
    assert (ended.status, state.attempt) == (runtime.Status.COMPLETED, 2)
    wanted = {step: (1000.0 if step <= 5 else 2000.0) + step for step in range(1, 41)}
    assert writer.lineage("train/loss", state) == wanted
    committed = [fact for fact in await read_facts(own, runtime_id) if isinstance(fact, facts.SnapshotCommitted)]
    assert [fact.step for fact in committed if fact.attempt == 1] == [5]


@pytest.mark.parametrize("saves", [False, True])
async def test_before_a_stop_it_is_said_what_a_script_loses(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path, saves: bool
) -> None:
    """Without snapshots that is all of it, and a graceful stop does not change that."""
    code = AWAY if saves else AWAY.replace('        trial.maybe_snapshot(lambda: {"step": trial.step})\n', "")
    async with Writer(own, "*"):
        process = await start_script(tmp_path, reachable(service, nats_server), code=code)
        await first_line(process, "done 5")
        await until(
            lambda: (
                bool(service.views.runtimes)
                and only_trial(service).plan.gives_state == saves
                and health_of(service) == common.HEALTH_HEALTHY
            )
        )
        (runtime_id,) = service.views.runtimes
        with Client(Endpoints(runtime=f"127.0.0.1:{service.port}")) as client:
            asked = PreviewStopRequest(name=f"runtimes/{runtime_id}")
            while True:
                answer = await asyncio.to_thread(client.runtimes.PreviewStop, asked)
                if answer.losses and answer.losses[0].current_step == 5 and (not saves or answer.losses[0].snapshot_id):
                    break
                await asyncio.sleep(0.05)
        status, errors = await finish_script(process)
        assert status == 0, errors
    (loss,) = answer.losses
    assert (loss.graceful_saves, loss.lost_steps) == (saves, 0 if saves else 5)
    if saves:
        assert answer.graceful_message == "takes a snapshot at the next step, so nothing is lost"
    else:
        assert (
            "this is lost: 5 steps, " in answer.graceful_message and "there is no snapshot yet" in answer.abrupt_message
        )
