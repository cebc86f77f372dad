"""What a log says of itself, held against the anchors that were written of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from milepost.eventlog import LogMessage, LogRegressed
from milepost.eventlog.codec import format_time
from milepost.eventlog.nats.streams import StreamState
from milepost.eventlog.proof.anchor import WHAT_TO_DO, Anchor, AnchorFile, current
from milepost.eventlog.proof.chain import EMPTY_DIGEST, ChainVerifier, Finding, Oddities, roll

# Events that are read before the calls of the service get their turn.
TURN_EVENTS = 50
# What a service that writes no anchors and finds none checks of the end of the log.
TAIL_EVENTS = 2_000


class ExaminableLog(Protocol):
    """What anchoring needs of a log; `JetStreamLog` has it."""

    refusal: LogRegressed | None

    async def state(self) -> StreamState: ...

    def examine(self, after: int = 0, until: int | None = None) -> AsyncIterator[LogMessage]: ...


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


async def examine_all(log: ExaminableLog, anchors: Sequence[Anchor]) -> list[Finding]:
    """Check the whole log. Returns what a person has to decide about: also what lies before the end that services check."""
    async for verification in verify_log(log, anchors):
        verdict = verification
    return [finding for finding in verdict.findings if finding.is_open]
