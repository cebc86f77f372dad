"""Proof that a log is whole: links and versions of every chain, and one digest over all of it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from milepost.eventlog import Head, LogMessage, RecordedEvent, UnreadableMessage, chain_of, parse_subject
from milepost.eventlog.codec import UnknownEventType, decode, unknown_numbers

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Subjects with oddities that are listed; runs of their sequences of all of them together, and at least of each.
LISTED_ODDITIES = 500
LISTED_RANGES = 100_000
MIN_RANGES = 100
# Where every rolling digest begins.
EMPTY_DIGEST = hashlib.sha256(b"milepost.anchor.v1").hexdigest()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the log that no honest history has.

    Attributes:
        kind: `hash_chain`, `version_gap`, `sequence_gap`, `unreadable`, `unlinked`, `unknown`, `anchor`,
            `stream` or `stream_configuration`.
        sequence: the first bad sequence; 0: it is not about one.
        subject: where; empty: not about one subject.
        message: one sentence for people.
        accepted: a person has decided to go on with it; it stays named, and no longer stands in the way.
        tolerated: an attempt wrote it on its own subject, where it can put anything: it stays named, has no effect, and
            proves nothing about the log. What an attempt cannot do is still found: to change or take away what stands.
    """

    kind: str
    sequence: int
    subject: str
    message: str
    accepted: bool = False
    tolerated: bool = False

    @property
    def is_open(self) -> bool:
        """It stands in the way of going on."""
        return not (self.accepted or self.tolerated)


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

    def check(self, event: LogMessage) -> list[Finding]:
        """Check the next event and return what is wrong with it."""
        self.checked += 1
        findings = self._check_sequence(event)
        if isinstance(event, UnreadableMessage):
            by_attempt = is_of_attempt(event.subject)
            findings.append(Finding("unreadable", event.sequence, event.subject, event.reason, tolerated=by_attempt))
            return findings
        chain = chain_of(event.subject)
        head = self.heads.get(chain)
        if head is not None or not self._partial:
            findings += _check_link(event, head or Head(chain))
        self.heads[chain] = Head(chain, event.sequence, event.version, event.hash)
        return findings + _check_content(event)

    def _check_sequence(self, event: LogMessage) -> list[Finding]:
        previous, self._sequence = self._sequence, None if self._sequence is None else event.sequence
        if previous is None or event.sequence == previous + 1:
            return []
        if event.sequence <= previous:
            message = f"{event.sequence} comes after {previous}"
            return [Finding("sequence_gap", event.sequence, event.subject, message)]
        count = event.sequence - previous - 1
        message = f"{count} {'message is' if count == 1 else 'messages are'} missing before {event.sequence}"
        return [Finding("sequence_gap", previous + 1, "", message)]


def _check_content(event: RecordedEvent) -> list[Finding]:
    """Name what a newer version has written, or somebody who claims to be one: this version goes on without it."""
    try:
        payload = decode(event.type, event.body)
    except UnknownEventType as error:
        message = f"event {event.sequence} is of a type that this version does not know: {str(error)[:200]!a}"
        return [Finding("unknown", event.sequence, event.subject, message, tolerated=True)]
    unknown = [f"{name} {number}" for name, number in unknown_numbers(payload)]
    if not unknown:
        return []
    message = f"event {event.sequence} has numbers that this version does not know: {', '.join(unknown)}"
    return [Finding("unknown", event.sequence, event.subject, message, tolerated=True)]


def is_of_attempt(subject: str) -> bool:
    """Return whether an attempt may write on a subject, and so put anything there."""
    try:
        return parse_subject(subject).attempt is not None
    except ValueError:
        return False


def _check_link(event: RecordedEvent, head: Head) -> list[Finding]:
    if is_of_attempt(event.subject):
        # Whether what stands before it was changed, the rolling digest tells: an attempt may claim any predecessor.
        if (event.version, event.previous_hash) == (head.version + 1, head.hash):
            return []
        message = f"event {event.sequence} does not follow event {head.sequence} of its chain, as it should"
        return [Finding("unlinked", event.sequence, event.subject, message, tolerated=True)]
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


class Oddities:
    """What attempts wrote that is no event, or has no place in its chain: by subject and kind, each sequence counted."""

    def __init__(self) -> None:
        self.count = 0
        # (kind, subject) -> the first of them, and first and last sequence of each run of them
        self._found: dict[tuple[str, str], tuple[Finding, list[list[int]]]] = {}

    def add(self, finding: Finding) -> None:
        """Take one in."""
        self.count += 1
        _, ranges = self._found.setdefault((finding.kind, finding.subject), (finding, []))
        if ranges and ranges[-1][1] + 1 == finding.sequence:
            ranges[-1][1] = finding.sequence
        else:
            ranges.append([finding.sequence, finding.sequence])

    def findings(self) -> list[Finding]:
        """Say them: one finding for each subject and kind, with all of its sequences, as far as they can be listed."""
        listed = list(itertools.islice(self._found.values(), LISTED_ODDITIES))
        most = ranges_of_each(len(listed))
        findings = [replace(first, message=_all_of(first, ranges, most)) for first, ranges in listed]
        if len(self._found) > len(listed):
            message = f"and {len(self._found) - len(listed):,} more subjects of attempts"
            findings.append(Finding("unreadable", 0, "", message, tolerated=True))
        return findings


def _all_of(first: Finding, ranges: Sequence[Sequence[int]], most: int) -> str:
    count = sum(last - start + 1 for start, last in ranges)
    if count == 1:
        return first.message
    return f"{count:,} messages: {ranges_in_words(ranges, most)}; the first: {first.message}"


def ranges_of_each(count: int) -> int:
    """How many runs of sequences each of so many sentences may list."""
    return max(MIN_RANGES, LISTED_RANGES // max(1, count))


def as_ranges(sequences: Iterable[int]) -> list[list[int]]:
    """Join sequences that follow each other: first and last of each run."""
    ranges: list[list[int]] = []
    for sequence in sequences:
        if ranges and ranges[-1][1] + 1 == sequence:
            ranges[-1][1] = sequence
        else:
            ranges.append([sequence, sequence])
    return ranges


def ranges_in_words(ranges: Sequence[Sequence[int]], most: int = LISTED_RANGES) -> str:
    """Say which sequences they are: `12, 15-19, 23`; of very many, the first."""
    words = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:most]]
    more = f" and {len(ranges) - most:,} more ranges" if len(ranges) > most else ""
    return f"{', '.join(words)}{more}"


def verify_chain(events: Iterable[LogMessage]) -> list[Finding]:
    """Check events of whole chains, oldest first, and return what is wrong; empty: nothing.

    The last event of a chain has none behind it that would confirm its hash: that is what the rolling digest is for.
    """
    verifier = ChainVerifier()
    return [finding for event in events for finding in verifier.check(event)]


def roll(digest: str, event: LogMessage) -> str:
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
