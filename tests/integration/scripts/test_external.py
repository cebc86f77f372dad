"""Scripts of one's own: `milepost.init()` with a server, without one, and `sync` afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import grpc.aio
import pytest
from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.runtime.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from milepost.domain import runtime, trial
from milepost.eventlog import trial_chain
from milepost.eventlog.codec import decode
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from milepost.security.redaction import REDACTED
from services.runtime.application import Application, Options
from services.runtime.policies.placement import Capacity
from services.runtime.scheduling.liveness import Liveness
from tests.support.servers.proxy import running_proxy
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import Writer

ROOT = Path(__file__).resolve().parent.parent.parent.parent
SCRIPT = ROOT / "tests" / "assets" / "script.py"
SECONDS = 60.0
NOWHERE = {"MILEPOST_RUNTIME_ADDRESS": "127.0.0.1:9", "MILEPOST_NATS_URL": "nats://127.0.0.1:9"}
WAITING = """
import sys, milepost
trial = milepost.init(name="waiting", total_steps=10)
for step in range(1, 6):
    milepost.log({"train/loss": 1.0 / step})
sys.stdin.read()
"""
WAIT_FOR_A_LINE = """
print("done", flush=True)
sys.stdin.readline()
"""
# Arguments: how it begins (keywords of `init`), its last step, what it adds to each value; then it waits for a line.
RESUMABLE = """
import json, sys, milepost
trial = milepost.init(name="again", total_steps=40, snapshots={"every_steps": 5}, **json.loads(sys.argv[1]))
state = trial.restore()
step = state["step"] if state else 0
print("attempt", trial.attempt, "after", step, flush=True)
while step < int(sys.argv[2]):
    step += 1
    milepost.log({"train/loss": float(sys.argv[3]) + step})
    trial.maybe_snapshot(lambda: {"step": step})
    trial.wait_for_snapshot()
print("done", flush=True)
if sys.stdin.readline() == "fail":
    raise RuntimeError("no more data")
"""
STEERED = """
import time, milepost
trial = milepost.init(name="steered", total_steps=60, snapshots={"every_steps": 5}, id="job 8", resume="allow")
rate, mode = milepost.steerable("rate", 0.5, minimum=0, maximum=1), milepost.steerable("mode", "slow")
state = trial.restore()
step = state["step"] if state else 0
while step < 60:
    step += 1
    milepost.log({"train/rate": rate.value, "train/is_fast": mode.value == "fast"})
    trial.maybe_snapshot(lambda: {"step": step})
    time.sleep(0.03)
"""
# Checkpoints of its own. Arguments: how it begins, the step it says it has, its last step.
OWN_CHECKPOINT = """
import json, sys, milepost
milepost.init(name="own", total_steps=40, **json.loads(sys.argv[1]))
for step in range(int(sys.argv[2]) + 1, int(sys.argv[3]) + 1):
    milepost.log({"train/loss": 100.0 * milepost.current().attempt + step}, step=step)
"""
CUT_OFF = """
import pathlib, sys, time, milepost
trial = milepost.init(name="cut off", total_steps=40)
for step in range(1, 41):
    milepost.log({"train/loss": 1.0 / step})
    if step == 5:
        while not pathlib.Path(sys.argv[1]).exists():
            time.sleep(0.05)
    if step == 20:
        with trial.evaluation() as evaluation:
            evaluation.log({"eval/loss": 0.5})
"""


class Clock:
    """The clock by which silence is judged; it can be put ahead."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


clock = Clock()
started: list[asyncio.subprocess.Process] = []


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    """End the scripts of a test that has failed."""
    yield
    while started:
        process = started.pop()
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.fixture
async def own(nats_server: NatsServer) -> AsyncIterator[Connection]:
    async with await connect(nats_server.url) as connection:
        await ensure_streams(connection)
        yield connection


@pytest.fixture
async def service(own: Connection, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Application]:
    """A runtime service on a broker of its own."""
    options = Options(
        listen="127.0.0.1:0",
        data_dir=tmp_path,
        nats_url=nats_server.url,
        metrics_address="",
        trials_address="",
        capacity=Capacity("here", 2, 4),
    )
    application = Application(options)
    clock.ahead = 0.0
    application.liveness = Liveness(clock)
    await application.start()
    yield application
    await application.stop()


async def start_script(
    tmp_path: Path, environment: dict[str, str], *arguments: str, code: str = ""
) -> asyncio.subprocess.Process:
    """Start the script, or a program that is given as text."""
    command = ["-c", code] if code else [str(SCRIPT)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        *arguments,
        cwd=tmp_path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(tmp_path), **environment},
    )
    started.append(process)
    return process


