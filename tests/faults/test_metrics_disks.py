"""Power cuts of the disk of ClickHouse, and disks without room: of ClickHouse and of the spools."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest

from milepost.api.metric.v1 import metric_service_pb2 as pb
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import ensure_streams
from milepost.eventlog.telemetry import Telemetry
from tests.support.faults.disks import disk, fill
from tests.support.faults.metrics_crashes import RUNTIME, Trainer, compare, wait_serving
from tests.support.servers.metrics_service import MetricsProcess, metrics_client
from tests.support.servers.servers import running_nats, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

POWER_CUTS = 6
TRIALS = list(range(1, 9))


async def verified(process: MetricsProcess, connection: Connection) -> int:
    """Wait until everything in TELEMETRY is stored, compare it message by message, and return the points."""
    position = (await Telemetry(connection).state()).last_sequence
    async with metrics_client(process.address) as client:
        request = pb.QuerySeriesRequest(
            parents=[f"runtimes/{RUNTIME}/trials/1"], keys=["train/loss"], min_telemetry_sequence=position
        )
        await client.metrics.QuerySeries(request)
        answer = await client.metrics.VerifyStored(pb.VerifyStoredRequest())
        assert answer.difference_count == 0, list(answer.differences)
        completeness = await client.metrics.GetCompleteness(pb.GetCompletenessRequest(parent=f"runtimes/{RUNTIME}"))
        assert completeness.gap_count == 0, completeness.message
        assert completeness.sent_points == completeness.stored_points
        return answer.compared_points


async def test_clickhouse_opens_after_power_cuts_and_is_complete_again(tmp_path: Path) -> None:
    """What the disk has at the cut opens, and is complete after what came since is read from TELEMETRY."""
    chance = random.Random(3)
    with disk(tmp_path, megabytes=2048) as device, running_nats(tmp_path / "nats") as nats:
        process = MetricsProcess(device.path / "data", nats.url)
        process.start()
        trainer = Trainer(tmp_path / "trials", nats.url, TRIALS)
        try:
            async with await connect(nats.url, name="cuts") as connection:
                await ensure_streams(connection)
                await trainer.start(JetStreamLog(connection))
                await asyncio.to_thread(wait_until, trainer.has_begun, "the loops run", 120.0)
                before = 0
                for number in range(POWER_CUTS):
                    await asyncio.sleep(chance.uniform(0.5, 3.0))
                    last = number == POWER_CUTS - 1
                    if last:
                        await asyncio.to_thread(trainer.finish)
                    assert process.process is not None
                    process.process.send_signal(signal.SIGSTOP)
                    cut = tmp_path / f"cut-{number}"
                    cut.mkdir()
                    with device.after_power_cut(cut) as survived:
                        survivor = MetricsProcess(survived / "data", nats.url)
                        try:
                            await asyncio.to_thread(survivor.start)
                            points = await verified(survivor, connection)
                            assert points > before
                            before = points
                            print(f"cut {number}: {points:,} points, all of them stored after it")
                            if last:
                                async with metrics_client(survivor.address) as client:
                                    print(await compare(client, [trainer]))
                        finally:
                            survivor.kill()
                    process.process.send_signal(signal.SIGCONT)
        finally:
            trainer.kill()
            process.kill()


async def until_logged(process: MetricsProcess, text: str) -> None:
    deadline = time.monotonic() + 120
    while text not in process.log_path.read_text():
        assert time.monotonic() < deadline, process.log_path.read_text()[-4000:]
        await asyncio.sleep(0.2)


async def test_a_full_disk_of_clickhouse_loses_nothing(tmp_path: Path) -> None:
    """The writer says what is wrong and waits; when there is room again, it catches up."""
    with disk(tmp_path, megabytes=256) as device, running_nats(tmp_path / "nats") as nats:
        # Its own log is on the disk too: written as long as there is room for a few lines.
        process = MetricsProcess(device.path / "data", nats.url)
        process.start()
        trainer = Trainer(tmp_path / "trials", nats.url, TRIALS)
        try:
            async with await connect(nats.url, name="full") as connection:
                await ensure_streams(connection)
                await trainer.start(JetStreamLog(connection))
                await asyncio.to_thread(wait_until, trainer.has_begun, "the loops run", 120.0)
                await asyncio.sleep(3.0)
                ballast = fill(device.path, leave_bytes=256 << 10)
                await until_logged(process, "the disk of ClickHouse is full")
                await asyncio.to_thread(wait_until, lambda: not process.is_serving(), "it is not healthy", 60.0)
                await asyncio.sleep(5.0)
                ballast.unlink()
                await asyncio.to_thread(wait_serving, process)
                await asyncio.to_thread(trainer.finish)
                await verified(process, connection)
                async with metrics_client(process.address) as client:
                    print(await compare(client, [trainer]))
        finally:
            trainer.kill()
            process.kill()


async def test_a_full_disk_of_the_spools_and_a_broker_away_lose_nothing(tmp_path: Path) -> None:
    """What the disk cannot take waits in memory; each problem is said in one line."""
    with disk(tmp_path, megabytes=64) as device, running_nats(tmp_path / "nats") as nats:
        process = MetricsProcess(tmp_path / "data", nats.url)
        process.start()
        problems = ("the spool cannot be written", "training goes on, its telemetry waits in")
        trainer = Trainer(device.path / "trials", nats.url, TRIALS, log_folder=tmp_path)

        def said(problem: str) -> int:
            return sum(problem in line for line in trainer.log_path.read_text().splitlines())

        try:
            async with await connect(nats.url, name="full") as connection:
                await ensure_streams(connection)
                await trainer.start(JetStreamLog(connection))
                await asyncio.to_thread(wait_until, trainer.has_begun, "the loops run", 120.0)
                await asyncio.to_thread(nats.kill)
                ballast = fill(device.path, leave_bytes=64 << 10)
                await asyncio.to_thread(wait_until, lambda: all(map(said, problems)), "both problems are said", 120.0)
                await asyncio.sleep(5.0)
                ballast.unlink()
                await asyncio.to_thread(nats.restart)
                await asyncio.to_thread(wait_serving, process)
                await asyncio.to_thread(trainer.finish)
                lines = trainer.log_path.read_text().splitlines()
                assert all(1 <= said(problem) <= len(TRIALS) for problem in problems), lines
                assert len(lines) <= 2 * len(TRIALS), lines
                async with metrics_client(process.address) as client:
                    print(await compare(client, [trainer]))
        finally:
            trainer.kill()
            process.kill()


async def test_a_broker_that_is_away_for_a_minute_holds_nobody_up(tmp_path: Path) -> None:
    """The loops go on; afterwards everything arrives, and in order."""
    with running_nats(tmp_path / "nats") as nats:
        process = MetricsProcess(tmp_path / "data", nats.url)
        process.start()
        trainer = Trainer(tmp_path / "trials", nats.url, TRIALS)
        try:
            async with await connect(nats.url, name="away") as connection:
                await ensure_streams(connection)
                await trainer.start(JetStreamLog(connection))
                await asyncio.to_thread(wait_until, trainer.has_begun, "the loops run", 120.0)
                await asyncio.sleep(5.0)
                await asyncio.to_thread(nats.kill)
                await asyncio.sleep(60.0)
                await asyncio.to_thread(nats.restart)
                await asyncio.to_thread(wait_serving, process)
                await asyncio.to_thread(trainer.finish)
                await _check_order(connection)
                async with metrics_client(process.address) as client:
                    print(await compare(client, [trainer]))
        finally:
            trainer.kill()
            process.kill()


async def _check_order(connection: Connection) -> None:
    """Of each sender and kind, a number comes for the first time after all those before it."""
    telemetry = Telemetry(connection)
    end = (await telemetry.state()).last_sequence
    highest: dict[str, int] = {}
    async with telemetry.consume(0, ["telemetry.>"]) as reader:
        position = 0
        while position < end:
            for message in await reader.next_batch(500, wait_seconds=5.0):
                position = message.sequence
                number = int(message.headers["mp-number"])
                assert number <= highest.get(message.subject, 0) + 1, message.subject
                highest[message.subject] = max(number, highest.get(message.subject, 0))
    assert len(highest) == 2 * len(TRIALS)
