"""`kill -9` of the runtime service at random instants of a search: it goes on to the very same next point.

With one trial at a time suggestions, values and winner are those of the undisturbed search; with eight none is lost or
doubled. A few kills in every test run, fifty of each in `make test-faults`.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from tests.faults.test_runtime_service import SEED, Service, User
from tests.integration.runtime.harness import Metrics, kill_trainers, text, trainers_below
from tests.support.servers.servers import running_nats


def configuration(trials: int, at_once: int, seconds: float, pruner: dict[str, Any] | None) -> str:
    steps = 12 if pruner else 1
    evaluating = {"evaluate_every": 2} if pruner else {}
    return text(
        parameters={"steps": steps, "step_seconds": seconds / steps, "snapshot_every": 0, **evaluating},
        retries={"max_retries": 50, "backoff_seconds": 0.1},
        search={
            "kind": "tpe",
            "space": {"x": {"minimum": -5, "maximum": 5}, "y": {"minimum": 0.01, "maximum": 10, "log_scale": True}},
            "objective": {"metric": "eval/loss", "mode": "min"},
            "seed": 5,
            "max_trials": trials,
            "max_concurrent_trials": at_once,
            "pruner": pruner,
        },
    )


def value_of(data_dir: Path, trial: str) -> float:
    """Compute what a trial logged from what it was told."""
    _, runtime_id, _, number = trial.split("/")
    folder = data_dir / "runtimes" / runtime_id / f"trial-{number}"
    launch = json.loads(next(folder.glob("attempt-*/attempt.json")).read_text())
    x, y = (json.loads(launch["parameters"][name]) for name in "xy")
    return float((x - 1) ** 2 + math.log(y) ** 2)


@asynccontextmanager
async def stack(tmp_path: Path) -> AsyncIterator[tuple[Service, User]]:
    metrics, server = Metrics(), grpc.aio.server()
    metric_service_pb2_grpc.add_MetricServiceServicer_to_server(metrics, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with running_nats(tmp_path / "nats") as nats:
        service = Service(nats, tmp_path / "data", f"127.0.0.1:{port}")
        metrics.points = lambda trial: [value_of(service.data_dir, trial)]
        service.start()
        user = User(service)
        try:
            yield service, user
        finally:
            await user.close()
            service.kill()
            kill_trainers(service.data_dir)
            await server.stop(None)


async def searched(user: User, service: Service, wanted: str, kills: int) -> tuple[api.Runtime, int]:
    """Search to the end while the service is killed. Returns the runtime, and how many kills came before its end."""
    request = api.StartRuntimeRequest(configuration_text=wanted)
    name = str((await user.command("StartRuntime", request)).runtime.name)
    chance, done = random.Random(SEED), 0
    # Fifty restarts, each of some seconds.
    ending = asyncio.create_task(user.wait(name, lambda r: r.phase == api.RUNTIME_PHASE_ENDED, 1_000.0))
    while done < kills and not ending.done():
        await asyncio.sleep(chance.uniform(0.3, 5.0))
        if not ending.done():
            await asyncio.to_thread(service.kill)
            service.start()
            done += 1
    return await ending, done


def history(events: list[events_api.RecordedEvent]) -> list[tuple[str, int, Any]]:
    """List what the sampler was asked and told, in the order of the log."""
    entries: list[tuple[str, int, Any]] = []
    for event in events:
        fact = event.runtime_event
        match fact.WhichOneof("payload"):
            case "trial_suggested":
                entries.append(("suggested", fact.trial_suggested.trial, dict(fact.trial_suggested.parameters)))
            case "objective_reported":
                entries.append(("reported", fact.objective_reported.trial, fact.objective_reported.value))
            case "rung_reached":
                entries.append(("reached", fact.rung_reached.trial, (fact.rung_reached.rung, fact.rung_reached.value)))
            case "trial_pruned":
                pruned = fact.trial_pruned
                entries.append(
                    ("pruned", pruned.trial, (pruned.rung, pruned.cut_off, pruned.rank, pruned.reached_count))
                )
            case "search_ended":
                entries.append(("ended", fact.search_ended.best_trial, fact.search_ended.best_value))
    return entries


async def check(
    tmp_path: Path, trials: int, at_once: int, kills: int, seconds: float, pruner: dict[str, Any] | None = None
) -> None:
    """`seconds`: how long a trial takes, so that the kills come before the end."""
    async with stack(tmp_path) as (service, user):
        ended, done = await searched(user, service, configuration(trials, at_once, seconds, pruner), kills)
        events = await user.events(ended.name)
        assert ended.status == api.RUNTIME_STATUS_COMPLETED, [event.message for event in events[-20:]]
        found = history(events)
        print(f"{done} kills of a search of {trials} trials, {at_once} at a time")
        assert done > 0
        for kinds in ({"suggested"}, {"reported", "pruned"}):
            numbers = [number for what, number, _ in found if what in kinds]
            assert sorted(numbers) == list(range(1, trials + 1)), "none is lost or doubled"
        created = [event.trial for event in events if event.type.endswith("trial_created.v1")]
        assert created == list(range(1, trials + 1))
        if pruner:
            given_up = sum(1 for what, *_ in found if what == "pruned")
            print(f"{given_up} trials were pruned at {sum(1 for what, *_ in found if what == 'reached')} rungs")
            assert 0 < given_up < trials
        if at_once == 1:
            undisturbed, _ = await searched(user, service, configuration(trials, at_once, 0.0, pruner), 0)
            assert history(await user.events(undisturbed.name)) == found, "suggestions, values and the winner"
        assert trainers_below(service.data_dir) == []


@pytest.mark.timeout(180)
async def test_a_search_that_is_killed_is_the_undisturbed_one(tmp_path: Path) -> None:
    await check(tmp_path, trials=6, at_once=1, kills=2, seconds=1.0)


@pytest.mark.faults
@pytest.mark.timeout(1_500)
async def test_a_search_that_is_killed_fifty_times_is_the_undisturbed_one(tmp_path: Path) -> None:
    await check(tmp_path, trials=60, at_once=1, kills=50, seconds=1.0)


PRUNER = {"kind": "asha", "first_step": 2, "reduction_factor": 2}


@pytest.mark.faults
@pytest.mark.timeout(1_800)
async def test_a_search_with_a_pruner_that_is_killed_fifty_times_prunes_the_same_trials(tmp_path: Path) -> None:
    await check(tmp_path, trials=60, at_once=1, kills=50, seconds=1.2, pruner=PRUNER)


@pytest.mark.faults
@pytest.mark.timeout(1_500)
async def test_fifty_kills_lose_and_double_no_trial_with_eight_at_a_time(tmp_path: Path) -> None:
    await check(tmp_path, trials=60, at_once=8, kills=50, seconds=8.0)
