"""Listen to heartbeats and remember the last of each instance."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol

from google.protobuf.message import DecodeError

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import Heartbeat
from milepost.domain import stalls, trial
from milepost.names import AttemptKey
from services.runtime.policies import liveness as policy
from services.runtime.policies import stragglers

SUBJECTS = "heartbeat.>"
_SUBJECT = re.compile(
    r"^heartbeat\.([a-z0-9][a-z0-9_-]{0,62})\.([1-9][0-9]{0,8})\.([1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$"
)
# Of one attempt; more are noise.
MAX_RANKS = 10_000


class Message(Protocol):
    @property
    def subject(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Liveness:
    """The last beat of every instance of the attempts that are watched."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        time_of_day: Callable[[], datetime] = lambda: datetime.now(UTC),
        window_seconds: float = stragglers.WINDOW_SECONDS,
    ) -> None:
        self._clock = clock
        self._time_of_day = time_of_day
        self._attempts: dict[AttemptKey, dict[int, policy.Instance]] = {}
        # When an instance was heard last, or, before that, when listening to it began.
        self._contacts: dict[AttemptKey, dict[int, datetime]] = {}
        self._of_runtime: dict[str, set[AttemptKey]] = {}
        # Who holds up the others, of attempts of several ranks.
        self._windows: dict[AttemptKey, stragglers.Windows] = {}
        self._window_seconds = window_seconds
        # Since when an attempt is known to make no progress.
        self._stalled: dict[AttemptKey, float] = {}

    async def listen(self, messages: AsyncIterator[Message]) -> None:
        """Take in beats for ever."""
        async for message in messages:
            self.receive(message.subject, message.body)

    def receive(self, subject: str, body: bytes) -> None:
        """Take in one beat. One of an attempt that is not watched, or that is no beat, changes nothing."""
        match = _SUBJECT.match(subject)
        if match is None:
            return
        key = AttemptKey(match[1], int(match[2]), int(match[3]))
        instances = self._attempts.get(key)
        rank = int(match[4])
        if instances is None or (rank not in instances and len(instances) >= MAX_RANKS):
            return
        try:
            beat = Heartbeat.FromString(body)
        except DecodeError:
            return
        if not policy.is_plausible(beat):
            return
        instances[rank] = policy.hear(instances.get(rank), beat, self._clock())
        self._contacts[key][rank] = self._time_of_day()

    def watch(self, key: AttemptKey, wait: float = policy.FIRST_BEAT_SECONDS) -> None:
        """Begin to watch an attempt, whose first beat may take so many seconds.

        Repeats do nothing, but where the first beat was to take longer: one that has begun to train is expected soon.
        """
        instances = self._attempts.get(key)
        if instances is not None:
            first = instances.get(0)
            if first is not None and first.beat is None and wait < first.first_beat_seconds:
                instances[0] = policy.Instance(self._clock(), first_beat_seconds=wait)
        else:
            self._attempts[key] = {0: policy.Instance(self._clock(), first_beat_seconds=wait)}
            self._contacts[key] = {0: self._time_of_day()}
            self._of_runtime.setdefault(key.runtime_id, set()).add(key)

    def forget(self, key: AttemptKey) -> None:
        if self._attempts.pop(key, None) is None:
            return
        del self._contacts[key]
        self._stalled.pop(key, None)
        self._windows.pop(key, None)
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

    def contact(self, key: AttemptKey, rank: int = 0) -> datetime | None:
        """Return when an instance was last heard; None: not since listening to it began."""
        known = self.instances(key).get(rank)
        return self._contacts[key][rank] if known is not None and known.beat is not None else None

    def is_quiet(self, key: AttemptKey) -> bool:
        """Return whether a beat of an attempt is overdue, or none has come for a while since listening to it began."""
        now = self._clock()
        return any(policy.is_quiet(known, now) for known in self.instances(key).values())

    def silence(self, key: AttemptKey) -> str:
        """Say since when nothing was heard of an attempt. Empty: its beats are not late."""
        now = self._clock()
        silent = [rank for rank, known in self.instances(key).items() if policy.is_silent(known, now)]
        return self.no_contact(key, min(silent)) if silent else ""

    def no_contact(self, key: AttemptKey, rank: int = 0) -> str:
        """Say since when nothing was heard of an instance that is watched."""
        since = f"{policy.NO_CONTACT} since {self._contacts[key][rank]:%Y-%m-%d %H:%M:%S} UTC"
        return since if self.contact(key, rank) is not None else f"{since}, when the runtime service began to listen"

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

    def seconds_to_loss(self, key: AttemptKey, grace_seconds: float) -> float:
        """Return after how many more seconds of silence an attempt counts as lost."""
        now = self._clock()
        return max(0.0, *(grace_seconds - policy.overdue(known, now) for known in self.instances(key).values()))

    def diagnose(self, key: AttemptKey, active: trial.Active, stall_seconds: float) -> list[object]:
        """Return the command that says why an attempt makes no progress, once its instances have said where they are.

        Args:
            stall_seconds: a shorter pause is no stall.
        """
        now = self._clock()
        instances = self.instances(key)
        # Who has gone on since is no longer where it was.
        said = [
            stack
            for stack in active.stalls.stacks
            if (one := instances.get(stack.rank)) is not None
            and one.beat is not None
            and one.beat.step == stack.step
            and policy.stall(one, now, stall_seconds)
        ]
        if not said:
            self._stalled.pop(key, None)
            return []
        step = max(stack.step for stack in said)
        if step in active.stalls.diagnosed:
            return []
        silent = {rank for rank in active.running_ranks if rank in instances and policy.is_silent(instances[rank], now)}
        missing = active.running_ranks - silent - {stack.rank for stack in said}
        if missing and now - self._stalled.setdefault(key, now) < policy.ANSWER_SECONDS:
            return []
        said = [stack for stack in said if stack.rank not in silent]
        if not said:
            return []
        return [trial.DiagnoseStall(key.attempt, step, stalls.diagnose(said, silent, dict(active.hosts)))]

    def observe_straggler(self, key: AttemptKey, active: trial.Active) -> list[object]:
        """Return the command that says which rank holds up the others, or that it does so no more."""
        counts = {
            rank: stragglers.Share(one.beat.looks, one.beat.waiting_looks)
            for rank, one in self.instances(key).items()
            if one.beat is not None and one.beat.looks
        }
        if len(counts) < 2:
            return []
        now = self._clock()
        windows = self._windows.setdefault(key, stragglers.Windows(now, self._window_seconds))
        settled, found = windows.look(counts, now)
        if not settled or (found.rank if found is not None else None) == active.straggler:
            return []
        hosts, step = dict(active.hosts), self.step(key)
        if found is not None:
            fact = facts.StragglerObserved(
                rank=found.rank, waiting=found.waiting, others_waiting=found.others_waiting, looks=found.looks
            )
        else:
            fact = facts.StragglerObserved(rank=active.straggler, over=True)
        fact.attempt, fact.step, fact.host = key.attempt, step, hosts.get(fact.rank, "")
        return [trial.ObserveStraggler(fact)]

    def reports(
        self,
        key: AttemptKey,
        known: Iterable[tuple[int, common.Health]],
        stall_seconds: float = stalls.MIN_STALL_SECONDS,
    ) -> list[object]:
        """Return the commands that say what changed in the health of an attempt's instances."""
        now = self._clock()
        declared = dict(known)
        commands: list[object] = []
        for rank, instance in sorted(self.instances(key).items()):
            previous = declared.get(rank, common.HEALTH_UNSPECIFIED)
            health, reason = policy.health(instance, previous, now, stall_seconds)
            if health != previous:
                reason = self.no_contact(key, rank) if reason == policy.NO_CONTACT else reason
                commands.append(trial.ReportInstanceHealth(key.attempt, rank, health, reason))
            stalled = policy.stall(instance, now, stall_seconds)
            if stalled and instance.beat is not None:
                alert = facts.AlertRaised(
                    attempt=key.attempt, kind=facts.ALERT_KIND_NO_PROGRESS, step=instance.beat.step, message=stalled
                )
                commands.append(trial.RaiseAlert(alert))
        return commands