async def finish_script(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Wait for its end. Returns its exit status and what it wrote on stderr."""
    async with asyncio.timeout(SECONDS):
        _, errors = await process.communicate(b"")
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def run_script(tmp_path: Path, environment: dict[str, str], *arguments: str, code: str = "") -> tuple[int, str]:
    """Run the script, or a program that is given as text. Returns its exit status and what it wrote on stderr."""
    return await finish_script(await start_script(tmp_path, environment, *arguments, code=code))


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


def health_of(service: Application) -> common.Health:
    """The health of the only runtime."""
    return next((view.state.health for view in service.views.runtimes.values()), common.HEALTH_UNSPECIFIED)


def spooled_step(data_dir: Path) -> int:
    """The last step whose points are in the spool of the only run."""
    (path,) = data_dir.rglob("spool-rank-0.sqlite")
    with closing(sqlite3.connect(path.as_uri() + "?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT max(last_step) FROM batches WHERE kind = 'steps'").fetchone()[0] or 0)


def only_trial(service: Application) -> trial.Trial:
    """What is known of the only runtime's trial."""
    (view,) = service.views.runtimes.values()
    return view.trials[1].state


async def read_facts(connection: Connection, runtime_id: str) -> list[Message]:
    """Read what the log has of the only trial of a runtime."""
    events = await JetStreamLog(connection).read_chain(trial_chain(runtime_id, 1))
    return [decode(event.type, event.body) for event in events]


async def wait_ended(service: Application) -> tuple[runtime.Runtime, trial.Trial]:
    """Wait until the only runtime has ended."""
    deadline = asyncio.get_running_loop().time() + SECONDS
    while asyncio.get_running_loop().time() < deadline:
        for view in service.views.runtimes.values():
            if view.state.phase is runtime.Phase.ENDED:
                return view.state, view.trials[1].state
        await asyncio.sleep(0.05)
    raise AssertionError([(v.state.phase, v.trials) for v in service.views.runtimes.values()])


def reachable(service: Application, nats: NatsServer) -> dict[str, str]:
    return {"MILEPOST_RUNTIME_ADDRESS": f"127.0.0.1:{service.port}", "MILEPOST_NATS_URL": nats.url}


async def test_a_plain_script_becomes_a_runtime(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Two lines, no runtime started beforehand: plan, every step, output and the end are recorded."""
    async with Writer(own, "*") as writer:
        status, errors = await run_script(tmp_path, reachable(service, nats_server))
        assert status == 0, errors
        ended, state = await wait_ended(service)
    assert ended.status is runtime.Status.COMPLETED, errors
    assert ended.configuration is not None
    assert ended.configuration.name == "mine"
    assert state.plan.total_steps == 20
    assert writer.points("train/loss")[1] == {step: 1.0 / step for step in range(1, 21)}
    assert "hello from the script" in writer.text()
    assert f"/runtimes/{ended.runtime_id}" in errors
    assert not list(tmp_path.glob("runtimes/*/trial-1/attempt-1/spool-*"))


SECRETIVE = """
import sys, milepost
trial = milepost.init(parameters={"api_key": "s3cret-one", "max_tokens": 12, "my_token": "shown-one"}, not_secret=["my_token"])
assert trial.parameters["api_key"] == "s3cret-one", "the script keeps what it was given"
trial.declare({"model": {"hub_token": "s3cret-two"}, "url": "https://me:s3cret-three@host/"}, {"password": "s3cret-four"})
milepost.log({"train/loss": 1.0})
"""


async def test_secrets_of_a_script_are_neither_recorded_nor_written_to_disk(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Also while no server answers, and it is said what was left out."""
    nowhere = {"MILEPOST_RUNTIME_ADDRESS": "127.0.0.1:9", "MILEPOST_NATS_URL": "nats://127.0.0.1:9"}
    status, errors = await run_script(tmp_path, nowhere, code=SECRETIVE)
    assert status == 0, errors
    assert "redacted: api_key looks like a secret" in errors
    assert "redacted: model.hub_token, the password in a URL, password look like secrets" in errors
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"shown-one" in written
    assert b"s3cret" not in written
    async with Writer(own, "*"):
        sending = "import milepost; milepost.sync(seconds=20)"
        status, errors = await run_script(tmp_path, reachable(service, nats_server), code=sending)
    assert status == 0, errors
    ended, _ = await wait_ended(service)
    assert ended.configuration is not None
    parameters = dict(ended.configuration.parameters)
    assert parameters == {"api_key": f'"{REDACTED}"', "max_tokens": "12", "my_token": '"shown-one"'}


async def test_a_script_that_raises_is_a_failed_runtime(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    addresses = reachable(service, nats_server)
    # One of the two replicas is away.
    addresses["MILEPOST_RUNTIME_ADDRESS"] = f"ipv4:127.0.0.1:9,{addresses['MILEPOST_RUNTIME_ADDRESS']}"
    async with Writer(own, "*"):
        status, _ = await run_script(tmp_path, addresses, "fail")
        assert status == 1
        ended, state = await wait_ended(service)
    assert ended.status is runtime.Status.FAILED
    assert isinstance(state.situation, trial.Failed)
    assert "RuntimeError: no more data" in state.situation.detail


async def test_a_script_without_a_server_is_sent_later(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """It trains as if nothing were wrong, says so once, and loses nothing."""
    status, errors = await run_script(tmp_path, NOWHERE)
    assert status == 0, errors
    assert errors.count("training goes on") == 1, errors
    assert "`milepost sync` sends them" in errors
    async with Writer(own, "*") as writer:
        code = "import milepost; print(milepost.sync(seconds=20), file=__import__('sys').stderr)"
        status, errors = await run_script(tmp_path, reachable(service, nats_server), code=code)
        assert status == 0, errors
        ended, _ = await wait_ended(service)
    assert "Synced(runs=1, events_left=0, batches_left=0, writing=(), damaged=())" in errors
    assert ended.status is runtime.Status.COMPLETED
    assert writer.points("train/loss")[1] == {step: 1.0 / step for step in range(1, 21)}


async def test_a_script_that_was_killed_is_known_to_be_dead_on_its_own_machine(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """No grace is waited for: its process is gone, and that can be seen."""
    async with Writer(own, "*") as writer:
        process = await start_script(tmp_path, reachable(service, nats_server), code=WAITING)
        await until(lambda: len(writer.points("train/loss")[1]) == 5)
        process.kill()
        await process.communicate()
        ended, state = await wait_ended(service)
    assert (ended.status, ended.failure_reason) == (runtime.Status.FAILED, common.FAILURE_REASON_CRASHED)
    assert isinstance(state.situation, trial.Failed)
    assert f"process {process.pid} on " in state.situation.detail
    assert "is gone without having said why" in state.situation.detail


@pytest.mark.parametrize("ends", ["by itself", "killed"])
async def test_what_a_script_could_not_send_is_taken_in_where_its_files_are_seen(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path, ends: str
) -> None:
    """Its network never comes back, and nobody runs `milepost sync`."""
    async with Writer(own, "*") as writer, running_proxy(nats_server.port) as proxy:
        environment = {**reachable(service, nats_server), "MILEPOST_NATS_URL": proxy.url}
        process = await start_script(tmp_path, environment, str(tmp_path / "go"), code=CUT_OFF + WAIT_FOR_A_LINE)
        await until(lambda: health_of(service) == common.HEALTH_HEALTHY)
        proxy.is_silent = True
        (tmp_path / "go").touch()
        await first_line(process, "done")
        await until(lambda: spooled_step(tmp_path) == 40)
        if ends == "killed":
            process.kill()
        await process.communicate(b"")
        ended, _ = await wait_ended(service)
        await until(lambda: sorted(writer.points("train/loss")[1]) == list(range(1, 41)))
        await until(lambda: not list(tmp_path.rglob("spool-*.sqlite")))
    assert ended.status is (runtime.Status.FAILED if ends == "killed" else runtime.Status.COMPLETED)
    facts_read = await read_facts(own, ended.runtime_id)
    assert [fact.step for fact in facts_read if isinstance(fact, facts.EvaluationCompleted)] == [20]


async def test_a_script_whose_network_is_gone_beyond_the_grace_records_all_of_it_when_it_is_back(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Nobody takes over a script: it looks unhealthy, and its evaluation and its end are its own."""
    async with Writer(own, "*") as writer, running_proxy(nats_server.port) as proxy:
        environment = {**reachable(service, nats_server), "MILEPOST_NATS_URL": proxy.url}
        process = await start_script(tmp_path, environment, str(tmp_path / "go"), code=CUT_OFF)
        await until(lambda: health_of(service) == common.HEALTH_HEALTHY)
        proxy.is_silent = True
        clock.ahead = 1_000.0
        await until(lambda: health_of(service) == common.HEALTH_UNHEALTHY)
        (view,) = service.views.runtimes.values()
        assert view.state.health_reason.startswith("instance 0 of trial 1: no contact since ")
        (tmp_path / "go").touch()
        proxy.is_silent = False
        proxy.reset()
        status, errors = await finish_script(process)
        assert status == 0, errors
        ended, state = await wait_ended(service)
        await until(lambda: len(writer.points("train/loss")[1]) == 40)
    assert (ended.status, state.attempt) == (runtime.Status.COMPLETED, 1)
    events = await read_facts(own, view.runtime_id)
    assert [event.step for event in events if isinstance(event, facts.EvaluationCompleted)] == [20]
    assert not [event for event in events if isinstance(event, facts.AttemptFenced)]


async def first_line(process: asyncio.subprocess.Process, wanted: str) -> str:
    """Wait for a line that begins so."""
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        while line := (await process.stdout.readline()).decode():
            if line.startswith(wanted):
                return line.strip()
    raise AssertionError((await process.communicate())[1].decode())


async def begin_resumable(
    tmp_path: Path, environment: dict[str, str], last: int, mark: float, **options: object
) -> asyncio.subprocess.Process:
    return await start_script(tmp_path, environment, json.dumps(options), str(last), str(mark), code=RESUMABLE)


async def test_a_script_that_was_killed_and_is_started_again_at_once_goes_on_from_its_snapshot(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """As a job scheduler does: no grace is waited for, no step has two values, and it finds the run by its name."""
    environment, again = reachable(service, nats_server), {"id": "job 7", "resume": "allow"}
    async with Writer(own, "*") as writer:
        process = await begin_resumable(tmp_path, environment, 12, 1000.0, **again)
        assert await first_line(process, "attempt") == "attempt 1 after 0"
        await first_line(process, "done")
        await until(lambda: [record.step for record in only_trial(service).snapshots] == [5, 10])
        process.kill()
        await process.communicate()
        process = await begin_resumable(tmp_path, environment, 40, 2000.0, **again)
        assert await first_line(process, "attempt") == "attempt 2 after 10"
        status, errors = await finish_script(process)
        assert status == 0, errors
        ended, state = await wait_ended(service)
        await until(lambda: len(writer.lineage("train/loss", state)) == 40)
    assert (ended.status, state.attempt) == (runtime.Status.COMPLETED, 2)
    wanted = {step: (1000.0 if step <= 10 else 2000.0) + step for step in range(1, 41)}
    assert writer.lineage("train/loss", state) == wanted
    fences = [fact for fact in await read_facts(own, ended.runtime_id) if isinstance(fact, facts.AttemptFenced)]
    assert [(fence.attempt, fence.reason) for fence in fences] == [(1, facts.FENCE_REASON_EXITED)]
    assert ended.configuration is not None and ended.configuration.labels["id"] == "job 7"


async def test_a_script_that_was_steered_and_killed_changes_after_the_same_step_when_it_goes_on(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """And what was asked for while it was dead, where it goes on."""
    environment = reachable(service, nats_server)
    async with (
        Writer(own, "*") as writer,
        grpc.aio.insecure_channel(environment["MILEPOST_RUNTIME_ADDRESS"]) as channel,
    ):
        process = await start_script(tmp_path, environment, code=STEERED)
        await until(lambda: service.views.runtimes and 1 in next(iter(service.views.runtimes.values())).trials)
        await until(lambda: only_trial(service).snapshots)
        (runtime_id,) = service.views.runtimes

        async def steer(text: str) -> None:
            name = f"runtimes/{runtime_id}/trials/1"
            await RuntimeServiceStub(channel).SteerTrial(api.SteerTrialRequest(name=name, parameters_text=text))

        await steer("rate: 0.25")
        await until(lambda: only_trial(service).steering.changes)
        process.kill()
        await process.communicate()
        await steer("mode: fast")
        (changed,) = only_trial(service).steering.changes
        status, errors = await run_script(tmp_path, environment, code=STEERED)
        assert status == 0, errors
        ended, state = await wait_ended(service)
        await until(lambda: len(writer.lineage("train/rate", state)) == 60)
    assert (ended.status, state.attempt) == (runtime.Status.COMPLETED, 2)
    went_on = state.lineage[1].first_step - 1
    assert [(one.step, one.name) for one in state.steering.changes] == sorted(
        [(changed.step, "rate"), (went_on, "mode")]
    )
    rates = writer.lineage("train/rate", state)
    assert rates == {step: 0.5 if step <= changed.step else 0.25 for step in range(1, 61)}
    assert writer.lineage("train/is_fast", state) == {step: float(step > went_on) for step in range(1, 61)}


async def test_what_a_script_recorded_without_a_server_is_taken_in_before_it_goes_on(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """The server hears of the run, of its snapshots and of its end by the process that goes on with it."""
    async with Writer(own, "*") as writer:
        process = await begin_resumable(tmp_path, NOWHERE, 12, 1000.0)
        await first_line(process, "done")
        await process.communicate(b"fail")
        assert process.returncode == 1
        (folder,) = (tmp_path / "runtimes").iterdir()
        process = await begin_resumable(tmp_path, reachable(service, nats_server), 40, 2000.0, resume=folder.name)
        assert await first_line(process, "attempt") == "attempt 2 after 10"
        status, errors = await finish_script(process)
        assert status == 0, errors
        ended, state = await wait_ended(service)
        await until(lambda: len(writer.lineage("train/loss", state)) == 40)
    assert (ended.status, state.attempt) == (runtime.Status.COMPLETED, 2)


async def test_a_run_that_a_living_process_has_is_refused_to_another_and_stays_as_it_is(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Also where the other has a data directory of its own, and also while it is suspended."""
    environment = reachable(service, nats_server)
    async with Writer(own, "*"):
        process = await begin_resumable(tmp_path, environment, 12, 1000.0, id="mine", resume="allow")
        await first_line(process, "done")
        process.send_signal(signal.SIGSTOP)
        for folder in (tmp_path, tmp_path / "elsewhere"):
            folder.mkdir(exist_ok=True)
            options = json.dumps({"id": "mine", "resume": "must"})
            status, errors = await run_script(folder, environment, options, "20", "0", code=RESUMABLE)
            assert status == 1
            assert "FailedPrecondition" in errors
            assert f"process {process.pid} on " in errors
        process.send_signal(signal.SIGCONT)
        status, errors = await finish_script(process)
        assert status == 0, errors
        ended, state = await wait_ended(service)
    assert (ended.status, state.attempt) == (runtime.Status.COMPLETED, 1)
    decided = facts.AttemptFenced | facts.TrialResumeRequested
    assert not [fact for fact in await read_facts(own, ended.runtime_id) if isinstance(fact, decided)]


@pytest.mark.parametrize("named", ["init", "log"])
async def test_a_script_with_checkpoints_of_its_own_goes_on_at_the_step_that_it_names(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path, named: str
) -> None:
    environment = reachable(service, nats_server)
    async with Writer(own, "*") as writer:
        status, errors = await run_script(tmp_path, environment, "{}", "0", "25", code=OWN_CHECKPOINT)
        assert status == 0, errors
        ended, _ = await wait_ended(service)
        options = {"resume": ended.runtime_id, "total_steps": 41, **({"step": 20} if named == "init" else {})}
        code = OWN_CHECKPOINT.replace("total_steps=40, ", "")
        status, errors = await run_script(tmp_path, environment, json.dumps(options), "20", "41", code=code)
        assert status == 0, errors
        await until(lambda: len(writer.points("train/loss")[2]) == 21)
        _, state = await wait_ended(service)
    wanted = {step: (100.0 if step <= 20 else 200.0) + step for step in range(1, 42)}
    assert writer.lineage("train/loss", state) == wanted


async def test_what_a_name_stands_for_is_gone_on_with_begun_or_refused_as_it_is_wanted(
    service: Application, own: Connection, nats_server: NatsServer, tmp_path: Path
) -> None:
    environment = reachable(service, nats_server)

    async def run(**options: object) -> tuple[int, str]:
        return await run_script(tmp_path, environment, json.dumps(options), "0", "1", code=OWN_CHECKPOINT)

    async with Writer(own, "*"):
        status, errors = await run(id="a", resume="must")
        assert (status, "NotFound" in errors) == (1, True), errors
        status, errors = await run(id="a")
        assert status == 0, errors
        await wait_ended(service)
        status, errors = await run(id="a")
        assert status == 1
        assert 'there is a run a already: go on with it by resume="allow", or choose another id' in errors
        status, errors = await run(id="a", resume="must")
        assert status == 1
        assert "it can go on only with a larger total: milepost.init(resume=..., total_steps=...)" in errors
        environment["MILEPOST_RUNTIME_ADDRESS"] = "127.0.0.1:9"
        status, errors = await run(id="a", resume="must")
        assert (status, "Unavailable" in errors) == (1, True), errors
        status, errors = await run(id="a", resume="allow")
        assert status == 0, errors
        assert "whether there is a run a is not known, so this one gets an id of its own" in errors
    assert len(service.views.runtimes) == 1
    assert len(list(tmp_path.glob("runtimes/*/start.json"))) == 1
