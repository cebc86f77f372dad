"""Keeps anchors of a log while its service runs, and lets nothing be decided on a log that has gone back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from milepost.eventlog import EventLogError, LogRegressed, LogUnavailable
from milepost.eventlog.codec import format_time
from milepost.eventlog.nats.streams import StreamState
from milepost.eventlog.proof.anchor import Anchor, AnchorFile, current
from milepost.eventlog.proof.chain import EMPTY_DIGEST, ChainVerifier, Oddities, roll
from milepost.eventlog.proof.examination import (
    TAIL_EVENTS,
    TURN_EVENTS,
    ExaminableLog,
    check_state,
    examine_tail,
    regressed,
)
from milepost.eventlog.proof.witness import AnchorSink, Witness

log = logging.getLogger(__name__)

# An anchor is written after this many events, and after this many seconds in which there was one.
EVERY_EVENTS = 1000
EVERY_SECONDS = 5.0


class LogGuard:
    """Keeps services from writing to a log that regressed, and anchors the log while it grows.

    Args:
        log: its `refusal` is set while a person has to decide; appends then raise it, reads work.
        anchors: the file, outside of JetStream's directory.
        sinks: outside witnesses; one that fails is logged, tried again, and does not hold anything up.
        writes: False in services that only check; one service of an installation writes.
    """

    def __init__(
        self,
        log: ExaminableLog,
        anchors: AnchorFile,
        sinks: Sequence[AnchorSink] = (),
        *,
        writes: bool = True,
        every_events: int = EVERY_EVENTS,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._log = log
        self._anchors = anchors
        self.witnesses = [Witness(sink) for sink in sinks]
        self._writes = writes
        self._every_events = every_events
        self._every_seconds = every_seconds
        # The first and the last of the anchors that count.
        self._known: list[Anchor] = []

    async def check(self) -> bool:
        """Verify the end of the log; refuse appends if it regressed, allow them again if it is whole.

        Raises:
            LogUnavailable: the log does not answer; nothing is changed.
        """
        try:
            anchors = self._anchors.read()
            findings = await examine_tail(self._log, anchors, None if self._writes else TAIL_EVENTS)
            refusal = regressed(findings) if findings else None
            counting = current(anchors)
            self._known = [counting[0], counting[-1]] if counting else []
        except LogRegressed as error:
            refusal = error
        if refusal is not None and self._log.refusal is None:
            log.error("log.regressed", extra={"error": str(refusal)})
        self._log.refusal = refusal
        return refusal is None

    async def run(self) -> None:
        """Check and anchor for ever. `check` comes first, once, before the service serves."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._anchor_for_ever())
            group.create_task(self._tell_for_ever())

    async def _tell_for_ever(self) -> None:
        while self.witnesses:
            await asyncio.sleep(self._every_seconds)
            await self.tell_witnesses()

    async def _anchor_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._every_seconds)
            try:
                if self._log.refusal is not None:
                    await self.check()
                else:
                    await self.anchor_growth()
            except (EventLogError, OSError) as error:
                log.warning("log.not_anchored", extra={"error": str(error)})

    async def tell_witnesses(self) -> None:
        """Send the anchors that outside witnesses do not have yet, as far as they take them."""
        await asyncio.gather(*(witness.send() for witness in self.witnesses))

    async def anchor_growth(self) -> None:
        """Anchor what came since the last anchor; refuse appends if the log lost its past meanwhile.

        Raises:
            LogUnavailable: the log does not answer.
        """
        state = await self._log.state()
        if check_state(state, self._known) and not await self.check():
            return
        last = self._known[-1] if self._known else None
        if not self._writes or state.last_sequence <= (last.sequence if last else 0):
            return
        digest, sequence = (last.digest, last.sequence) if last else (EMPTY_DIGEST, 0)
        verifier, oddities = ChainVerifier(partial=sequence > 0, after=sequence), Oddities()
        async for event in self._log.examine(sequence, state.last_sequence):
            for finding in verifier.check(event):
                if finding.tolerated:
                    oddities.add(finding)
                else:
                    log.error("log.suspicious", extra={"sequence": finding.sequence, "error": finding.message})
            digest, sequence = roll(digest, event), event.sequence
            if sequence % TURN_EVENTS == 0:
                await asyncio.sleep(0)
            if sequence % self._every_events == 0 or sequence == state.last_sequence:
                await self._write(state, sequence, digest)
        for finding in oddities.findings():
            log.warning("log.odd_messages", extra={"subject": finding.subject, "error": finding.message[:500]})

    async def _write(self, state: StreamState, sequence: int, digest: str) -> None:
        anchor = Anchor(state.created, sequence, digest, format_time(datetime.now(UTC)))
        try:
            await asyncio.to_thread(self._anchors.append, anchor)
        except OSError as error:
            raise LogUnavailable(f"the anchor cannot be written to {self._anchors.path}: {error}") from error
        self._known = [self._known[0] if self._known else anchor, anchor]
        for witness in self.witnesses:
            witness.add(anchor)
