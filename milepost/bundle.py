"""One runtime as a file that can be checked without a server: a zip archive.

    manifest.json        {"format": 3, "runtime": id, "sequence": n, "telemetry_sequence": n, "created": time,
                          "stream_created": ns since 1970 at which the event log was made that it comes from,
                          "oddities": [[sequence, kind]]: what attempts put on their subjects without a place in the chain
                          "files": {name: {"sha256": hex, "bytes": n}}, "heads": {chain: hash of its last event},
                          "signed_by": public key of the installation; absent where it has none}
    manifest.sig         Ed25519 signature of manifest.json as it is, 64 bytes; absent where nobody has signed
    events.ndjson        every event of the runtime and its trials in the order of the log, one JSON object a line:
                         sequence, subject, recorded_time, headers (as stored), body (base64), hash
    state.json           the runtime and its trials as they were at `sequence`, as the HTTP API gives them, and the
                         estimates that were given while it ran, by trial
    configuration.json   the configuration as given (`text`) and as resolved (`resolved`), with its digest
    series.parquet       every row that is stored of the runtime's points, in order of trial, key, attempt, step: those
                         of kind `point` are values (runtime, trial, attempt, key, step, time_ms, value), the others say
                         what became of each message of TELEMETRY that carried them (services/metrics/storage/schema/1_points.sql)
    logs.parquet         the same of log lines: kind `line` (trial, attempt, time_ms, level, rank, stream, step, text;
                         services/metrics/storage/schema/2_logs.sql)
    batches.ndjson       the headers of every step batch that TELEMETRY still had: sequence, time (ns since 1970),
                         subject, headers; what progress and estimates are folded from

The hashes of `events.ndjson` are those of the log (see `milepost.eventlog.codec.chain_hash`), so whoever noted a hash or
an anchor when the runs took place can tell that the bundle says the same. Points and lines are in no chain: by their
hashes in the manifest they are what the installation has signed. Format 2 is the same without a signature.
"""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from milepost.eventlog import LogMessage, RecordedEvent, UnreadableMessage, chain_of
from milepost.eventlog.codec import format_time
from milepost.eventlog.envelope import NotAnEvent, headers_of, record
from milepost.eventlog.proof.chain import Finding, verify_chain
from milepost.ids import is_token
from milepost.security.signing import NotAKey, is_signed

FORMAT = 3
FORMATS = (2, FORMAT)
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
EVENTS = "events.ndjson"
STATE = "state.json"
CONFIGURATION = "configuration.json"
SERIES = "series.parquet"
LOGS = "logs.parquet"
BATCHES = "batches.ndjson"
FILES = (EVENTS, STATE, CONFIGURATION, SERIES, LOGS, BATCHES)
# A bundle is read line by line; a line of events is an event.
MAX_LINE_BYTES = 4 << 20
# Manifest and state are read as a whole.
MAX_READ_BYTES = 256 << 20
_BLOCK = 1 << 20
# What reading an archive ends with where bytes of it are changed: there is no one error for it.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, EOFError, NotImplementedError, RuntimeError, OverflowError, ValueError),
)


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


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a file as an archive. Raises NotABundle: it is none, or cannot be read."""
    try:
        return zipfile.ZipFile(path)
    except _UNREADABLE as error:
        raise NotABundle(f"{path}: {error}") from error


def read_state(archive: zipfile.ZipFile) -> Any:
    """Read `state.json`. Raises NotABundle: it is not readable."""
    try:
        return json.loads(_read_whole(archive, STATE))
    except (KeyError, *_UNREADABLE) as error:
        raise NotABundle(f"it has no readable {STATE}") from error


def read_manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read the manifest.

    Raises:
        NotABundle: there is none, or its format is another one.
    """
    try:
        manifest = json.loads(_read_whole(archive, MANIFEST))
    except (KeyError, *_UNREADABLE) as error:
        raise NotABundle(f"it has no readable {MANIFEST}") from error
    if not isinstance(manifest, dict) or manifest.get("format") not in FORMATS:
        raise NotABundle("its format is not known to this version")
    if not is_token(str(manifest.get("runtime", ""))):
        raise NotABundle("it names no runtime")
    return manifest


