"""Figure 5 under a thousand rules: freshness at 50,000 points a second with the rule service and without, in turns.

A hundred runtimes of one trial each; ten rules watch each of them, two of each of its five series, and stay quiet. The rule
service is a process beside the others, so what it takes of the two cores is in the figures. `MILEPOST_BENCH_SCALE` below 1
makes each turn shorter.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import numpy as np
import psutil

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.rule.v1 import rule_service_pb2 as api
from milepost.api.rule.v1 import rule_service_pb2_grpc
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.streams import ensure_streams
from milepost.ids import new_runtime_id
from tests.benchmarks.live.bench_freshness import KEYS, MEASURED_SECONDS, TRIALS, WARM_SECONDS, Load, measure
from tests.benchmarks.parts.figures import report
from tests.support.servers.processes import running_services
from tests.support.servers.servers import running_nats
from tests.support.trainers.writer import Writer

TURNS = 3
# Without the runtime service, which would take part in runs that a benchmark only writes.
SERVICES = ("trials", "metrics", "gateway")
# Values are normal: none of these bounds is met.
QUIET = (
    lambda key: rules.Detector(threshold=rules.Threshold(series=key, comparison=rules.COMPARISON_ABOVE, value=1_000.0)),
    lambda key: rules.Detector(change=rules.Change(series=key, deviations=500.0)),
)
MIB = 1 << 20


@dataclass(slots=True)
class Turn:
    """What was measured once; times in ms."""

    on_page: float
    in_query: float
    # Of the rule service: processor seconds a second, and MiB at the begin and the end.
    cores: float = 0.0
    memory: list[float] = field(default_factory=list)


async def make_rules(address: str, runtime_ids: list[str]) -> None:
    """Have ten rules watch each runtime."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = rule_service_pb2_grpc.RuleServiceStub(channel)
        for number, runtime_id in enumerate(runtime_ids):
            for place, key in enumerate(KEYS):
                for kind, detector in enumerate(QUIET):
                    rule = rules.Rule(selector=f"id={runtime_id}", detector=detector(key))
                    await stub.CreateRule(api.CreateRuleRequest(rule_id=f"r{number}-{place}-{kind}", rule=rule))
        # The thousandth is one that fires, instead of the last of those.
        last = f"r{len(runtime_ids) - 1}-{len(KEYS) - 1}-{len(QUIET) - 1}"
        below = rules.Threshold(series=KEYS[0], comparison=rules.COMPARISON_BELOW, value=1_000.0)
        rule = rules.Rule(selector=f"id={runtime_ids[-1]}", detector=rules.Detector(threshold=below))
        await stub.UpdateRule(api.UpdateRuleRequest(name=f"rules/{last}", rule=rule))


async def check_that_rules_look(address: str, runtime_id: str) -> None:
    """Fail unless the rule that is to fire has."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = rule_service_pb2_grpc.RuleServiceStub(channel)
        request = api.ListFiringsRequest(parent="rules/-", runtime=f"runtimes/{runtime_id}")
        found = (await stub.ListFirings(request)).firings
        assert len(found) == 1, found


async def turn(connection: Connection, folder: Path, nats_url: str, with_rules: bool) -> Turn:
    """Measure once, with services and runs of its own."""
    names = (*SERVICES, "rules") if with_rules else SERVICES
    with ExitStack() as stack:
        services = stack.enter_context(running_services(folder, nats_url, names))
        writers = [Writer(connection, new_runtime_id()) for _ in range(TRIALS)]
        if with_rules:
            await make_rules(services["rules"].address, [writer.runtime_id for writer in writers])
        for writer in writers:
            await writer.request()
            await writer.run(total_steps=1_000_000)
        load = Load(connection, [(writer.runtime_id, 1) for writer in writers])
        watching = asyncio.create_task(_watched(services["rules"].process)) if with_rules else None
        await measure(load, f"http://{services['gateway'].address}", services["metrics"].address)
        done = Turn(float(np.quantile(load.on_page, 0.99)), float(np.quantile(load.in_query, 0.99)))
        if watching is not None:
            done.cores, done.memory = await watching
            await check_that_rules_look(services["rules"].address, writers[-1].runtime_id)
        report("5.points sent", load.sent / MEASURED_SECONDS, "points/s", ">= 50000")
        return done


async def _watched(process: object) -> tuple[float, list[float]]:
    """Return what a process takes of a core, and its memory over the time, in MiB."""
    looked = psutil.Process(process.pid)  # type: ignore[attr-defined]
    await asyncio.sleep(WARM_SECONDS)
    began, before = time.monotonic(), sum(looked.cpu_times()[:2])
    memory = [looked.memory_info().rss / MIB]
    for _ in range(4):
        await asyncio.sleep(MEASURED_SECONDS / 5)
        memory.append(looked.memory_info().rss / MIB)
    return (sum(looked.cpu_times()[:2]) - before) / (time.monotonic() - began), memory


async def main() -> None:
    turns: dict[bool, list[Turn]] = {False: [], True: []}
    for number in range(TURNS):
        for with_rules in (False, True):
            with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder, running_nats(Path(folder) / "nats") as nats:
                async with await connect(nats.url, name="bench") as connection:
                    await ensure_streams(connection)
                    done = await turn(connection, Path(folder) / f"data-{number}", nats.url, with_rules)
                    turns[with_rules].append(done)
    ruled, plain = turns[True], turns[False]
    for name, target, value in (
        ("5.log to an SSE client, p99, with 1,000 rules", "<= 1.2x", lambda one: one.on_page),
        ("5.log to QuerySeries, p99, with 1,000 rules", "<= 1.2x", lambda one: one.in_query),
    ):
        report(
            name,
            [value(one) for one in ruled],
            "ms",
            target,
            peer="without the rule service",
            peer_values=[value(one) for one in plain],
        )
    report("5.rule service under 1,000 rules", [one.cores for one in ruled], "core", "<= 0.35")
    report("5.memory of the rule service at the begin", [one.memory[0] for one in ruled], "MiB", "")
    report("5.memory of the rule service at the end", [one.memory[-1] for one in ruled], "MiB", "flat")


if __name__ == "__main__":
    asyncio.run(main())
