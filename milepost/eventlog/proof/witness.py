"""Witnesses: where anchors go outside of the data directory. Nothing that one answers, or does not, holds anchoring up.

Over urllib and not httpx: `pip install milepost` stays six packages smaller. What may be connected to is decided at each
connection (`milepost/security/egress.py`), which urllib has a handler for.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from milepost.backoff import Backoff
from milepost.errors import MilepostError
from milepost.eventlog import EventLogError
from milepost.installation import observability
from milepost.security.egress import Egress

if TYPE_CHECKING:
    from milepost.eventlog.proof.anchor import Anchor

log = logging.getLogger(__name__)

# One try, from the name of the host to the last line of the headers of the answer.
TRY_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 5.0
MAX_PAUSE_SECONDS = 300.0
# Anchors that wait for a witness that does not take them. Each covers all before it, so the oldest may go.
MAX_WAITING = 1_000


class AnchorSink(Protocol):
    """Where anchors go."""

    def append(self, anchor: Anchor) -> None:
        """Store an anchor durably.

        Raises:
            OSError: it is not stored.
        """
        ...


class HttpAnchorSink:
    """An outside witness: each anchor is sent as JSON by POST. Any answer of success will do; its body is not read."""

    def __init__(self, url: str, egress: Egress) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"not an address of HTTP: {url!r}")
        self.url = url
        self._egress = egress

    def append(self, anchor: Anchor) -> None:
        request = urllib.request.Request(
            self.url, data=anchor.line().encode(), headers={"Content-Type": "application/json"}, method="POST"
        )
        try:
            with self._egress.open(request, TRY_SECONDS):
                return
        except MilepostError as error:
            raise OSError(error.message) from error
        except (http.client.HTTPException, ValueError) as error:
            # Whatever is behind the address, it is no server of HTTP.
            raise OSError(f"{self.url} does not answer in HTTP: {error!r}"[:300]) from error


class Witness:
    """One sink with a thread of its own, and what it has not taken yet.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, sink: AnchorSink, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._clock = clock
        self._waiting: deque[Anchor] = deque(maxlen=MAX_WAITING)
        self._under_way: Future[None] | None = None
        self._pauses = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        self._not_before = 0.0
        self._unsent = observability.gauge("milepost.anchor.unsent", "Anchors that a witness has not taken yet")

    @property
    def waiting(self) -> int:
        """How many anchors it has not taken."""
        return len(self._waiting)

    def add(self, anchor: Anchor) -> None:
        """Have an anchor sent. When too many wait, the oldest goes: the later ones cover it."""
        self._waiting.append(anchor)

    async def send(self) -> None:
        """Send what waits, oldest first, unless it failed a moment ago. Never raises, and takes `TRY_SECONDS` at most."""
        end = self._clock() + TRY_SECONDS
        while self._waiting and self._clock() >= self._not_before and self._clock() < end:
            anchor = self._waiting[0]
            error = await self._try(anchor, end)
            if error is not None:
                pause = next(self._pauses)
                log.warning(
                    "anchor.witness_failed",
                    extra={"error": error, "waiting": len(self._waiting), "seconds": pause},
                )
                self._not_before = self._clock() + pause
                break
            if self._waiting and self._waiting[0] is anchor:
                self._waiting.popleft()
            self._pauses.reset()
        self._unsent.set(len(self._waiting))

    async def _try(self, anchor: Anchor, end: float) -> str | None:
        """Send one anchor. Returns what went wrong, in words; None: the witness has it."""
        if self._under_way is not None and not self._under_way.done():
            return "it has not answered the last anchor yet"
        self._under_way = self._start(anchor)
        try:
            async with asyncio.timeout(max(0.1, end - self._clock())):
                # Shielded: a thread cannot be stopped, and its outcome is looked at before the next try.
                await asyncio.shield(asyncio.wrap_future(self._under_way))
        except TimeoutError:
            return f"no answer within {TRY_SECONDS:g} s"
        except (OSError, EventLogError) as error:
            return str(error)
        return None

    def _start(self, anchor: Anchor) -> Future[None]:
        """Send in a thread of its own: one that hangs takes no thread that others wait for, and holds up no exit."""
        outcome: Future[None] = Future()

        def append() -> None:
            try:
                self._sink.append(anchor)
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(None)

        threading.Thread(target=append, name="witness", daemon=True).start()
        return outcome


__all__ = ["AnchorSink", "HttpAnchorSink", "Witness"]
