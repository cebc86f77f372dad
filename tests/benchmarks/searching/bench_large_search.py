"""A search by TPE with 10,000 trials: what a suggestion takes beside Optuna's own time, and commands of others meanwhile.

A runtime service in this process, on a real nats-server and a log in which all but the last trials are done, at points
that were drawn. The trials that are left end as soon as they are launched, so the service does nothing but search, while
somebody else stops scripts. A study of plain Optuna is told the same trials and asked for as many more.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import psutil
from google.protobuf.message import Message

from milepost import configuration as configurations
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.eventlog import (
    Head,
    NewEvent,
    WrongExpectedSequence,
    attempt_subject,
    codec,
    control_subject,
    runtime_chain,
    runtime_subject,
    trial_chain,
)
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.ids import new_event_id, new_runtime_id
from milepost.names import AttemptKey
from services.runtime.application import Application
from services.runtime.launchers import Blind, Launcher
from services.runtime.launchers.claims import Claims
from services.runtime.policies.control import Exit, Process
from services.runtime.policies.placement import Capacity
from services.runtime.searching.controller import Searches
from services.runtime.searching.sampler import Sampler
from services.runtime.searching.study import VERSION, distribution_of
from tests.benchmarks.parts.figures import report
from tests.integration.runtime.harness import Stack, running
from tests.support.servers.servers import NatsServer, running_nats

TRIALS, LIVE = 10_000, 100
SEED = 7
# Trials of one append.
AT_ONCE = 50
STOPS = 300
ASKED_EVERY = 0.02
SETTLE_SECONDS = 45.0
SPACE: dict[str, Any] = {
    "x": {"minimum": -5.0, "maximum": 5.0},
    "y": {"minimum": 0.001, "maximum": 10.0, "log_scale": True},
}
SCRIPT = api.StartRuntimeRequest(configuration_text="{name: bench, launcher: external}")


def value_of(point: Mapping[str, Any]) -> float:
    return (point["x"] - 1) ** 2 + math.log(point["y"]) ** 2


def drawn(trials: int) -> list[dict[str, float]]:
    chance = random.Random(SEED)
    return [
        {"x": chance.uniform(-5, 5), "y": math.exp(chance.uniform(math.log(0.001), math.log(10)))}
        for _ in range(trials)
    ]


def asked_of_optuna(points: Sequence[Mapping[str, float]], more: int) -> list[float]:
    """Return the milliseconds of each of some questions to plain Optuna, which knows the points."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED))
    space = {
        name: distribution_of({"log_scale": False, "integer": False, **dimension})
        for name, dimension in sorted(SPACE.items())
    }
    for point in points:
        study.add_trial(
            optuna.trial.create_trial(params=dict(point), distributions=space, value=value_of(point))  # type: ignore[arg-type]
        )
    taken = []
    for _ in range(more):
        began = time.perf_counter()
        asked = study.ask(space)
        taken.append(1_000 * (time.perf_counter() - began))
        study.tell(asked, value_of(asked.params))
    return taken


