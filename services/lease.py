"""One of several replicas leads: a lease in a key-value bucket, which the broker lets go of when nobody renews it.

A lease keeps two from doing the same work. It does not keep what they write right: the event log does that by the check
of every append, the metric store by comparing its position before every insert.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from milepost.eventlog import LEASES_BUCKET, EventLogError, KeyValue
from services import processes

log = logging.getLogger(__name__)

RENEW_SECONDS = 2.0
RETRY_SECONDS = 0.5
# Without a renewal for this long the lease may be gone: leave off before another can have it.
TRUST_SECONDS = 7.0


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds the lease."""

    host: str
    pid: int
    # With the pid it names a process of that host for good.
    start: int
    # Containers may share the name of their host; a pid says something within one namespace only.
    namespace: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be gone; only of this host can that be known."""
        if (self.host, self.namespace) != (socket.gethostname(), _namespace()):
            return False
        found = processes.info(self.pid)
        return found is None or found.start != self.start or not found.alive


def this_process() -> Holder:
    found = processes.info(os.getpid())
    return Holder(socket.gethostname(), os.getpid(), found.start if found is not None else 0, _namespace())


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


class Lease:
    """The right to lead in one thing, `key`. `acquire` waits for it, `keep` returns when it is gone."""

    def __init__(self, key_value: KeyValue, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key_value = key_value
        self._key = key
        self._clock = clock
        self._holder = this_process()
        self._value = json.dumps(asdict(self._holder)).encode()
        self._revision: int | None = None
        self._renewed = 0.0
        # Who leads, as far as is known; for people.
        self.leader: Holder | None = None

    @property
    def is_held(self) -> bool:
        return self._revision is not None

    @property
    def is_trusted(self) -> bool:
        """Whether it was renewed so lately that nobody else can have it."""
        return self.is_held and self._clock() - self._renewed < TRUST_SECONDS

    @property
    def is_elsewhere(self) -> bool:
        """Whether another process was seen to hold it."""
        return not self.is_held and self.leader is not None and self.leader != self._holder

    async def acquire(self) -> None:
        """Wait until this process leads."""
        while True:
            with suppress(EventLogError):
                if await self.attempt():
                    return
            await asyncio.sleep(RETRY_SECONDS)

    async def attempt(self) -> bool:
        """Try once to lead, and find out who does.

        Raises:
            EventLogError: the event log does not answer.
        """
        began = self._clock()
        self._revision = await self._create_or_take_over()
        if self._revision is None:
            return False
        self._renewed = began
        self.leader = self._holder
        log.info("lease.acquired", extra={"lease": self._key, **asdict(self._holder)})
        return True

    async def _create_or_take_over(self) -> int | None:
        revision = await self._key_value.create(LEASES_BUCKET, self._key, self._value)
        if revision is not None:
            return revision
        found = await self._key_value.get(LEASES_BUCKET, self._key)
        if found is None:
            return None
        value, revision = found
        holder = Holder(**json.loads(value))
        if holder != self.leader:
            self.leader = holder
            log.info("lease.standing_by", extra={"lease": self._key, "leader": asdict(holder)})
        if holder == self._holder or holder.is_dead:
            return await self._key_value.update(LEASES_BUCKET, self._key, self._value, revision)
        return None

    async def keep(self) -> None:
        """Renew the lease until it is lost."""
        while self._revision is not None:
            await asyncio.sleep(RENEW_SECONDS)
            began = self._clock()
            try:
                self._revision = await self._key_value.update(LEASES_BUCKET, self._key, self._value, self._revision)
                self._renewed = began
            except EventLogError as error:
                log.warning("lease.not_renewed", extra={"lease": self._key, "error": str(error)})
                if not self.is_trusted:
                    self._revision = None
        log.warning("lease.lost", extra={"lease": self._key})
        self.leader = None

    async def release(self) -> None:
        """Let the next one lead at once."""
        if self._revision is None:
            return
        self._revision = None
        with suppress(EventLogError):
            await self._key_value.delete(LEASES_BUCKET, self._key)
            log.info("lease.released", extra={"lease": self._key})
