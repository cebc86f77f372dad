"""Anchors: where the log stood, written outside of it, so that a log that lost or changed its past is found out.

An anchor is (stream, N, rolling digest over the messages 1..N), see `chain.roll`. docs/audit.md has a program that
checks one by hand, with nothing of Milepost in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from milepost import files
from milepost.eventlog import LogRegressed
from milepost.eventlog.proof.witness import AnchorSink, HttpAnchorSink
from milepost.security.egress import Egress

log = logging.getLogger(__name__)

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


def current(anchors: Sequence[Anchor]) -> list[Anchor]:
    """The anchors that count: from the last acceptance on."""
    first = max((index for index, anchor in enumerate(anchors) if anchor.accepted), default=0)
    return sorted(anchors[first:], key=lambda anchor: anchor.sequence)
