"""Searches whose runtime service is killed with -9 at random instants, compared with undisturbed ones."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio

from milepost.api.event.v1 import recorded_event_pb2 as events_api
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.metric.v1 import metric_service_pb2_grpc
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from tests.faults.test_runtime_service import SEED, Service, User
from tests.integration.runtime.harness import Metrics, kill_trainers, text, trainers_below
from tests.support.servers.servers import running_nats

# Evaluations, of trials that are pruned.
STEPS = 12
EVALUATE_EVERY = 2
SPACE: dict[str, Any] = {"x": {"minimum": -5, "maximum": 5}, "y": {"minimum": 0.01, "maximum": 10, "log_scale": True}}


class Measured(Metrics):
    """A metric service that has one point of each series of a trial, computed from what the trial was told."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__()
        self._data_dir = data_dir

    async def QuerySeries(
        self, request: metric_api.QuerySeriesRequest, context: grpc.aio.ServicerContext
    ) -> metric_api.QuerySeriesResponse:
        answer = metric_api.QuerySeriesResponse(events_sequence=1 << 50)
        values = values_of(self._data_dir, request.parents[0])
        for key in request.keys:
            value = [values[key]]
            answer.series.add(
                parent=request.parents[0], key=key, raw=True, mins=value, maxs=value, lasts=value, counts=[1]
            )
        return answer


def values_of(data_dir: Path, trial: str) -> Mapping[str, float]:
    """Compute what a trial logged from what it was told."""
    _, runtime_id, _, number = trial.split("/")
    folder = data_dir / "runtimes" / runtime_id / f"trial-{number}"
    launch = json.loads(next(folder.glob("attempt-*/attempt.json")).read_text())
    told = {name: json.loads(text_) for name, text_ in launch["parameters"].items()}
    # Where a space has no y, it is 1.
    x, y = told["x"], told.get("y", 1.0)
    return {"eval/loss": float((x - 1) ** 2 + math.log(y) ** 2), "size": float(abs(x) + y)}


@asynccontextmanager
async def stack(tmp_path: Path) -> AsyncIterator[tuple[Service, User]]:
    server = grpc.aio.server()
    data_dir = tmp_path / "data"
    metric_service_pb2_grpc.add_MetricServiceServicer_to_server(Measured(data_dir), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with running_nats(tmp_path / "nats") as nats:
        service = Service(nats, data_dir, f"127.0.0.1:{port}")
        service.start()
        user = User(service)
        try:
            yield service, user
        finally:
            await user.close()
            service.kill()
            kill_trainers(service.data_dir)
            await server.stop(None)


def configuration(search: Mapping[str, Any], trials: int, at_once: int, seconds: float) -> str:
    """Write a search. `seconds`: how long a trial takes that is not pruned."""
    pruner = search.get("pruner")
    steps = STEPS if pruner else 1
    evaluating = {"evaluate_every": EVALUATE_EVERY} if pruner else {}
    # Of a population others begin at the snapshots of rungs.
    saving = EVALUATE_EVERY if pruner and pruner["kind"] == "pbt" else 0
    return text(
        parameters={"steps": steps, "step_seconds": seconds / steps, "snapshot_every": saving, **evaluating},
        retries={"max_retries": 50, "backoff_seconds": 0.1},
        search={
            "kind": "tpe",
            "space": SPACE,
            "objective": {"metric": "eval/loss", "mode": "min"},
            "seed": 5,
            "max_trials": trials,
            "max_concurrent_trials": at_once,
            **search,
        },
    )


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
    """List what the sampler was asked and told, and what was pruned, in the order of the log."""
    entries: list[tuple[str, int, Any]] = []
    for event in events:
        fact = event.runtime_event
        match fact.WhichOneof("payload"):
            case "trial_suggested":
                entries.append(("suggested", fact.trial_suggested.trial, dict(fact.trial_suggested.parameters)))
            case "objective_reported":
                report = fact.objective_reported
                values = [
                    report.value,
                    *(one.value for one in report.values),
                    *(c.violation for c in report.constraints),
                ]
                entries.append(("reported", report.trial, (values, report.best, list(report.surpassed))))
            case "rung_reached":
                entries.append(("reached", fact.rung_reached.trial, (fact.rung_reached.rung, fact.rung_reached.value)))
            case "trial_pruned":
                pruned = fact.trial_pruned
                entries.append(
                    ("pruned", pruned.trial, (pruned.rung, pruned.cut_off, pruned.rank, pruned.reached_count))
                )
            case "trial_promoted":
                new = fact.trial_promoted
                entries.append(("promoted", new.child, (new.donor, new.replaced, new.rung, new.step, new.value)))
            case "earlier_trials_told":
                told = [(one.trial, dict(one.parameters), list(one.values)) for one in fact.earlier_trials_told.trials]
                entries.append(("told", 0, told))
            case "search_ended":
                over = fact.search_ended
                entries.append(("ended", over.best_trial, (over.best_value, list(over.best_trials))))
    return entries


async def check(
    service: Service, user: User, search: Mapping[str, Any], trials: int, at_once: int, kills: int, seconds: float
) -> list[tuple[str, int, Any]]:
    """Search while the service is killed, and with one trial at a time again undisturbed. Returns the history.

    Args:
        trials: how many there are to be; of a population: at most.
        seconds: how long a trial takes, so that the kills come before the end.
    """
    ended, done = await searched(user, service, configuration(search, trials, at_once, seconds), kills)
    events = await user.events(ended.name)
    assert ended.status == api.RUNTIME_STATUS_COMPLETED, [event.message for event in events[-20:]]
    found = history(events)
    if any(what == "promoted" for what, *_ in found):
        trials = sum(1 for what, *_ in found if what == "suggested")
    print(f"{done} kills of a search of {trials} trials, {at_once} at a time")
    assert done > 0
    for kinds in ({"suggested"}, {"reported", "pruned"}):
        numbers = [number for what, number, _ in found if what in kinds]
        assert sorted(numbers) == list(range(1, trials + 1)), "none is lost or doubled"
    created = [event.trial for event in events if event.type.endswith("trial_created.v1")]
    assert created == list(range(1, trials + 1))
    if search.get("pruner"):
        given_up = sum(1 for what, *_ in found if what == "pruned")
        print(f"{given_up} trials were pruned at {sum(1 for what, *_ in found if what == 'reached')} rungs")
        assert 0 < given_up < trials
    if at_once == 1:
        undisturbed, _ = await searched(user, service, configuration(search, trials, at_once, 0.0), 0)
        assert history(await user.events(undisturbed.name)) == found, "suggestions, values and the winner"
    assert trainers_below(service.data_dir) == []
    return found
