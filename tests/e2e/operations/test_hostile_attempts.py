"""What attempts say with their own users of the broker stops nothing: hostile, malformed, newer and reordered messages.

Nor do trainers of other builds: of a later contract, and an old one (`make test-security`). Each test run sends some
hundreds onto a stack that trains; `make test-security` ten thousand events and as much telemetry.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from milepost.errors import FailedPrecondition
from milepost.eventlog import LogMessage, LogUnavailable, UnreadableMessage, attempt_subject, trial_chain
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.credentials import find_credentials
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.messages import get_message
from milepost.eventlog.nats.streams import EVENTS
from tests.e2e.runs import PACED_STEPS, paced
from tests.e2e.stack import ROOT, StackProcess, broken_links, until
from tests.support.faults.hostile import Attempt, Sent, events, last_word, one_byte_of_headers, send, telemetry_messages

COUNT = int(os.environ.get("MILEPOST_FUZZ_MESSAGES", "500"))
SEED = int(os.environ.get("MILEPOST_FUZZ_SEED", "20260101"))
HEALTHY, HOSTILE = (3, 2) if COUNT < 1_000 else (10, 5)
# "Watch a trial in a test only when the service knows it".
OLD_BUILD = "e693e12"
# Messages that are sent in one go.
AT_ONCE = 20
ASSETS = Path(__file__).resolve().parent.parent.parent / "assets"
SERVICES = ("runtime", "trials", "metrics", "gateway")
SERVING = health_pb2.HealthCheckResponse.SERVING
MODES = (common.STOP_MODE_GRACEFUL, common.STOP_MODE_ABRUPT)
# Of `until_told.py`.
STEPS = 40

pytestmark = pytest.mark.timeout(300 + COUNT // 4)


def waiting(name: str, flag: Path) -> str:
    """A run that stands in the middle of its steps until a file appears, as configuration text."""
    return json.dumps(
        {
            "name": name,
            "entrypoint": "until_told.py:train",
            "working_directory": str(ASSETS),
            "parameters": {"flag": str(flag)},
            "resources": {"cpus_per_worker": 0.1},
            # A loop that waits sees no wish.
            "limits": {"stop_deadline_seconds": 5.0},
        }
    )


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """A stack whose log holds what others must not meet."""
    made = StackProcess(tmp_path_factory.mktemp("attacked") / "data")
    try:
        yield made.start()
    finally:
        made.end()


async def said(stack: StackProcess, runtime_ids: Sequence[str]) -> list[LogMessage]:
    """Read what stands in the log on the subjects of attempts."""
    credentials = find_credentials(stack.data_dir / "keys", "runtime")
    subjects = [attempt_subject(runtime_id, 1, 1) for runtime_id in runtime_ids]
    async with await connect(stack.endpoints.nats, credentials=credentials, name="reader") as connection:
        return [message async for message in JetStreamLog(connection).read(0, None, subjects)]


async def own_events(stack: StackProcess, attempt: Attempt) -> None:
    """Give an attempt what is in its chain, to say it again and out of order."""
    credentials = find_credentials(stack.data_dir / "keys", "runtime")
    async with await connect(stack.endpoints.nats, credentials=credentials, name="reader") as connection:
        for event in await JetStreamLog(connection).read_chain(trial_chain(attempt.runtime_id, 1)):
            stored = await get_message(connection, EVENTS, {"seq": event.sequence})
            assert stored is not None
            attempt.seen.append((dict(stored.headers), stored.body))


async def speak(stack: StackProcess, runtime_id: str, count: int, seed: int) -> None:
    """Send messages with the user of the attempt of a run, so many of events and of telemetry."""
    attempt = Attempt(runtime_id, 1, 1, random.Random(seed))
    await own_events(stack, attempt)
    credentials = stack.data_dir / "runtimes" / runtime_id / "trial-1" / "attempt-1" / "nats.creds"
    async with await connect(stack.endpoints.nats, credentials=credentials, name="hostile") as connection:
        kinds: list[Iterator[Sent]] = [events(attempt, count), telemetry_messages(attempt, count)]
        for _ in range(0, count, AT_ONCE):
            for messages in kinds:
                await send(connection, list(islice(messages, AT_ONCE)))
        await send(connection, [last_word(attempt)])


async def end_the_broker(stack: StackProcess, runtime_id: str) -> None:
    """Send what ends nats-server itself, and wait until it is started again."""
    before = stack.part("nats").pid
    credentials = stack.data_dir / "runtimes" / runtime_id / "trial-1" / "attempt-1" / "nats.creds"
    async with await connect(stack.endpoints.nats, credentials=credentials, name="hostile") as connection:
        message = one_byte_of_headers(Attempt(runtime_id, 1, 1, random.Random(SEED)))
        await connection.client._send_command(message.wire())
        with suppress(LogUnavailable):
            await connection.flush()
    until(lambda: stack.part("nats").pid != before, "the broker is started again", 30)


def stop(stack: StackProcess, name: str, mode: common.StopMode) -> bool:
    """Stop a run. False: what its own attempt said has ended it already."""
    try:
        stack.client.stop_runtime(name, mode=mode)
    except FailedPrecondition:
        assert stack.runtime(name).status == runtime_api.RUNTIME_STATUS_FAILED
        return False
    return True


def sequences_in(findings: Sequence[dict[str, Any]]) -> set[int]:
    """Every sequence that findings name."""
    found: set[int] = set()
    for finding in findings:
        listed = re.search(r"(?:messages|nothing): ([0-9, -]+)(?:;|$)", finding["message"])
        for part in listed[1].split(", ") if listed is not None else [str(finding.get("sequence", 0))]:
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    return found


def check_services(stack: StackProcess, names: Sequence[str]) -> None:
    """Every service says that it serves, and answers what people ask of each run."""
    for address in (stack.endpoints.runtime, stack.endpoints.trials, stack.endpoints.metrics):
        with grpc.insecure_channel(address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            until(lambda check=check: check(health_pb2.HealthCheckRequest(), timeout=20).status == SERVING, address, 60)  # type: ignore[misc]
    listed = stack.client.runtimes.ListRuntimes(runtime_api.ListRuntimesRequest(page_size=100)).runtimes
    assert {runtime.name for runtime in listed} == set(names)
    for name in names:
        assert stack.events(name)
        assert stack.trial(name).name == f"{name}/trials/1"
        # The metric service hears of a sender with its first points.
        until(lambda name=name: list(stack.completeness(name).senders) or None, f"who sends of {name} is known")  # type: ignore[misc]


def stop_and_resume(stack: StackProcess, build: Path) -> str:
    """Train with the trainer of another build, stop that, and go on from its snapshot to the end. Returns the run."""
    configuration = json.loads(paced("another build", 0.05))
    # A checkout that is not installed: its own modules before those of this one.
    path = os.pathsep.join([str(build), *([] if (build / "trainer").exists() else [str(ROOT)])])
    configuration["environment"] = {"PYTHONPATH": path}
    name = str(stack.client.start_runtime(json.dumps(configuration)).name)
    stack.wait_for_step(name, 12)
    stack.client.stop_runtime(name)
    assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_ABORTED
    assert stack.trial(name).newest_snapshot_step >= 12, "the stop has saved all of it"
    stack.client.resume_runtime(name)
    assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_COMPLETED
    until(lambda: len(stack.series(name, "train/loss")) == PACED_STEPS, "each step is stored, once", 60)
    assert stack.completeness(name).gap_count == 0
    assert stack.trial(name).attempt_count == 2
    return name


def test_a_trainer_of_a_later_contract_trains_is_stopped_and_goes_on(attacked: StackProcess) -> None:
    name = stop_and_resume(attacked, ASSETS / "later_build")
    verified = attacked.milepost("audit", "verify", name, "--read-models", "-o", "json")
    verdict = json.loads(verified.stdout)
    assert verified.returncode == Exit.OK, verdict
    (words,) = {finding["kind"]: finding["message"] for finding in verdict["findings"]}.items()
    assert words[0] == "unknown"
    events_of_it = attacked.events(name)
    assert [event.type for event in events_of_it].count("milepost.trial.gradient_observed.v1") == 2
    assert not broken_links(events_of_it)


@pytest.mark.long
def test_a_trainer_of_an_old_build_trains_is_stopped_and_goes_on(attacked: StackProcess, tmp_path: Path) -> None:
    """Two hundred commits before this test. It needs the history of the repository."""
    archive = tmp_path / "old.tar"
    subprocess.run(["git", "-C", str(ROOT), "archive", "--output", str(archive), OLD_BUILD], check=True)
    with tarfile.open(archive) as content:
        content.extractall(tmp_path / "old", filter="data")
    loaded = [sys.executable, "-P", "-c", "import trainer, milepost; print(trainer.__file__, milepost.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "old")}
    said = subprocess.run(loaded, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.count(str(tmp_path / "old")) == 2
    name = stop_and_resume(attacked, tmp_path / "old")
    verified = attacked.milepost("audit", "verify", name, "--read-models")
    assert verified.returncode == Exit.OK, verified.stdout
    assert not broken_links(attacked.events(name))


async def test_what_attempts_say_stops_no_service_and_no_run(attacked: StackProcess, tmp_path: Path) -> None:
    stack, flag = attacked, tmp_path / "flag"
    before = stack.client.runtimes.ListRuntimes(runtime_api.ListRuntimesRequest(page_size=100)).runtimes
    healthy = [stack.client.start_runtime(waiting(f"healthy-{n}", flag)).name for n in range(HEALTHY)]
    hostile = [stack.client.start_runtime(waiting(f"hostile-{n}", tmp_path / "never")).name for n in range(HOSTILE)]
    ids, everyone = (
        [name.removeprefix("runtimes/") for name in hostile],
        [*healthy, *hostile, *(one.name for one in before)],
    )
    for name in (*healthy, *hostile):
        stack.wait_for_step(name, STEPS // 2)
    pids = {name: stack.part(name).pid for name in (*SERVICES, "nats")}

    for number, runtime_id in enumerate(ids):
        await speak(stack, runtime_id, COUNT // HOSTILE, SEED + number)
    check_services(stack, everyone)
    assert {name: stack.part(name).pid for name in pids} == pids, "every service lives on"
    await end_the_broker(stack, ids[0])
    stopped = [name for number, name in enumerate(hostile) if stop(stack, name, MODES[number % 2])]
    flag.touch()
    for name in hostile:
        ended = stack.wait_for_end(name).status
        assert ended == (runtime_api.RUNTIME_STATUS_ABORTED if name in stopped else runtime_api.RUNTIME_STATUS_FAILED)
    for name in healthy:
        assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_COMPLETED
        until(lambda name=name: len(stack.series(name, "train/loss")) == STEPS, f"each step of {name} is stored", 60)  # type: ignore[misc]
        assert stack.completeness(name).gap_count == 0
    assert {name: stack.part(name).pid for name in SERVICES} == {name: pids[name] for name in SERVICES}

    messages = await said(stack, ids)
    assert len(messages) > 0.8 * COUNT, "most of what was sent stands in the log for ever"
    await check_findings(stack, messages)
    assert stack.stop()[0] == Exit.OK
    shutil.rmtree(stack.data_dir / "checkpoints")
    stack.start()
    check_services(stack, everyone)
    for name in everyone:
        assert stack.runtime(name).phase == runtime_api.RUNTIME_PHASE_ENDED


async def check_findings(stack: StackProcess, messages: Sequence[LogMessage]) -> None:
    """The log is whole, and everything odd in it is named."""
    verified = stack.milepost("audit", "verify", "--read-models", "-o", "json")
    verdict = json.loads(verified.stdout)
    assert verified.returncode == Exit.OK, verdict["message"]
    findings = verdict["findings"]
    assert all(finding["tolerated"] for finding in findings)
    assert not [
        finding for finding in findings if finding["kind"] == "set_aside" and "set message" in finding["message"]
    ]
    odd = {message.sequence for message in messages if isinstance(message, UnreadableMessage)}
    assert len(odd) > len(messages) // 8
    assert odd <= sequences_in(findings)
