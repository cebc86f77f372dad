"""Anchors: where the log stood, written outside of it, so that a log that lost or changed its past is found out.

An anchor is (stream, N, rolling digest over the messages 1..N), see `chain.roll`. docs/audit.md has a program that
checks one by hand, with nothing of Milepost in it.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from milepost import files
from milepost.api.event.v1.platform_events_pb2 import LogRegressionAccepted
from milepost.eventlog import (
    PLATFORM_SUBJECT,
    Appended,
    EventLogError,
    Head,
    LogMessage,
    LogRegressed,
    LogUnavailable,
    NewEvent,
)
from milepost.eventlog.codec import encode, format_time
from milepost.eventlog.nats.streams import StreamState
from milepost.eventlog.proof.chain import EMPTY_DIGEST, ChainVerifier, Finding, Oddities, roll
from milepost.eventlog.proof.witness import AnchorSink, HttpAnchorSink, Witness
from milepost.security.egress import Egress

log = logging.getLogger(__name__)

# An anchor is written after this many events, and after this many seconds in which there was one.
EVERY_EVENTS = 1000
EVERY_SECONDS = 5.0
# Events that are read before the calls of the service get their turn.
TURN_EVENTS = 50
# What a service that writes no anchors and finds none checks of the end of the log.
TAIL_EVENTS = 2_000
# The newest anchors, which are never thinned out.
KEPT_ANCHORS = 100
WHAT_TO_DO = (
    "Restore the log from a backup, or let a person decide to go on with it as it is: milepost audit verify shows "
    "what is wrong, milepost audit accept records the decision"
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a log stood.

    Attributes:
        stream_created: identity of the stream: its creation time, nanoseconds since 1970.
        sequence: N, the last message that is covered.
        digest: rolling SHA-256 over the messages 1..N, hex.
        time: when it was written, RFC 3339.
        accepted: id of the event by which a person accepted a log that had regressed. Anchors before it are history.
        missing: with `accepted`, how many of the messages 1..N were gone then.
    """

    stream_created: int
    sequence: int
    digest: str
    time: str
    accepted: str = ""
    missing: int = 0

    def line(self) -> str:
        """The anchor as a line of JSON that carries its own checksum."""
        content = json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)
        return json.dumps({"anchor": json.loads(content), "sha256": _checksum(content)}, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Anchor:
        """Read a line.

        Raises:
            ValueError: it is not one, or it was changed.
        """
        outer = json.loads(line)
        content = json.dumps(outer["anchor"], separators=(",", ":"), sort_keys=True)
        if _checksum(content) != outer["sha256"]:
            raise ValueError("the checksum of an anchor does not fit")
        return cls(**outer["anchor"])


def anchors_path(data_dir: Path) -> Path:
    """Where the anchors of an installation are."""
    return data_dir / "anchors" / "EVENTS.jsonl"


def _checksum(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


class AnchorFile:
    """Anchors in a file, one a line, oldest first. When it gets larger than some bytes, older ones are thinned out."""

    def __init__(self, path: Path, maximum_bytes: int = 4 << 20) -> None:
        self.path = path
        self._maximum_bytes = maximum_bytes
        self._said_empty = False

    def read(self) -> list[Anchor]:
        """Read all anchors. A last line that a crash cut short does not count.

        Raises:
            LogRegressed: a line is not an anchor: the file was changed.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        *lines, _ = content.split(b"\n")
        if not lines and not self._said_empty:
            # A first line that a power cut took, or somebody: the log is checked against itself alone.
            self._said_empty = True
            log.error("anchors.empty", extra={"path": str(self.path), "error": "there is no anchor in it"})
        anchors = []
        for number, line in enumerate(lines, 1):
            try:
                anchors.append(Anchor.from_line(line.decode()))
            except (ValueError, KeyError, TypeError) as error:
                raise LogRegressed(
                    f"line {number} of {self.path} is not an anchor as it was written. {WHAT_TO_DO}"
                ) from error
        return anchors

    def append(self, anchor: Anchor) -> None:
        existed = self.path.exists()
        if not existed:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = self._open_locked()
        try:
            end = _end_of_last_line(descriptor)
            os.ftruncate(descriptor, end)
            os.pwrite(descriptor, (anchor.line() + "\n").encode(), end)
            os.fsync(descriptor)
            if end > self._maximum_bytes:
                self._thin_out()
        finally:
            os.close(descriptor)
        if not existed:
            files.sync(self.path.parent)

    def _open_locked(self) -> int:
        """Open the file for this process alone: a service that stands by may write too, and replace it."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self.path.exists() and os.path.samestat(os.fstat(descriptor), self.path.stat()):
                return descriptor
            os.close(descriptor)

    def _thin_out(self) -> None:
        """Drop every second of the older anchors: each covers all before it, they only say where a change is."""
        anchors = self.read()
        recent = len(anchors) - KEPT_ANCHORS
        kept = [a for index, a in enumerate(anchors) if index >= recent or index % 2 == 0 or a.accepted]
        files.write(self.path, "".join(anchor.line() + "\n" for anchor in kept), mode=0o600)


def _end_of_last_line(descriptor: int) -> int:
    size = os.fstat(descriptor).st_size
    tail_start = max(0, size - 4096)
    tail = os.pread(descriptor, 4096, tail_start)
    return tail_start + tail.rfind(b"\n") + 1


def witnesses(file: str, url: str, egress: Egress) -> tuple[AnchorSink, ...]:
    """Where anchors go besides the data directory; empty: nowhere. The host of the address is allowed: an operator set it.

    Raises:
        ValueError: the address is none of HTTP.
    """
    files = [AnchorFile(Path(file).expanduser())] if file else []
    return (*files, *([HttpAnchorSink(url, egress.allowing(urlsplit(url).hostname or ""))] if url else []))


class ExaminableLog(Protocol):
    """What anchoring needs of a log; `JetStreamLog` has it."""

    refusal: LogRegressed | None

    async def state(self) -> StreamState: ...

    def examine(self, after: int = 0, until: int | None = None) -> AsyncIterator[LogMessage]: ...


class AcceptingLog(ExaminableLog, Protocol):
    """What accepting a regression needs besides."""

    async def head(self, chain: str) -> Head: ...

    async def append(self, events: Sequence[NewEvent], expected: Sequence[Head]) -> Appended: ...


def current(anchors: Sequence[Anchor]) -> list[Anchor]:
    """The anchors that count: from the last acceptance on."""
    first = max((index for index, anchor in enumerate(anchors) if anchor.accepted), default=0)
    return sorted(anchors[first:], key=lambda anchor: anchor.sequence)


def check_state(state: StreamState, anchors: Sequence[Anchor]) -> list[Finding]:
    """Compare where the stream stands with the last anchor; empty: it may be the same log, grown."""
    findings = []
    counting = current(anchors)
    missing = state.last_sequence - state.message_count
    if missing != (counting[0].missing if counting else 0):
        # Where, only reading can tell; unless it is at the beginning.
        first = 1 if state.first_sequence > 1 else 0
        findings.append(Finding("sequence_gap", first, "", f"{missing} of {state.last_sequence} messages are missing"))
    if not counting:
        return findings
    last = counting[-1]
    if last.stream_created != state.created:
        message = f"this is not the stream that was anchored at {last.time} with {last.sequence} messages"
        findings.append(Finding("stream", 0, "", message))
    elif state.last_sequence < last.sequence:
        message = f"the log ends with {state.last_sequence}, but {last.sequence} messages were anchored at {last.time}"
        findings.append(Finding("anchor", state.last_sequence + 1, "", message))
    return findings


async def examine_tail(
    log: ExaminableLog, anchors: Sequence[Anchor], without_anchors: int | None = None
) -> list[Finding]:
    """Check the log from the last anchor but one to its end: digest, links, versions, no gap. Empty: it may go on.

    Without an anchor all of it is checked, or only so many of the newest events as `without_anchors` says. What attempts
    put on their own subjects is for `verify_log` to name.
    """
    state = await log.state()
    findings = check_state(state, anchors)
    if findings or not state.last_sequence:
        return findings
    counting = current(anchors)
    after, digest = 0, EMPTY_DIGEST
    if len(counting) > 1 or (counting and counting[0].accepted):
        # An accepted anchor is a beginning of its own: what was wrong before it stays wrong.
        base = counting[max(0, len(counting) - 2)]
        after, digest = base.sequence, base.digest
    elif not counting and without_anchors is not None:
        after = max(0, state.last_sequence - without_anchors)
    ahead = [anchor for anchor in counting[-1:] if anchor.sequence > after]
    examination = Examination(ahead, ChainVerifier(partial=after > 0, after=after), after, digest)
    async for event in log.examine(after, state.last_sequence):
        examination.add(event)
    return [finding for finding in examination.finish(state.last_sequence) if finding.is_open]


class Examination:
    """One pass over the log that rolls the digest, follows the chains and compares with anchors on the way."""

    def __init__(
        self, anchors: Sequence[Anchor], verifier: ChainVerifier, after: int = 0, digest: str = EMPTY_DIGEST
    ) -> None:
        self.digest = digest
        self.sequence = after
        self.findings: list[Finding] = []
        self.oddities = Oddities()
        self.checked = 0
        self._verifier = verifier
        self._anchors = {anchor.sequence: anchor for anchor in anchors}
        # The last sequence up to which a digest agreed.
        self._agreed = after

    def add(self, event: LogMessage) -> None:
        """Take the next message of the log."""
        for finding in self._verifier.check(event):
            if finding.tolerated:
                self.oddities.add(finding)
            else:
                self.findings.append(finding)
        self.digest = roll(self.digest, event)
        self.sequence = event.sequence
        self.checked += 1
        anchor = self._anchors.pop(event.sequence, None)
        if anchor is None:
            return
        if anchor.digest == self.digest:
            self._agreed = event.sequence
        elif not any(finding.kind == "anchor" for finding in self.findings):
            # Every later digest differs too: only the first says where.
            self.findings.append(self._disagreement(anchor))

    def _disagreement(self, anchor: Anchor) -> Finding:
        message = (
            f"messages {self._agreed + 1} to {anchor.sequence} are not what was anchored at {anchor.time}: "
            f"digest {self.digest[:12]}..., anchored {anchor.digest[:12]}..."
        )
        return Finding("anchor", self._agreed + 1, "", message)

    def finish(self, last_sequence: int) -> list[Finding]:
        """Say what is missing at the end, and return all findings, the first bad sequence first."""
        if self.sequence < last_sequence:
            message = f"messages {self.sequence + 1} to {last_sequence} cannot be read"
            self.findings.append(Finding("sequence_gap", self.sequence + 1, "", message))
        passed_over = [anchor for anchor in self._anchors.values() if anchor.sequence <= last_sequence]
        if passed_over and not any(finding.kind == "anchor" for finding in self.findings):
            first = min(passed_over, key=lambda anchor: anchor.sequence)
            message = f"message {first.sequence}, anchored at {first.time}, is not there"
            self.findings.append(Finding("anchor", self._agreed + 1, "", message))
        found = [*map(self._narrowed, self.findings), *self.oddities.findings()]
        return sorted(found, key=lambda finding: (finding.sequence, finding.kind))

    def _narrowed(self, finding: Finding) -> Finding:
        """An anchor tells only a range; another finding in it tells where the range begins to be wrong."""
        if finding.kind != "anchor":
            return finding
        inside = [f.sequence for f in self.findings if f.kind != "anchor" and f.sequence >= finding.sequence]
        return replace(finding, sequence=min(inside)) if inside else finding


async def verify_tail(log: ExaminableLog, anchors: AnchorFile) -> None:
    """Check the end of the log at the start of a service. It takes well under a second, however long the log is.

    Raises:
        LogRegressed: the log is behind its anchor, is another one, has a gap, or its end was changed.
        LogUnavailable: the log does not answer.
    """
    findings = await examine_tail(log, anchors.read())
    if findings:
        raise regressed(findings)


def regressed(findings: Sequence[Finding]) -> LogRegressed:
    """The error that says what was found and what to do."""
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return LogRegressed(f"the event log is not the one it was: {first.message}{more}. {WHAT_TO_DO}")


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the whole log says.

    Attributes:
        checked: messages that were read.
        last_sequence: where the log ended at the beginning of the check.
        digest: the rolling digest over all of them: what an anchor at this place would say.
        findings: what is wrong, the first bad sequence first; empty: nothing.
        finished: False in a report of progress.
    """

    checked: int
    last_sequence: int
    digest: str
    findings: tuple[Finding, ...]
    finished: bool

    @property
    def valid(self) -> bool:
        """Nothing is wrong but what a person has accepted, and what attempts may put where it stands."""
        return not any(finding.is_open for finding in self.findings)


async def verify_log(
    log: ExaminableLog, anchors: Sequence[Anchor], report_every: int = 10_000
) -> AsyncIterator[Verification]:
    """Check the whole log against itself and against every anchor that counts. Yields progress, and the verdict last.

    Raises:
        LogUnavailable: the log stopped answering.
    """
    state = await log.state()
    state_findings = check_state(state, anchors)
    counting = current(anchors)
    accepted_until = counting[0].sequence if counting and counting[0].accepted else 0
    examination = Examination([a for a in counting if a.stream_created == state.created], ChainVerifier(after=0))
    async for event in log.examine(0, state.last_sequence):
        examination.add(event)
        if examination.checked % report_every == 0:
            found = tuple(examination.findings)
            yield Verification(examination.checked, state.last_sequence, examination.digest, found, False)
    findings = [
        replace(finding, accepted=True) if finding.sequence <= accepted_until else finding
        for finding in examination.finish(state.last_sequence)
    ]
    findings = sorted({*state_findings, *findings}, key=lambda finding: (finding.sequence, finding.kind))
    yield Verification(examination.checked, state.last_sequence, examination.digest, tuple(findings), True)


async def adopt_restored(log: ExaminableLog, anchors: AnchorFile) -> bool:
    """Anchor a log that was put back from a backup, if all that was ever anchored is in it, unchanged.

    The server gives a restored stream a new identity, by which it would be taken for another log. False: it lacks
    something, or something differs; nothing is written, and services will refuse to write to it.

    Raises:
        LogUnavailable: the log does not answer.
        LogRegressed: the file of anchors was changed.
    """
    known = anchors.read()
    if not current(known):
        return True
    state = await log.state()
    same = [replace(anchor, stream_created=state.created) for anchor in known]
    async for verification in verify_log(log, same):
        verdict = verification
    if not verdict.valid:
        return False
    anchors.append(Anchor(state.created, verdict.last_sequence, verdict.digest, format_time(datetime.now(UTC))))
    return True


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


async def examine_all(log: ExaminableLog, anchors: Sequence[Anchor]) -> list[Finding]:
    """Check the whole log. Returns what a person has to decide about: also what lies before the end that services check."""
    async for verification in verify_log(log, anchors):
        verdict = verification
    return [finding for finding in verdict.findings if finding.is_open]


async def accept_regression(
    log: AcceptingLog, anchors: AnchorFile, *, actor: str, reason: str, event_id: str, time: datetime
) -> Anchor | None:
    """Record the decision of a person to go on with a log that regressed, and begin its anchors anew.

    None: there was nothing to accept, and nothing was changed. Services that refused to write find out by themselves.

    Raises:
        WrongExpectedSequence: somebody else appended; try again.
    """
    known = _readable(anchors)
    findings = await examine_all(log, known) if known is not None else [Finding("anchor", 0, "", "unreadable anchors")]
    if not findings:
        return None
    before = await log.state()
    anchored = current(known)[-1].sequence if known else 0
    event_type, body = encode(
        LogRegressionAccepted(anchored_sequence=anchored, found_sequence=before.last_sequence, reason=reason)
    )
    event = NewEvent(PLATFORM_SUBJECT, event_type, body, event_id, time, "/audit", actor)
    appended = await log.append([event], [await log.head(PLATFORM_SUBJECT)])
    state = await log.state()
    digest = EMPTY_DIGEST
    async for message in log.examine(0, appended.sequences[-1]):
        digest = roll(digest, message)
    missing = state.last_sequence - state.message_count
    anchor = Anchor(state.created, appended.sequences[-1], digest, format_time(time), event_id, missing)
    if known is None:
        anchors.path.rename(anchors.path.with_name(f"{anchors.path.name}.rejected-{event_id}"))
    anchors.append(anchor)
    return anchor


def _readable(anchors: AnchorFile) -> list[Anchor] | None:
    try:
        return anchors.read()
    except LogRegressed:
        return None
