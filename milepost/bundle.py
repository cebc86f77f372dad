"""One runtime as a file that can be checked without a server: a zip archive.

    manifest.json        {"format": 1, "runtime": id, "sequence": n, "created": time,
                          "files": {name: {"sha256": hex, "bytes": n}}, "heads": {chain: hash of its last event}}
    events.ndjson        every event of the runtime and its trials in the order of the log, one JSON object a line:
                         sequence, subject, recorded_time, headers (as stored), body (base64), hash
    state.json           the runtime and its trials as they were at `sequence`, as the HTTP API gives them
    configuration.json   the configuration as given (`text`) and as resolved (`resolved`), with its digest
    series.parquet       runtime, trial, attempt, superseded, key, step, time, value
    logs.ndjson          log lines in their order, as the HTTP API gives them

The hashes of `events.ndjson` are those of the log (see `milepost.eventlog.codec.chain_hash`), so whoever noted a hash or
an anchor when the runs took place can tell that the bundle says the same.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from milepost.eventlog import RecordedEvent, chain_of
from milepost.eventlog.chain import Finding, UnreadableMessage, verify_chain
from milepost.eventlog.codec import format_time
from milepost.eventlog.envelope import NotAnEvent, headers_of, record

FORMAT = 1
MANIFEST = "manifest.json"
EVENTS = "events.ndjson"
FILES = (EVENTS, "state.json", "configuration.json", "series.parquet", "logs.ndjson")
# A bundle is read line by line; a line of events is an event.
MAXIMUM_LINE_BYTES = 4 << 20
_BLOCK = 1 << 20


class NotABundle(Exception):
    """The file is not a bundle, or of a format that this version does not know."""


def event_line(event: RecordedEvent) -> bytes:
    """One line of `events.ndjson`."""
    entry = {
        "sequence": event.sequence,
        "subject": event.subject,
        "recorded_time": format_time(event.recorded_time),
        "headers": headers_of(event),
        "body": base64.b64encode(event.body).decode(),
        "hash": event.hash,
    }
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_event(line: bytes) -> tuple[RecordedEvent, str]:
    """Read a line of `events.ndjson`: the event, and the hash that the line claims.

    Raises:
        ValueError: it is not one.
    """
    entry = json.loads(line)
    time = datetime.fromisoformat(entry["recorded_time"])
    body = base64.b64decode(entry["body"], validate=True)
    return record(int(entry["sequence"]), entry["subject"], entry["headers"], body, time), str(entry["hash"])


def read_manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read the manifest.

    Raises:
        NotABundle: there is none, or its format is another one.
    """
    try:
        manifest = json.loads(archive.read(MANIFEST))
    except (KeyError, ValueError) as error:
        raise NotABundle(f"it has no readable {MANIFEST}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise NotABundle("its format is not known to this version")
    return manifest


def events_of(archive: zipfile.ZipFile) -> Iterator[RecordedEvent | UnreadableMessage]:
    """Read the events of a bundle, the damaged ones as what they are."""
    with archive.open(EVENTS) as file:
        for number, line in enumerate(iter(lambda: file.readline(MAXIMUM_LINE_BYTES), b""), start=1):
            try:
                event, claimed = read_event(line)
            except (ValueError, KeyError, TypeError, NotAnEvent) as error:
                yield UnreadableMessage(
                    number, "", datetime.fromtimestamp(0).astimezone(), "", f"line {number}: {error}"
                )
                continue
            if event.hash != claimed:
                reason = f"line {number} says its hash is {claimed[:12]}, and it is {event.hash[:12]}"
                yield UnreadableMessage(event.sequence, event.subject, event.recorded_time, event.hash, reason)
            else:
                yield event


def verify_bundle(path: Path) -> tuple[list[Finding], int, str]:
    """Check a bundle: every file against the manifest, every event against its chain.

    Returns what is wrong, the number of events, and the id of the runtime.

    Raises:
        NotABundle: the file is not one.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise NotABundle(f"{path}: {error}") from error
    with archive:
        manifest = read_manifest(archive)
        findings = _check_files(archive, manifest)
        events = []
        if EVENTS in archive.namelist():
            try:
                events = list(events_of(archive))
            except zipfile.BadZipFile as error:
                findings.append(Finding("bundle", 0, "", f"{EVENTS}: {error}"))
        findings += verify_chain(events)
        findings += _check_heads(events, manifest)
    return findings, len(events), str(manifest.get("runtime", ""))


def _check_files(archive: zipfile.ZipFile, manifest: dict[str, Any]) -> list[Finding]:
    findings = []
    listed = manifest.get("files", {})
    present = set(archive.namelist()) - {MANIFEST}
    for name in sorted(present ^ set(listed)):
        findings.append(Finding("bundle", 0, "", f"{name} is {'not listed' if name in present else 'missing'}"))
    for name in sorted(present & set(listed)):
        try:
            with archive.open(name) as file:
                digest = digest_of(file)
        except zipfile.BadZipFile as error:
            findings.append(Finding("bundle", 0, "", f"{name}: {error}"))
            continue
        if digest != listed[name].get("sha256"):
            findings.append(Finding("bundle", 0, "", f"{name} is not what the manifest says"))
    return findings


def _check_heads(events: list[RecordedEvent | UnreadableMessage], manifest: dict[str, Any]) -> list[Finding]:
    """Compare the last hash of each chain: nothing in the chain itself would miss an event cut off its end."""
    heads: dict[str, str] = {}
    for event in events:
        if isinstance(event, RecordedEvent):
            heads[chain_of(event.subject)] = event.hash
    findings = []
    for chain, expected in sorted(manifest.get("heads", {}).items()):
        if heads.get(chain) != expected:
            findings.append(Finding("hash_chain", 0, chain, f"{chain} does not end with the event the manifest names"))
    return findings


def digest_of(file: IO[bytes]) -> str:
    """SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
