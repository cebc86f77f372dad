"""A tree of runtimes that ended, written into the log as the services and attempts would have, without a process for each."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from google.protobuf.message import Message

from milepost.api.config.v1.configuration_pb2 import Resources, RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.eventlog import (
    Head,
    NewEvent,
    attempt_subject,
    codec,
    control_subject,
    runtime_chain,
    runtime_subject,
    trial_chain,
)
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.ids import new_event_id, new_runtime_id
from tests.support.servers.metrics_service import send, step_batch

EVERY_STEPS = 100
NAMES = ("baseline", "lower rate", "more warm-up", "larger batch", "no dropout", "tried again")


@dataclass
class Node:
    """One run of the tree."""

    runtime_id: str
    first: int
    last: int
    failed: bool
    rate: float
    trunk: list[common.AncestorSteps] = field(default_factory=list)
    # Of the chain of its trial.
    head: Head | None = None

    @property
    def snapshots(self) -> list[int]:
        return [step for step in range(self.first, self.last + 1) if step % EVERY_STEPS == 0]


class Tree:
    """Grows a tree of runs, each from a snapshot of one that was there before.

    Args:
        seed: the same seed gives a tree of the same form.
    """

    def __init__(self, connection: Connection, seed: int = 25) -> None:
        self.nodes: list[Node] = []
        # Of the last points in TELEMETRY.
        self.position = 0
        self._connection = connection
        self._log = JetStreamLog(connection)
        self._chance = random.Random(seed)

    async def grow(self, count: int) -> None:
        """Add so many runs."""
        for _ in range(count):
            parent = self._chance.choice(self.nodes[-12:]) if self.nodes else None
            await self._add(parent)

    async def _add(self, parent: Node | None) -> None:
        chance = self._chance
        if parent is None:
            node, branch = Node(new_runtime_id(), 1, 1_000, False, 0.01), None
        else:
            at = chance.choice(parent.snapshots)
            rate = float(f"{max(1e-5, parent.rate * chance.choice((0.3, 0.5, 2.0))):.2g}")
            node = Node(new_runtime_id(), at + 1, at + chance.choice((150, 300, 600)), chance.random() < 0.25, rate)
            # Of the trunk of its parent, and of its parent the steps up to there.
            part = common.AncestorSteps(
                runtime_id=parent.runtime_id, trial=1, attempt=1, first_step=parent.first, last_step=at
            )
            node.trunk = [*parent.trunk, part]
            branch = self._branch(node, parent, at)
        events, heads = self._life(node, parent, branch)
        appended = await self._log.append(events, heads)
        if parent is not None:
            parent.head = appended.heads[trial_chain(parent.runtime_id, 1)]
        node.head = appended.heads[trial_chain(node.runtime_id, 1)]
        steps = np.arange(node.first, node.last + 1, 10)
        curve = 3.0 * np.exp(-steps / 900.0) + 0.02 * len(self.nodes) / 100 + 0.1 * chance.random()
        self.position = await send(
            self._connection, step_batch(node.runtime_id, 1, steps, {"train/loss": curve.astype("f4")})
        )
        self.nodes.append(node)

    def _branch(self, node: Node, parent: Node, at: int) -> runtime_facts.Branch:
        origin = common.SnapshotOrigin(
            runtime_id=parent.runtime_id, trial=1, attempt=1, snapshot_id=_snapshot(at), step=at, trunk=node.trunk
        )
        origin.elapsed.FromSeconds(at)
        change = runtime_facts.FieldChange(
            field="parameters.learning_rate", before=str(parent.rate), after=str(node.rate)
        )
        return runtime_facts.Branch(origin=origin, changes=[change])

    def _life(
        self, node: Node, parent: Node | None, branch: runtime_facts.Branch | None
    ) -> tuple[list[NewEvent], list[Head]]:
        """Return the events of a run from its request to its end, and of its parent's trial that it holds a snapshot."""
        runtime, control = runtime_subject(node.runtime_id), control_subject(node.runtime_id, 1)
        attempt = attempt_subject(node.runtime_id, 1, 1)
        configuration = RuntimeConfiguration(
            name=f"{self._chance.choice(NAMES)} {len(self.nodes)}",
            entrypoint="train.py:train",
            parameters={"learning_rate": str(node.rate)},
            resources=Resources(cpus_per_worker=1),
        )
        created = facts.TrialCreated(runtime_id=node.runtime_id, trial=1, parameters={"learning_rate": str(node.rate)})
        started = facts.AttemptStarted(attempt=1, world_size=1)
        requested = runtime_facts.RuntimeRequested(
            runtime_id=node.runtime_id, configuration=configuration, configuration_digest="sha256:0", trial_count=1
        )
        told: list[tuple[str, Message]] = []
        heads = [Head(runtime_chain(node.runtime_id)), Head(trial_chain(node.runtime_id, 1))]
        if branch is not None and parent is not None and parent.head is not None:
            requested.branch.CopyFrom(branch)
            created.origin.CopyFrom(branch.origin)
            started.restored_snapshot_id, started.restored_step = branch.origin.snapshot_id, branch.origin.step
            held = facts.SnapshotHeld(
                snapshot_id=branch.origin.snapshot_id, step=branch.origin.step, runtime_id=node.runtime_id
            )
            told.append((control_subject(parent.runtime_id, 1), held))
            heads.append(parent.head)
        told += [
            (runtime, requested),
            (control, created),
            (runtime, runtime_facts.ResourcesAllocated(cpus=1)),
            (control, facts.AttemptLaunched(attempt=1, reason=facts.LAUNCH_REASON_FIRST)),
            (attempt, started),
            (runtime, runtime_facts.RuntimeStarted()),
            (attempt, facts.PlanDeclared(attempt=1, total_steps=node.last)),
        ]
        told += [
            (attempt, facts.SnapshotCommitted(attempt=1, snapshot_id=_snapshot(step), step=step))
            for step in node.snapshots
        ]
        told += _end(node, runtime, control, attempt)
        now = datetime.now(UTC)
        return [
            NewEvent(subject, *codec.encode(payload), new_event_id(), now, "/tests", "tester")
            for subject, payload in told
        ], heads


def _end(node: Node, runtime: str, control: str, attempt: str) -> list[tuple[str, Message]]:
    cause = common.EXIT_CAUSE_EXCEPTION if node.failed else common.EXIT_CAUSE_FINISHED
    outcome = facts.ATTEMPT_OUTCOME_FAILED if node.failed else facts.ATTEMPT_OUTCOME_COMPLETED
    ended = facts.AttemptEnded(attempt=1, outcome=outcome, cause=cause, last_step=node.last)
    if node.failed:
        reason = common.FAILURE_REASON_TRAINING_ERROR
        return [
            (attempt, ended),
            (control, facts.TrialFailed(attempt=1, reason=reason)),
            (runtime, runtime_facts.RuntimeFailed(reason=reason, trial=1)),
            (runtime, runtime_facts.ResourcesReleased()),
        ]
    return [
        (attempt, ended),
        (control, facts.TrialCompleted(attempt=1, last_step=node.last)),
        (runtime, runtime_facts.RuntimeCompleted()),
        (runtime, runtime_facts.ResourcesReleased()),
    ]


def _snapshot(step: int) -> str:
    return f"step-{step:012d}-a1"
