"""Targets 1 to 3: what `log` costs its caller, with floats and with tensors, and what telemetry costs a loop; also its memory.

Real parts: a nats-server, a driver and a worker; a writer that says what is stored. Other trackers stand beside it where
they are installed. Arguments choose parts: `python -m tests.benchmarks.bench_sdk cost`.
"""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from tests.benchmarks.parts.figures import report
from tests.benchmarks.parts.peers import measure
from tests.support.servers.servers import NatsServer, running_nats
from tests.support.trainers.attempts import TrialOnTest, Writer

ASSETS = Path(__file__).resolve().parent.parent / "assets"
RUNS = 3
# Pairs of turns that are compared, and steps of 1 ms in each. Short: a machine is as fast in both of a pair.
TURNS, TURN_STEPS = 400, 100


async def run_attempt(
    nats: NatsServer,
    connection: Connection,
    folder: Path,
    entrypoint: str,
    parameters: dict[str, Any],
    meanwhile: Any = None,
) -> None:
    """Run a loop of `logging_cost.py` as an attempt; beside it `meanwhile`, if given."""
    trial = TrialOnTest(connection, nats.url, folder)
    await trial.create({})
    async with Writer(connection, trial.runtime_id):
        attempt = await trial.launch(f"logging_cost.py:{entrypoint}", parameters, code=ASSETS)
        attempt.start()
        if meanwhile is not None:
            await meanwhile
        if await attempt.wait() != 0:
            raise SystemExit(attempt.driver_log)


async def cost(nats: NatsServer, connection: Connection, folder: Path) -> None:
    runs = []
    for number in range(RUNS):
        result = folder / f"figures-{number}.json"
        await run_attempt(nats, connection, folder, "measure", {"result": str(result)})
        runs.append(json.loads(result.read_text()))
    peers = measure()
    means = [run["flat_out"]["mean_us"] for run in runs]
    if not peers:
        report("1.log of 3 floats, flat out, mean", means, "us", "<= 5")
    for peer in peers:
        beside = {"peer": str(peer["name"]), "peer_values": float(peer["microseconds"])}
        report("1.log of 3 floats, flat out, mean", means, "us", "<= 5; ratio <= 0.1", **beside)  # type: ignore[arg-type]
    report("1.log of 3 floats, flat out, p99", [run["flat_out"]["p99_us"] for run in runs], "us", "<= 25")
    report("1.log of 3 floats, flat out, median", [run["flat_out"]["median_us"] for run in runs], "us", "")
    for name, target in (("mean", "<= 5"), ("median", ""), ("p99", "<= 25")):
        values, least = ([run[kind][f"{name}_us"] for run in runs] for kind in ("paced", "paced_least"))
        floor = "a function that appends the row to a list"
        report(f"1.log of 3 floats, 1k steps/s, {name}", values, "us", target, peer=floor, peer_values=least)
    report("2.log of 3 CPU tensors, mean", [run["tensors"]["mean_us"] for run in runs], "us", "<= 10")
    report("3.memory gained over 42,100 steps", [run["memory_mib"] for run in runs], "MiB", "")


async def slowdown(nats: NatsServer, connection: Connection, folder: Path) -> None:
    """A loop that logs and the same loop that does not, in turns, in one process with everything that runs beside it.

    Not against a process without ours: the same Python code takes two processes up to a tenth more or less time,
    whatever they do beside it. What the other threads use is told by itself.
    """
    rounds = int(subprocess.run([sys.executable, str(ASSETS / "turns.py")], capture_output=True, check=True).stdout)
    taken: dict[str, list[dict[str, float]]] = {"on": [], "off": []}

    async def alternate() -> None:
        for turn in range(TURNS):
            # Who goes first changes, so that a drift of the machine favours nobody.
            for side in ("on", "off") if turn % 2 else ("off", "on"):
                (folder / f"{side}-{turn}").touch()
                done = folder / f"{side}-{turn}.json"
                while not done.exists():
                    await asyncio.sleep(0.002)
                taken[side].append(json.loads(done.read_text()))

    parameters = {"turns": str(folder), "rounds": rounds, "steps": TURN_STEPS, "count": TURNS}
    await run_attempt(nats, connection, folder, "take_turns", parameters, alternate())
    for name, what in (("thread", "CPU of the loop's thread"), ("clock", "by the clock")):
        percent = [100 * (on[name] / off[name] - 1) for on, off in zip(taken["on"], taken["off"], strict=True)]
        target = "<= 1" if name == "thread" else ""
        report(f"3.slowdown of 1 ms steps by logging 5 values, {what}", statistics.median(percent), "%", target)
        quartiles = statistics.quantiles(percent, n=4)
        # Of a median of so many, by the usual rule for values that are spread evenly around it.
        error = 1.25 * (quartiles[2] - quartiles[0]) / 1.35 / math.sqrt(TURNS)
        report(f"3.the same, standard error over {TURNS} pairs of turns", error, "%", "")
    for side, what in (("on", "while it logs"), ("off", "while it does not")):
        beside = sum(one["process"] - one["thread"] for one in taken[side])
        share = 100 * beside / sum(one["clock"] for one in taken[side])
        report(f"3.CPU of all other threads {what}", share, "% of a core", "")


async def away(nats: NatsServer, connection: Connection, folder: Path) -> None:
    flag, result = folder / "flag", folder / "away.json"

    async def take_away() -> None:
        while not flag.with_suffix(".away").exists():
            await asyncio.sleep(0.05)
        await asyncio.to_thread(nats.kill)
        while not flag.with_suffix(".after").exists():
            await asyncio.sleep(0.05)
        await asyncio.to_thread(nats.restart)

    await run_attempt(nats, connection, folder, "broker_away", {"result": str(result), "flag": str(flag)}, take_away())
    figures = json.loads(result.read_text())
    for name in ("before", "away", "after"):
        report(
            f"1.log of 3 floats, 1k steps/s, {name} 60 s without broker, mean", figures[name]["mean_us"], "us", "<= 5"
        )
        report(
            f"1.log of 3 floats, 1k steps/s, {name} 60 s without broker, p99", figures[name]["p99_us"], "us", "<= 25"
        )


PARTS = {"cost": cost, "slowdown": slowdown, "away": away}


async def main(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as name, running_nats(Path(name) / "nats") as nats:
        for part in parts or PARTS:
            async with await connect(nats.url, name="bench") as connection:
                await ensure_streams(connection)
                await PARTS[part](nats, connection, Path(name))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
