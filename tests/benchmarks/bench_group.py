"""Target 11: from the start of an attempt with two workers to its first step, on a Ray instance that runs already.

Beside it the same loop as a script with nothing but `TorchTrainer.fit`, from the start of its process; the same attempt
with `TorchTrainer` as it comes; and one with a Ray instance of its own. They take turns. The first run of each warms the
file cache and does not count.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.streams import ensure_streams
from milepost.training.telemetry.marker import marker_path, read_marker
from tests.benchmarks.parts.figures import report
from tests.support.servers.servers import running_nats
from tests.support.trainers.attempts import TrialOnTest, Writer

ASSETS = Path(__file__).resolve().parent.parent / "assets"
WORKERS = 2
RUNS = 3
SECONDS = 300.0


@contextmanager
def running_ray(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Ray instance that asks for a token. Gives the environment that joins it."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    command = [sys.executable, str(ASSETS / "ray_instance.py"), str(folder / "ray"), str(WORKERS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield {**environment, "RAY_ADDRESS": process.stdout.readline().strip()}
        process.stdin.close()
        process.wait(60)


def bare_seconds(folder: Path, ray: dict[str, str]) -> float:
    """Return the seconds from the start of the script to the end of the first step on all ranks."""
    folder.mkdir()
    began = time.time()
    command = [sys.executable, str(ASSETS / "bare_group.py"), str(folder), str(WORKERS)]
    subprocess.run(command, env={**os.environ, **ray}, check=True, capture_output=True, timeout=SECONDS)
    return max(float((folder / f"first-{rank}").read_text()) for rank in range(WORKERS)) - began


async def own_seconds(
    trial: TrialOnTest, ray: dict[str, str], *, module: str = "trainer", phases: bool = False
) -> float:
    """Return the same for an attempt, from the start of its driver, which is a module."""
    await trial.create({})
    async with Writer(trial.connection, trial.runtime_id):
        attempt = await trial.launch("loops.py:ddp", {}, code=ASSETS, workers=WORKERS)
        began = time.time()
        attempt.start(module, **ray)
        assert attempt.process is not None
        markers = [marker_path(attempt.directory, rank) for rank in range(WORKERS)]
        while not all(read_marker(marker) > 0 for marker in markers):
            if attempt.process.poll() is not None or time.time() > began + SECONDS:
                raise SystemExit(attempt.driver_log)
            await asyncio.sleep(0.005)
        seconds = time.time() - began
        if await attempt.wait(SECONDS) != 0:
            raise SystemExit(attempt.driver_log)
    if phases:
        await print_phases(trial, began, began + seconds)
    return seconds


async def print_phases(trial: TrialOnTest, began: float, first_step: float) -> None:
    """Say on stderr where the time went."""
    known = {
        "ClusterStateObserved": "driver, Ray, imports",
        "InstanceStarted": "workers",
        "AttemptStarted": "user code: imports, model",
    }
    moments = [("", began)]
    for name, what in known.items():
        events = [e for e in await trial.events() if e.type.split(".")[-2] == _snake(name)]
        moments.append((what, (events[0] if name == "ClusterStateObserved" else events[-1]).time.timestamp()))
    moments.append(("first step", first_step))
    for (_, start), (what, end) in pairwise(moments):
        print(f"  {what}: {end - start:.2f} s", file=sys.stderr)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


async def main() -> None:
    seconds: dict[str, list[float]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="mp-") as name,
        running_nats(Path(name) / "nats") as nats,
        running_ray(Path(name)) as ray,
    ):
        async with await connect(nats.url, name="bench") as connection:
            await ensure_streams(connection)

            def trial() -> TrialOnTest:
                return TrialOnTest(connection, nats.url, Path(name))

            for number in range(RUNS + 1):
                bare = await asyncio.to_thread(bare_seconds, Path(name) / f"bare-{number}", ray)
                seconds["bare"].append(bare)
                seconds["plain"].append(await own_seconds(trial(), ray, module="tests.support.trainers.plain_trainer"))
                seconds["own"].append(await own_seconds(trial(), ray, phases=number == RUNS))
                seconds["instance"].append(await own_seconds(trial(), {}))
    for name, kind, target in (
        ("11.group_start", "own", "ratio <= 1.1"),
        ("11.group_start_plain_trainer", "plain", ""),
        ("11.group_start_own_instance", "instance", ""),
    ):
        report(name, seconds[kind][1:], "s", target, peer="TorchTrainer.fit", peer_values=seconds["bare"][1:])


if __name__ == "__main__":
    asyncio.run(main())
