"""One scheduler leads: a lease in a key-value bucket, which the broker lets go of when nobody renews it.

The lease keeps two schedulers from doing the same work. It does not keep the log right: that is done by the check of
every append.
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

from milepost.eventlog import LEASES_BUCKET, EventLogError, KeyValue
from services.runtime.launchers import processes

log = logging.getLogger(__name__)

KEY = "scheduler"
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

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be gone; only of this host can that be known."""
        if self.host != socket.gethostname():
            return False
        found = processes.info(self.pid)
        return found is None or found.start != self.start or not found.alive


def this_process() -> Holder:
    found = processes.info(os.getpid())
    return Holder(socket.gethostname(), os.getpid(), found.start if found is not None else 0)


class Lease:
    """The right to lead. `acquire` waits for it, `lost` tells when it is gone."""

    def __init__(self, key_value: KeyValue, clock: Callable[[], float] = time.monotonic) -> None:
        self._key_value = key_value
        self._clock = clock
        self._holder = this_process()
        self._value = json.dumps(asdict(self._holder)).encode()
        self._revision: int | None = None
        # Who leads, as far as is known; for people.
        self.leader: Holder | None = None

    @property
    def is_held(self) -> bool:
        return self._revision is not None

    async def acquire(self) -> None:
        """Wait until this process leads."""
        while True:
            with suppress(EventLogError):
                if await self._try():
                    self.leader = self._holder
                    log.info("lease.acquired", extra=asdict(self._holder))
                    return
            await asyncio.sleep(RETRY_SECONDS)

    async def _try(self) -> bool:
        self._revision = await self._key_value.create(LEASES_BUCKET, KEY, self._value)
        if self._revision is not None:
            return True
        found = await self._key_value.get(LEASES_BUCKET, KEY)
        if found is None:
            return False
        value, revision = found
        holder = Holder(**json.loads(value))
        if holder != self.leader:
            self.leader = holder
            log.info("lease.standing_by", extra={"leader": asdict(holder)})
        if holder == self._holder or holder.is_dead:
            self._revision = await self._key_value.update(LEASES_BUCKET, KEY, self._value, revision)
        return self._revision is not None

    async def keep(self) -> None:
        """Renew the lease until it is lost."""
        renewed = self._clock()
        while self._revision is not None:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                self._revision = await self._key_value.update(LEASES_BUCKET, KEY, self._value, self._revision)
                renewed = self._clock()
            except EventLogError as error:
                log.warning("lease.not_renewed", extra={"error": str(error)})
                if self._clock() - renewed > TRUST_SECONDS:
                    self._revision = None
        log.warning("lease.lost")
        self.leader = None

    async def release(self) -> None:
        """Let the next one lead at once."""
        if self._revision is None:
            return
        self._revision = None
        with suppress(EventLogError):
            await self._key_value.delete(LEASES_BUCKET, KEY)
            log.info("lease.released")
