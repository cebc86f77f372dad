"""Two hundred runs under rules while everything around them is killed: each occurrence is one fact, and is told."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.protobuf.message import Message

from milepost.api.config.v1 import rule_pb2 as rules
from milepost.api.event.v1 import rule_events_pb2 as facts
from milepost.api.rule.v1 import rule_service_pb2 as rule_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.errors import DeadlineExceeded, Unavailable
from tests.e2e.stack import FREE_PORTS, StackProcess, until
from tests.support.receiver import Answer, Receiver

ASSETS = Path(__file__).resolve().parents[1] / "assets"
DIVERGES_AT, STEPS = 30, 45
PARTS = ("rules", "runtime", "nats")
AT_ONCE = 4
# Between two kills of a part; the supervisor waits before it starts one again.
PAUSE_SECONDS = (2.0, 6.0)
SETTLE_SECONDS = 300.0
RULES = {
    "far": rules.Detector(change=rules.Change(series="train/loss", window=20, direction=rules.DIRECTION_UP)),
    "said": rules.Detector(event=rules.EventSeen(type="milepost.trial.alert_raised.v1")),
    "ended": rules.Detector(state=rules.StateEntered(states=["Completed", "Failed"])),
}


class Killer:
    """Kills parts of a stack and trainers, at random moments, until it has done so often enough."""

    def __init__(self, stack: StackProcess, kills: int, chance: random.Random) -> None:
        self.killed: Counter[str] = Counter()
        self._stack, self._kills, self._chance = stack, kills, chance
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stopped.wait(self._chance.uniform(*PAUSE_SECONDS)) and not self.is_done:
            trainers = self._stack.trainers()
            if trainers and self._chance.random() < 0.2:
                with suppress(psutil.NoSuchProcess):
                    self._chance.choice(trainers).kill()
                    self.killed["trainer"] += 1
                continue
            part = self._chance.choice(PARTS)
            with suppress(psutil.NoSuchProcess):
                self._stack.kill(part)
                self.killed[part] += 1

    @property
    def is_done(self) -> bool:
        return sum(self.killed[part] for part in PARTS) >= self._kills

    @contextmanager
    def running(self) -> Iterator[Killer]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            self._thread.join(60)


def configuration(number: int) -> str:
    """Two runs of three diverge; the third ends before it would."""
    at = DIVERGES_AT if number % 3 else STEPS + 10
    return json.dumps(
        {
            "name": f"run-{number}",
            "entrypoint": "loops.py:diverges",
            "working_directory": str(ASSETS),
            "parameters": {"at": at, "steps": STEPS},
            "retries": {"max_retries": number % 2},
        }
    )


def patient(call: Callable[..., Any], request: Message) -> Any:
    """Call until there is an answer: who answers is being killed."""

    def ask() -> Any:
        try:
            return call(request, timeout=10)
        except (Unavailable, DeadlineExceeded):
            return None

    return until(ask, "an answer", SETTLE_SECONDS)


class Watched:
    """A stack with rules, and what they made of its runs."""

    def __init__(self, stack: StackProcess) -> None:
        self.stack = stack

    def make_rules(self) -> None:
        for rule_id, detector in RULES.items():
            notify = rules.Action(notify=rules.Notify(destination="oncall"))
            rule = rules.Rule(detector=detector, watching_only=False, actions=[notify])
            patient(self.stack.client.rules.CreateRule, rule_api.CreateRuleRequest(rule_id=rule_id, rule=rule))

    def start(self, number: int) -> str:
        request = runtime_api.StartRuntimeRequest(
            configuration_text=configuration(number), request_id=str(uuid.uuid4())
        )
        return str(patient(self.stack.client.runtimes.StartRuntime, request).runtime.name)

    def active(self, names: list[str]) -> list[str]:
        """Those of some runs that are in progress."""

        def is_active(name: str) -> bool:
            got = patient(self.stack.client.runtimes.GetRuntime, runtime_api.GetRuntimeRequest(name=name))
            return bool(got.runtime.status == runtime_api.RUNTIME_STATUS_STARTED)

        return [name for name in names if is_active(name)]

    def facts(self, name: str) -> list[Any]:
        """What stands in the chain of a run about rules, in order."""
        request = runtime_api.ListEventsRequest(parent=name, page_size=1_000)
        answer = patient(self.stack.client.runtimes.ListEvents, request)
        assert not answer.next_page_token
        of_rules = [event.rule_event for event in answer.events if event.HasField("rule_event")]
        return [getattr(one, one.WhichOneof("payload")) for one in of_rules]

    def tried(self, rule_id: str) -> dict[str, set[str]]:
        """Run -> the ids of the firings that a rule would have had."""
        request = rule_api.TestRuleRequest(name=f"rules/{rule_id}", max_runs=10_000)
        answers = [one.run for one in self.stack.client.rules.TestRule(request, timeout=600) if one.HasField("run")]
        return {run.runtime: {fired.firing_id for fired in run.firings} for run in answers}


@pytest.mark.parametrize(
    ("runs", "kills"), [pytest.param(200, 100, marks=[pytest.mark.faults, pytest.mark.timeout(3_600)])]
)
def test_each_occurrence_is_one_fact_and_told(tmp_path: Path, runs: int, kills: int) -> None:
    """The evaluator, the runtime service, NATS and trainers are killed between point, firing, delivery and receipt."""
    chance = random.Random(24)
    stack = StackProcess(tmp_path / "data", FREE_PORTS)
    with Receiver(Answer(200, seconds=0.02)).running() as receiver:
        stack.data_dir.mkdir()
        (stack.data_dir / "destinations.yaml").write_text(f"destinations: {{oncall: {{url: '{receiver.url}/'}}}}\n")
        try:
            stack.start()
            check(Watched(stack), receiver, runs, Killer(stack, kills, chance))
        finally:
            stack.end()


def check(watched: Watched, receiver: Receiver, runs: int, killer: Killer) -> None:
    watched.make_rules()
    names: list[str] = []
    active: list[str] = []
    with killer.running():
        while len(names) < runs or not killer.is_done:
            active = watched.active(active)
            while len(active) < AT_ONCE:
                active.append(watched.start(len(names)))
                names.append(active[-1])
            time.sleep(0.5)
    until(lambda: not watched.active(active), "all runs have ended", SETTLE_SECONDS)
    print(f"{len(names)} runs, killed: {dict(killer.killed)}")

    def found() -> dict[str, list[Any]] | None:
        """Once every firing has its receipt."""
        by_run = {name: watched.facts(name) for name in names}
        for name, of_run in by_run.items():
            ended = [one for one in of_run if isinstance(one, facts.RuleFired) and one.rule_id == "ended"]
            told = {one.firing_id for one in of_run if isinstance(one, facts.NotificationDelivered) and not one.cleared}
            fired = {one.firing_id for one in of_run if isinstance(one, facts.RuleFired)}
            if not ended or told != fired:
                print("waiting for", name, len(fired), len(told))
                return None
        return by_run

    by_run = until(found, "each firing has a receipt", SETTLE_SECONDS)
    tried = {rule_id: watched.tried(rule_id) for rule_id in RULES}
    ids: set[str] = set()
    for name, of_run in by_run.items():
        fired = Counter(one.firing_id for one in of_run if isinstance(one, facts.RuleFired))
        delivered = Counter(one.notification_id for one in of_run if isinstance(one, facts.NotificationDelivered))
        assert set(fired.values()) | set(delivered.values()) == {1}, f"{name}: each is one fact"
        assert not [one for one in of_run if isinstance(one, facts.NotificationFailed)]
        ids |= set(delivered)
        for rule_id in RULES:
            live = {one.firing_id for one in of_run if isinstance(one, facts.RuleFired) and one.rule_id == rule_id}
            assert live == tried[rule_id][name], f"{name}: {rule_id} finds on the past what it found live"
    received = Counter(one.headers["webhook-id"] for one in receiver.received)
    assert set(received) == ids, "whoever was told was told what is recorded"
    far = sum(1 for of_run in by_run.values() for one in of_run if getattr(one, "rule_id", "") == "far")
    assert far, "some have diverged"
    print(f"{len(ids)} notifications, {sum(received.values())} requests; {far} facts about divergence")
