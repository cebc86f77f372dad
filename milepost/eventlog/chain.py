"""Proof that a log is whole: links and versions of every chain, and one digest over all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from milepost.eventlog import Head, RecordedEvent, chain_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Where every rolling digest begins.
EMPTY_DIGEST = hashlib.sha256(b"milepost.anchor.v1").hexdigest()


@dataclass(frozen=True, slots=True)
class UnreadableMessage:
    """A message of the log that is no event: nobody of ours wrote it, or it was changed beyond reading.

    `hash` is that of `codec.chain_hash` over what is there, so that it counts in the rolling digest like an event.
    """

    sequence: int
    subject: str
    recorded_time: datetime
    hash: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the log that no honest history has.

    Attributes:
        kind: `hash_chain`, `version_gap`, `sequence_gap`, `unreadable`, `anchor`, `stream` or `stream_configuration`.
        sequence: the first bad sequence; 0: it is not about one.
        subject: where; empty: not about one subject.
        message: one sentence for people.
        accepted: a person has decided to go on with it; it stays named, and no longer stands in the way.
    """

    kind: str
    sequence: int
    subject: str
    message: str
    accepted: bool = False


class ChainVerifier:
    """Check events one by one, in the order of the log, of any number of chains.

    Args:
        heads: where known chains stood before the first event that will be checked. A chain that is not among them has
            to begin with version 1, unless `partial` is set.
        partial: the check begins in the middle of the log: the first event of a chain is taken as it is.
        after: every sequence has to follow this one without a gap. None: gaps between sequences are not judged,
            because only some subjects are checked.
    """

    def __init__(
        self, heads: Mapping[str, Head] | None = None, *, partial: bool = False, after: int | None = None
    ) -> None:
        self.heads: dict[str, Head] = dict(heads or {})
        self.checked = 0
        self._partial = partial
        self._sequence = after

    def check(self, event: RecordedEvent | UnreadableMessage) -> list[Finding]:
        """Check the next event and return what is wrong with it."""
        self.checked += 1
        findings = self._check_sequence(event)
        if isinstance(event, UnreadableMessage):
            findings.append(Finding("unreadable", event.sequence, event.subject, event.reason))
            return findings
        try:
            chain = chain_of(event.subject)
        except ValueError as error:
            findings.append(Finding("unreadable", event.sequence, event.subject, str(error)))
            return findings
        head = self.heads.get(chain)
        if head is not None or not self._partial:
            findings += _check_link(event, head or Head(chain))
        self.heads[chain] = Head(chain, event.sequence, event.version, event.hash)
        return findings

    def _check_sequence(self, event: RecordedEvent | UnreadableMessage) -> list[Finding]:
        previous, self._sequence = self._sequence, None if self._sequence is None else event.sequence
        if previous is None or event.sequence == previous + 1:
            return []
        if event.sequence <= previous:
            message = f"{event.sequence} comes after {previous}"
            return [Finding("sequence_gap", event.sequence, event.subject, message)]
        count = event.sequence - previous - 1
        message = f"{count} {'message is' if count == 1 else 'messages are'} missing before {event.sequence}"
        return [Finding("sequence_gap", previous + 1, "", message)]


def _check_link(event: RecordedEvent, head: Head) -> list[Finding]:
    findings = []
    follows = event.version == head.version + 1
    if not follows:
        message = f"version {event.version} follows version {head.version}"
        if not head.sequence:
            message = f"the first event has version {event.version}"
        findings.append(Finding("version_gap", event.sequence, event.subject, message))
    if event.previous_hash != head.hash:
        if not head.sequence:
            message = f"it links to an event before it ({event.previous_hash[:12]}...) that is not there"
        elif follows:
            message = f"event {event.sequence} does not link to it as it stands: it was changed"
            # A change of the link itself would break the next link too.
            return [*findings, Finding("hash_chain", head.sequence, event.subject, message)]
        else:
            message = f"it does not link to event {head.sequence}, the one before it"
        findings.append(Finding("hash_chain", event.sequence, event.subject, message))
    return findings


def verify_chain(events: Iterable[RecordedEvent | UnreadableMessage]) -> list[Finding]:
    """Check events of whole chains, oldest first, and return what is wrong; empty: nothing.

    The last event of a chain has none behind it that would confirm its hash: that is what the rolling digest is for.
    """
    verifier = ChainVerifier()
    return [finding for event in events for finding in verifier.check(event)]


def roll(digest: str, event: RecordedEvent | UnreadableMessage) -> str:
    """Add the next message to a rolling digest.

    SHA-256 over: the digest before (32 bytes), the sequence (8 bytes, big-endian), the server's time in microseconds
    since 1970 (8 bytes), the length of the subject (8 bytes), the subject, the hash of the event (32 bytes).
    """
    microseconds = (event.recorded_time - _EPOCH) // timedelta(microseconds=1)
    subject = event.subject.encode()
    return hashlib.sha256(
        b"".join(
            (
                bytes.fromhex(digest),
                event.sequence.to_bytes(8, "big"),
                microseconds.to_bytes(8, "big"),
                len(subject).to_bytes(8, "big"),
                subject,
                bytes.fromhex(event.hash),
            )
        )
    ).hexdigest()