def _read_whole(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a file of a bundle. Raises KeyError, and ValueError where it is too large to be one."""
    if archive.getinfo(name).file_size > MAX_READ_BYTES:
        raise ValueError(f"{name} is larger than {MAX_READ_BYTES >> 20} MiB")
    return archive.read(name)


def events_of(archive: zipfile.ZipFile) -> Iterator[LogMessage]:
    """Read the events of a bundle, the damaged ones as what they are."""
    with archive.open(EVENTS) as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), start=1):
            try:
                event, claimed = read_event(line)
            except (
                ValueError,
                KeyError,
                TypeError,
                AttributeError,
                OverflowError,
                RecursionError,
                NotAnEvent,
            ) as error:
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
    with open_archive(path) as archive:
        manifest = read_manifest(archive)
        findings = _check_files(archive, manifest)
        findings += _check_signature(archive, manifest)
        events = []
        if EVENTS in archive.namelist():
            try:
                events = list(events_of(archive))
            except _UNREADABLE as error:
                findings.append(Finding("bundle", 0, "", f"{EVENTS} is not readable: {error}"))
        findings += _known_or_wrong(verify_chain(events), manifest)
        findings += _check_heads(events, manifest)
        findings += _check_owner(events, str(manifest["runtime"]))
    return findings, len(events), str(manifest.get("runtime", ""))


def _check_files(archive: zipfile.ZipFile, manifest: dict[str, Any]) -> list[Finding]:
    findings = []
    listed = _mapping(manifest, "files")
    present = set(archive.namelist()) - {MANIFEST, SIGNATURE}
    for name in sorted(present ^ set(listed)):
        findings.append(Finding("bundle", 0, "", f"{name} is {'not listed' if name in present else 'missing'}"))
    for name in sorted(present & set(listed)):
        try:
            with archive.open(name) as file:
                digest = digest_of(file)
        except _UNREADABLE as error:
            findings.append(Finding("bundle", 0, "", f"{name} is not readable: {error}"))
            continue
        if digest != _listed_digest(listed[name]):
            findings.append(Finding("bundle", 0, "", f"{name} is not what the manifest says"))
    return findings


def _check_signature(archive: zipfile.ZipFile, manifest: dict[str, Any]) -> list[Finding]:
    """Compare the manifest with its signature, if the installation has signed it."""
    public = manifest.get("signed_by")
    has_signature = SIGNATURE in archive.namelist()
    if public is None and not has_signature:
        return []
    if public is None or not has_signature:
        missing = "does not say by whom it is signed" if has_signature else f"names a key, and {SIGNATURE} is missing"
        return [Finding("signature", 0, "", f"{MANIFEST} {missing}")]
    try:
        if is_signed(str(public), _read_whole(archive, MANIFEST), _read_whole(archive, SIGNATURE)):
            return []
    except NotAKey as error:
        return [Finding("signature", 0, "", str(error))]
    except _UNREADABLE as error:
        return [Finding("signature", 0, "", f"{SIGNATURE} is not readable: {error}")]
    return [Finding("signature", 0, "", f"{MANIFEST} is not what {public} has signed")]


def signer_of(path: Path) -> str:
    """Return the public key that a bundle says it is signed by; empty: it is not signed.

    Raises:
        NotABundle: the file is not one.
    """
    with open_archive(path) as archive:
        return str(read_manifest(archive).get("signed_by") or "")


def _listed_digest(entry: Any) -> Any:
    return entry.get("sha256") if isinstance(entry, dict) else None


def _mapping(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    """Take a mapping out of a manifest. Raises NotABundle: something else is there."""
    found = manifest.get(name, {})
    if not isinstance(found, dict):
        raise NotABundle(f"{name} in its {MANIFEST} is not a mapping")
    return found


def _known_or_wrong(found: list[Finding], manifest: dict[str, Any]) -> list[Finding]:
    """What an attempt may put into a log must have been there when the bundle was made, or it was changed since."""
    known = manifest.get("oddities", [])
    known = {(*map(str, entry),) for entry in known if isinstance(entry, list)} if isinstance(known, list) else set()
    return [
        replace(finding, tolerated=finding.tolerated and (str(finding.sequence), finding.kind) in known)
        for finding in found
    ]


def _check_heads(events: list[LogMessage], manifest: dict[str, Any]) -> list[Finding]:
    """Compare the last hash of each chain: nothing in the chain itself would miss an event cut off its end."""
    heads: dict[str, str] = {}
    for event in events:
        if isinstance(event, RecordedEvent):
            heads[chain_of(event.subject)] = event.hash
    findings = []
    for chain, expected in sorted(_mapping(manifest, "heads").items()):
        if heads.get(chain) != expected:
            findings.append(Finding("hash_chain", 0, chain, f"{chain} does not end with the event the manifest names"))
    return findings


def _check_owner(events: list[LogMessage], runtime_id: str) -> list[Finding]:
    """Events of another runtime, however well chained, do not belong here."""
    return [
        Finding("bundle", event.sequence, event.subject, f"an event of another runtime than {runtime_id}")
        for event in events
        if event.subject and event.subject.split(".")[1:2] != [runtime_id]
    ]


@dataclass(frozen=True, slots=True)
class BatchHeaders:
    """What TELEMETRY had of a step batch beside its points. `time`: of the server, nanoseconds since 1970."""

    sequence: int
    time: int
    subject: str
    headers: dict[str, str]


def batch_line(batch: BatchHeaders) -> bytes:
    """One line of `batches.ndjson`."""
    entry = {"sequence": batch.sequence, "time": batch.time, "subject": batch.subject, "headers": batch.headers}
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that verified, and what of it is small enough to be held.

    Attributes:
        sequence, telemetry_sequence: positions of the two streams it was made at.
        stream_created: identity of the event log it comes from.
    """

    path: Path
    runtime_id: str
    sequence: int
    telemetry_sequence: int
    stream_created: int
    created: datetime
    sha256: str
    events: tuple[RecordedEvent, ...]
    batches: tuple[BatchHeaders, ...]
    # By number of the trial: what `ListEstimates` answered.
    estimates: dict[str, Any]

    def extract(self, name: str, folder: Path) -> Path:
        """Write one of its files into a folder."""
        with zipfile.ZipFile(self.path) as archive:
            return Path(archive.extract(name, folder))


def imports_folder(data_dir: Path) -> Path:
    """Return where the bundles of other installations are kept in a data directory."""
    return data_dir / "imports"


def open_import(path: Path) -> tuple[Bundle, datetime, str]:
    """Verify a bundle of the folder of imports, and read who has brought it when.

    Raises:
        NotABundle: it is none, was changed, or is not the one that was imported under this name.
    """
    bundle = open_bundle(path)
    if bundle.runtime_id != path.stem:
        raise NotABundle(f"{path} is the bundle of {bundle.runtime_id}")
    try:
        beside = json.loads(path.with_suffix(".json").read_text())
        time, actor = datetime.fromisoformat(beside["time"]).astimezone(UTC), str(beside["actor"])
        digest = beside.get("sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotABundle(f"{path.with_suffix('.json')} does not say who imported it: {error}") from error
    if digest != bundle.sha256:
        raise NotABundle(f"{path} is not the file that was imported")
    return bundle, time, actor


def open_bundle(path: Path) -> Bundle:
    """Verify a bundle and read it.

    Raises:
        NotABundle: the file is not one, or something in it was changed.
    """
    findings, _, runtime_id = verify_bundle(path)
    wrong = [finding for finding in findings if finding.is_open]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise NotABundle(f"{path} was changed: {wrong[0].message}{more}")
    with zipfile.ZipFile(path) as archive, path.open("rb") as whole:
        manifest = read_manifest(archive)
        try:
            with archive.open(BATCHES) as lines:
                bounded = iter(lambda: lines.readline(MAX_LINE_BYTES), b"")
                batches = tuple(BatchHeaders(**json.loads(line)) for line in bounded)
            return Bundle(
                path,
                runtime_id,
                int(manifest["sequence"]),
                int(manifest["telemetry_sequence"]),
                int(manifest["stream_created"]),
                datetime.fromisoformat(manifest["created"]).astimezone(UTC),
                digest_of(whole),
                tuple(event for event in events_of(archive) if isinstance(event, RecordedEvent)),
                batches,
                dict(json.loads(_read_whole(archive, STATE)).get("estimates", {})),
            )
        except (KeyError, TypeError, AttributeError, *_UNREADABLE) as error:
            raise NotABundle(f"{path} is not as its format says: {error}") from error


def digest_of(file: IO[bytes]) -> str:
    """SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
