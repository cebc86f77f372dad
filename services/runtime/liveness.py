"""Listen to heartbeats and remember the last of each instance."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

from google.protobuf.message import DecodeError

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat
from milepost.domain import trial
from services.runtime import liveness_policy as policy
from services.runtime.launchers import AttemptKey

SUBJECTS = "heartbeat.>"
_SUBJECT = re.compile(
    r"^heartbeat\.([a-z0-9][a-z0-9_-]{0,62})\.([1-9][0-9]{0,8})\.([1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$"
)
# Of one attempt; more are noise.
MAXIMUM_RANKS = 10_000


class Message(Protocol):
    @property
    def subject(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Liveness:
    """The last beat of every instance of the attempts that are watched."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._attempts: dict[AttemptKey, dict[int, policy.Instance]] = {}
        self._of_runtime: dict[str, set[AttemptKey]] = {}

    async def listen(self, messages: AsyncIterator[Message]) -> None:
        """Take in beats for ever."""
        async for message in messages:
            self.receive(message.subject, message.body)

    def receive(self, subject: str, body: bytes) -> None:
        """Take in one beat. One of an attempt that is not watched, or that is no beat, changes nothing."""
        match = _SUBJECT.match(subject)
        if match is None:
            return
        instances = self._attempts.get(AttemptKey(match[1], int(match[2]), int(match[3])))
        rank = int(match[4])
        if instances is None or (rank not in instances and len(instances) >= MAXIMUM_RANKS):
            return
        try:
            beat = Heartbeat.FromString(body)
        except DecodeError:
            return
        instances[rank] = policy.hear(instances.get(rank), beat, self._clock())

    def watch(self, key: AttemptKey) -> None:
        """Begin to watch an attempt. Repeats do nothing."""
        if key not in self._attempts:
            self._attempts[key] = {0: policy.Instance(self._clock())}
            self._of_runtime.setdefault(key.runtime_id, set()).add(key)

    def forget(self, key: AttemptKey) -> None:
        if self._attempts.pop(key, None) is None:
            return
        keys = self._of_runtime[key.runtime_id]
        keys.discard(key)
        if not keys:
            del self._of_runtime[key.runtime_id]

    def watched(self) -> list[AttemptKey]:
        return list(self._attempts)

    def watched_of(self, runtime_id: str) -> list[AttemptKey]:
        return list(self._of_runtime.get(runtime_id, ()))

    def listen_anew(self) -> None:
        """Give everybody a new grace: for a while nothing could be heard."""
        now = self._clock()
        for instances in self._attempts.values():
            for rank, known in instances.items():
                instances[rank] = policy.listen_anew(known, now)

    def instances(self, key: AttemptKey) -> dict[int, policy.Instance]:
        return self._attempts.get(key, {})

    def step(self, key: AttemptKey) -> int:
        """Return the last step that the beats of an attempt told; 0: none."""
        return max((known.beat.step for known in self.instances(key).values() if known.beat is not None), default=0)

    def spooled(self) -> tuple[int, int]:
        """Count what waits in the spools of all instances, as their last beats told: batches, bytes."""
        beats = [known.beat for instances in self._attempts.values() for known in instances.values() if known.beat]
        return sum(beat.spooled_batches for beat in beats), sum(beat.spooled_bytes for beat in beats)

    def why_lost(self, key: AttemptKey, grace_seconds: float) -> str:
        """Say why an attempt counts as lost. Empty: it does not."""
        now = self._clock()
        for rank, known in sorted(self.instances(key).items()):
            if policy.is_lost(known, grace_seconds, now):
                return f"instance {rank} was last heard {now - known.heard:.0f} s ago, the grace is {grace_seconds:g} s"
        return ""

    def reports(self, key: AttemptKey, known: Iterable[tuple[int, common.Health]]) -> list[object]:
        """Return the commands that say what changed in the health of an attempt's instances."""
        now = self._clock()
        declared = dict(known)
        commands: list[object] = []
        for rank, instance in sorted(self.instances(key).items()):
            previous = declared.get(rank, common.HEALTH_UNSPECIFIED)
            health, reason = policy.health(instance, previous, now)
            if health != previous:
                commands.append(trial.ReportInstanceHealth(key.attempt, rank, health, reason))
            stalled = policy.stall(instance, now)
            if stalled and instance.beat is not None:
                alert = facts.AlertRaised(
                    attempt=key.attempt, kind=facts.ALERT_KIND_NO_PROGRESS, step=instance.beat.step, message=stalled
                )
                commands.append(trial.RaiseAlert(alert))
        return commands