class Instant(Blind):
    """A launcher whose attempts are complete as soon as they are launched."""

    def __init__(self, application: Searching) -> None:
        self._application = application
        self._processes: dict[AttemptKey, Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.may_end = asyncio.Event()

    def capacity(self) -> Capacity | None:
        return Capacity("bench", 64.0, 64.0)

    def observe(self, key: AttemptKey) -> tuple[Process, Exit]:
        return self._processes.get(key, Process.ABSENT), Exit()

    async def launch(self, key: AttemptKey, launch: AttemptLaunch, environment: Mapping[str, str]) -> None:
        self._processes[key] = Process.RUNNING
        task = asyncio.create_task(self._run(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: AttemptKey) -> None:
        chain, event_log = trial_chain(key.runtime_id, key.trial), self._application.event_log
        await self.may_end.wait()
        while True:
            try:
                await event_log.append(_attempt(key), [await event_log.head(chain)])
                break
            except WrongExpectedSequence:
                continue
        self._processes[key] = Process.GONE


class Searching(Application):
    """The service with that launcher."""

    @property
    def event_log(self) -> JetStreamLog:
        return self._log

    def _build_launchers(self, claims: Claims) -> dict[config.Launcher, Launcher]:
        self.instant = Instant(self)
        return {**super()._build_launchers(claims), config.LAUNCHER_LOCAL: self.instant}

    def _build_searches(self) -> Searches:
        searches = super()._build_searches()
        command = (sys.executable, "-m", "tests.benchmarks.parts.filled_sampler", str(self.known))
        self.sampler = searches._sampler = Sampler(command)
        return searches

    known = 0


def _event(subject: str, payload: Message) -> NewEvent:
    return NewEvent(subject, *codec.encode(payload), new_event_id(), datetime.now(UTC), "/bench", "local:bench")


def _attempt(key: AttemptKey) -> list[NewEvent]:
    subject = attempt_subject(key.runtime_id, key.trial, key.attempt)
    ended = facts.AttemptEnded(
        attempt=key.attempt, outcome=facts.ATTEMPT_OUTCOME_COMPLETED, cause=common.EXIT_CAUSE_FINISHED, last_step=10
    )
    return [_event(subject, facts.AttemptStarted(attempt=key.attempt, world_size=1)), _event(subject, ended)]


def _trial(runtime_id: str, number: int, point: Mapping[str, float], best: bool) -> list[NewEvent]:
    """Return the events of a trial that was suggested and has completed."""
    runtime, control = runtime_subject(runtime_id), control_subject(runtime_id, number)
    parameters = {name: json.dumps(value) for name, value in sorted(point.items())}
    value = value_of(point)
    suggested = runtime_facts.TrialSuggested(
        trial=number,
        parameters=parameters,
        sampler="tpe",
        because=f"{number - 1} values known",
        sampler_version=VERSION,
    )
    told = runtime_facts.ObjectiveReported(
        trial=number, outcome=runtime_facts.OBJECTIVE_OUTCOME_VALUE, value=value, best=best, metric="eval/loss"
    )
    created = facts.TrialCreated(
        runtime_id=runtime_id, trial=number, parameters=parameters, searched_parameters=parameters
    )
    return [
        _event(runtime, suggested),
        _event(control, created),
        _event(control, facts.AttemptLaunched(attempt=1, reason=facts.LAUNCH_REASON_FIRST)),
        *_attempt(AttemptKey(runtime_id, number, 1)),
        _event(control, facts.TrialCompleted(attempt=1, last_step=10)),
        _event(runtime, told),
    ]


async def fill(nats: NatsServer, points: Sequence[Mapping[str, float]], trials: int) -> str:
    """Append a search that goes on, with the trials that it has so far. Returns its id."""
    plain = {
        "name": "large",
        "entrypoint": "bench:none",
        "search": {"kind": "tpe", "space": SPACE, "seed": SEED, "max_trials": trials,
                   "objective": {"metric": "eval/loss", "mode": "min"}},
    }  # fmt: skip
    configuration, runtime_id = configurations.resolve(plain), new_runtime_id()
    requested = runtime_facts.RuntimeRequested(
        runtime_id=runtime_id,
        configuration=configuration,
        configuration_digest=configurations.digest(configuration),
        trial_count=trials,
    )
    began = [requested, runtime_facts.ResourcesAllocated(cpus=1, host="bench"), runtime_facts.RuntimeStarted()]
    chain, best = runtime_chain(runtime_id), math.inf
    async with await connect(nats.url) as connection:
        event_log = JetStreamLog(connection)
        await event_log.append([_event(runtime_subject(runtime_id), payload) for payload in began], [Head(chain)])
        for first in range(0, len(points), AT_ONCE):
            events, heads = [], [await event_log.head(chain)]
            for number, point in enumerate(points[first : first + AT_ONCE], first + 1):
                events += _trial(runtime_id, number, point, value_of(point) < best)
                heads.append(Head(trial_chain(runtime_id, number)))
                best = min(best, value_of(point))
            await event_log.append(events, heads)
    return runtime_id


async def stops_while(stack: Stack, work: Awaitable[object]) -> list[float]:
    """Return the milliseconds of stops of scripts while something is done."""
    names = [(await stack.stub.StartRuntime(SCRIPT)).runtime.name for _ in range(STOPS)]
    taken: list[float] = []

    async def stop() -> None:
        while names:
            began = time.perf_counter()
            await stack.stub.StopRuntime(api.StopRuntimeRequest(name=names.pop()))
            taken.append(1_000 * (time.perf_counter() - began))
            await asyncio.sleep(ASKED_EVERY)

    stopping = asyncio.create_task(stop())
    await work
    await stopping
    return taken


class Gaps:
    """How long it takes from the value of a trial to the next suggestion, ms, as the service's own views see it."""

    def __init__(self, application: Application, runtime_id: str) -> None:
        self.taken: list[float] = []
        self._told = 0.0
        self._counts = (0, 0)
        self._runtime_id = runtime_id
        self._listening = application.views.listening(lambda view, sequence: self._note(view))

    def __enter__(self) -> Gaps:
        self._listening.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.__exit__(None, None, None)

    def _note(self, view: Any) -> None:
        if view.runtime_id != self._runtime_id:
            return
        history, now = view.state.history, time.perf_counter()
        counts = (len(history.reported), history.suggested_count)
        if counts[0] > self._counts[0]:
            self._told = now
        if counts[1] > self._counts[1] and self._told:
            self.taken.append(1_000 * (now - self._told))
            self._told = 0.0
        self._counts = counts


async def main(trials: int = TRIALS, live: int = LIVE) -> None:
    points = drawn(trials - live)
    told = {known: asked_of_optuna(points[:known], 20) for known in (100, 1_000, 3_000) if known < trials - live}
    optunas = asked_of_optuna(points, live)
    told[trials] = optunas
    for known, taken in told.items():
        report(
            f"search.10k: a question to plain Optuna that knows {known:,} trials", statistics.median(taken), "ms", ""
        )
    Searching.known = len(points)
    with tempfile.TemporaryDirectory() as directory, running_nats(Path(directory)) as nats:
        async with running(nats, Path(directory) / "quiet", application=Searching) as stack:
            quiet = await stops_while(stack, asyncio.sleep(0))
        runtime_id = await fill(nats, points, trials)
        before, began = psutil.Process().memory_info().rss, time.perf_counter()
        async with running(nats, Path(directory) / "data", application=Searching) as stack:
            ready = time.perf_counter() - began
            stack.metrics.points = lambda name: [_live_value(stack, name)]
            with Gaps(stack.application, runtime_id) as gaps:
                while stack.application.views.runtimes[runtime_id].state.history.suggested_count <= len(points):
                    await asyncio.sleep(0.1)
                replayed = time.perf_counter() - began
                # A search that has come so far was written down and proved on its way.
                await asyncio.sleep(SETTLE_SECONDS)
                assert isinstance(stack.application, Searching)
                sampler = psutil.Process(stack.application.sampler.process_id).memory_info().rss
                stack.application.instant.may_end.set()
                busy = await stops_while(stack, asyncio.sleep(0))
                while stack.application.views.runtimes[runtime_id].state.history.ended is None:
                    await asyncio.sleep(0.1)
            memory = psutil.Process().memory_info().rss - before
    _report(trials, live, gaps.taken, optunas, quiet, busy)
    name = "search.10k"
    report(f"{name}: service ready", ready, "s", "")
    report(f"{name}: first suggestion after a restart", replayed, "s", "")
    report(f"{name}: memory of the service for it", memory / 1e6, "MB", "")
    report(f"{name}: memory of the sampler", sampler / 1e6, "MB", "")
    report(f"{name}: load of the machine", os.getloadavg()[0], "", "")


def _live_value(stack: Stack, name: str) -> float:
    _, runtime_id, _, number = name.split("/")
    given = stack.application.views.runtimes[runtime_id].trials[int(number)].searched
    return value_of({parameter: json.loads(text) for parameter, text in given.items()})


def _report(
    trials: int, live: int, gaps: list[float], optunas: list[float], quiet: list[float], busy: list[float]
) -> None:
    ours, theirs = p95(gaps), p95(optunas[-live:])
    report("search.10k: suggestion, p95", ours, "ms", "", peer=VERSION, peer_values=theirs)
    report("search.10k: beyond Optuna's own, p95", ours - theirs, "ms", "<= 100")
    report(
        "search.10k: StopRuntime beside it, p99",
        statistics.quantiles(busy, n=100)[98],
        "ms",
        "<= 1.2x",
        peer="without",
        peer_values=statistics.quantiles(quiet, n=100)[98],
    )


def p95(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=20)[18]


if __name__ == "__main__":
    asyncio.run(main())
