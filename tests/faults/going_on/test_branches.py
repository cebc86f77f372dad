"""`kill -9` of the runtime service, and of trainers, at random instants of a branch: from its command to its last step.

The command is given with one request id until it is answered, as a script does. There is one branch for each id, it ends as
if nothing had happened, and its curve is that of the parent's own continuation, bit for bit. Twenty instants by
`make test-faults`; every test run kills a branch among other runs in `test_runtime_service.py`.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.cli.runs.following import ENDED
from milepost.errors import DeadlineExceeded, Unavailable
from tests.e2e.stack import FREE_PORTS, StackProcess, until
from tests.support.programs.guides import block
from tests.support.servers.ports import free_ports

PAGE = "docs/guides/branching.md"
SEED = 25
KILLS = 20
# A branch is asked for, launched, trained and ended in about so long when nothing is killed.
COMMAND_SECONDS, TRAINING_SECONDS = 1.0, 5.0
SETTLE_SECONDS = 120.0


def the_guides_run(folder: Path) -> str:
    """The program of the guide, which goes on after a crash."""
    (folder / "again.py").write_text(block(PAGE, "python", "def train"))
    more = {"working_directory": str(folder), "retries": {"max_retries": 20, "backoff_seconds": 0.1}}
    return f"{block(PAGE, 'yaml', 'entrypoint:')}\n" + "".join(f"{k}: {json.dumps(v)}\n" for k, v in more.items())


def branched(stack: StackProcess, request: api.BranchTrialRequest) -> str:
    """Ask for a branch again and again, until it is answered. Returns its name."""

    def ask() -> str | None:
        with suppress(Unavailable, DeadlineExceeded):
            return str(stack.client.runtimes.BranchTrial(request, timeout=5).runtime.name)
        return None

    return until(ask, "the branch is answered", SETTLE_SECONDS)


def ended(stack: StackProcess, name: str) -> api.Runtime:
    """Wait for the end, while who answers is being killed."""

    def ask() -> api.Runtime | None:
        with suppress(Unavailable, DeadlineExceeded):
            request = api.GetRuntimeRequest(name=name)
            found = stack.client.runtimes.GetRuntime(request, timeout=5).runtime
            return found if found.phase in ENDED else None
        return None

    return until(ask, f"{name} ends", SETTLE_SECONDS)


def kill(stack: StackProcess, victim: str, seconds: float, killed: Counter[str]) -> None:
    """Kill the runtime service so many seconds from now, or a trainer so long after there is one."""
    deadline = time.monotonic() + SETTLE_SECONDS
    if victim == "trainer":
        while not (trainers := stack.trainers()) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(seconds)
        for trainer in trainers:
            with suppress(psutil.NoSuchProcess):
                trainer.kill()
                killed[victim] += 1
        return
    time.sleep(seconds)
    with suppress(psutil.NoSuchProcess):
        stack.kill(victim)
        killed[victim] += 1


def curve(stack: StackProcess, name: str) -> dict[int, float]:
    (series,) = stack.client.query_series(
        [f"{name}/trials/1"], ["train/loss"], bucket_count=10_000, ancestry=True
    ).series
    assert series.raw
    return dict(zip(series.last_steps, series.lasts, strict=True))


@pytest.mark.faults
@pytest.mark.timeout(1_200)
def test_a_branch_that_is_killed_anywhere_is_one_branch_with_the_parents_curve(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    # A port of its own: the one that is usual would go to another stack of this machine while the service is dead.
    (port,) = free_ports(1)
    stack = StackProcess(tmp_path / "data", [*FREE_PORTS, f"--runtime-listen=127.0.0.1:{port}"])
    killed: Counter[str] = Counter()
    try:
        stack.start()
        parent = stack.client.start_runtime(the_guides_run(tmp_path)).name
        assert stack.wait_for_end(parent).status == api.RUNTIME_STATUS_COMPLETED
        whole = stack.series(parent, "train/loss")
        listed = stack.client.runtimes.ListSnapshots(api.ListSnapshotsRequest(parent=parent)).snapshots
        steps = sorted(snapshot.step for snapshot in listed if 0 < snapshot.step < 50)
        made: dict[str, tuple[str, int]] = {}
        for number in range(KILLS):
            at, request_id = chance.choice(steps), str(uuid.uuid4())
            victim = ("runtime", "trainer")[number % 2]
            # Half of the kills of the service come while the command is on its way.
            seconds = chance.uniform(0, COMMAND_SECONDS if number % 4 == 0 else TRAINING_SECONDS)
            killer = threading.Thread(target=kill, args=(stack, victim, seconds, killed))
            killer.start()
            request = api.BranchTrialRequest(name=f"{parent}/trials/1", step=at, request_id=request_id)
            name = branched(stack, request)
            assert request_id not in made
            made[request_id] = name, at
            last = ended(stack, name)
            killer.join(SETTLE_SECONDS)
            attempts = sum("attempt_launched" in event.type for event in stack.events(name))
            print(f"{victim} killed after {seconds:.2f} s: {name} from step {at} took {attempts} attempts")
            assert last.status == api.RUNTIME_STATUS_COMPLETED, last
            assert branched(stack, request) == name, "asked once more, it is the same"
        nodes = stack.client.runtimes.ListLineage(api.ListLineageRequest(name=parent)).nodes
        assert sorted(node.name for node in nodes[1:]) == sorted(name for name, _ in made.values())
        for name, at in made.values():
            own = stack.series(name, "train/loss")
            assert own == {step: value for step, value in whole.items() if step > at}, name
            assert curve(stack, name) == whole, name
            assert stack.completeness(name).gap_count == 0
        print(f"killed: {dict(killed)}")
        assert killed["runtime"] >= KILLS // 2 and killed["trainer"] >= KILLS // 4, "most hit a process"
    finally:
        stack.end()
