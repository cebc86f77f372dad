"""A file is not trusted because it exists: it is checked when it is read, set aside where it is damaged, and the rest goes on."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from milepost import bundle, code_archive, files
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.runtime.v1.runtime_service_pb2 import StartRuntimeRequest
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.bundle import NotABundle, open_bundle, verify_bundle
from milepost.code_archive import CodeInvalid
from milepost.errors import FailedPrecondition
from milepost.eventlog.nats.credentials import AUTHORITY_FILE, open_authority, write_service_credentials
from milepost.names import AttemptKey
from milepost.security.tokens import InvalidToken, Role, ServiceToken, TokenError, TokenStore
from milepost.training.script.attempt import registration
from milepost.training.spooling.journal import driver_sender
from milepost.training.spooling.spool import Spool, SpooledEvent, open_left
from services.metrics.storage.definitions import Definitions
from services.readmodel.imports import Import, Imports

WAYS: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "changed": lambda content: content[: len(content) // 2] + b"\x00\xff" + content[len(content) // 2 + 2 :],
}


@pytest.fixture(params=WAYS)
def damage(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.write_bytes(WAYS[request.param](path.read_bytes()))

    return apply


def aside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(f"*{files.DAMAGED}"))


# --- writing


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write(path, "old")
    files.write(path, b"new", mode=0o600)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(path, "newer")
    with pytest.raises(OSError, match="No space"):
        files.copy(path, tmp_path / "copy")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("file", "new")]


def test_what_is_replaced_is_on_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync = files.os.fsync
    replace = Path.replace

    def seen_fsync(descriptor: int) -> None:
        done.append("fsync")
        fsync(descriptor)

    def seen_replace(path: Path, target: Path) -> Path:
        done.append("replace")
        return replace(path, target)

    monkeypatch.setattr("os.fsync", seen_fsync)
    monkeypatch.setattr(Path, "replace", seen_replace)
    files.write(tmp_path / "file", "x")
    assert done == ["fsync", "replace", "fsync"]


def test_what_is_set_aside_stays_and_is_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for content in ("first", "second"):
        (tmp_path / "tokens.json").write_text(content)
        assert files.set_aside(tmp_path / "tokens.json", "it is no such file") is not None
    assert files.set_aside(tmp_path / "tokens.json", "it is gone") is None
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "sessions.key.damaged").touch()
    listed = files.damaged_below(tmp_path)
    assert sorted(path.read_text() for path in listed if path.parent == tmp_path) == ["first", "second"]
    assert tmp_path / "keys" / "sessions.key.damaged" in listed
    assert [record.__dict__["path"] for record in caplog.records] == [str(tmp_path / "tokens.json")] * 2


# --- keys and tokens


def test_tokens_of_a_damaged_file_are_not_valid_and_new_ones_can_be_made(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "tokens.json"
    _, text = TokenStore(path).create("ann", Role.ADMIN, created_by="test")
    damage(path)
    store = TokenStore(path)
    with pytest.raises(InvalidToken):
        store.verify(text)
    assert aside(tmp_path) == ["tokens.json.damaged"]
    _, again = store.create("ann", Role.ADMIN, created_by="test")
    assert TokenStore(path).verify(again).role is Role.ADMIN


def test_a_file_of_tokens_that_cannot_be_set_aside_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens.json"
    files.write(path, "{}", mode=0o600)

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(files, "set_aside", read_only)
    with pytest.raises(TokenError, match="restore it from a backup"):
        TokenStore(path).list()


@pytest.mark.parametrize("content", [b"", b"\n", b"\x00" * 44, b"abc\xffdef", b"two words"])
def test_a_key_that_is_damaged_is_made_anew(tmp_path: Path, content: bytes) -> None:
    before = ServiceToken(tmp_path).text
    path = tmp_path / "service.token"
    path.write_bytes(content)
    after = ServiceToken(tmp_path).text
    assert after != before
    assert after.isprintable()
    assert ServiceToken(tmp_path).text == after
    assert aside(tmp_path) == ["service.token.damaged"]
    assert path.stat().st_mode & 0o077 == 0


def test_new_keys_of_nats_take_the_streams_over_whose_keys_are_damaged(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    keys, store = tmp_path / "keys", tmp_path / "nats"
    account = open_authority(keys, store).account
    (store / "jetstream" / account / "streams" / "EVENTS").mkdir(parents=True)
    damage(keys / AUTHORITY_FILE)
    renewed = open_authority(keys, store)
    assert renewed.account == account
    assert aside(keys) == [f"{AUTHORITY_FILE}.damaged"]
    write_service_credentials(keys)
    assert open_authority(keys, store) == renewed


# --- imports


def make_bundle(path: Path, runtime_id: str, **changes: Any) -> Path:
    """Write a bundle of a run without events. `changes` replace fields of its manifest."""
    contents = {
        bundle.EVENTS: b"",
        bundle.STATE: json.dumps({"estimates": {}, "pad": base64.b64encode(bytes(range(256)) * 8).decode()}).encode(),
        bundle.CONFIGURATION: b"{}",
        bundle.SERIES: bytes(range(256)) * 4,
        bundle.LOGS: b"rows",
        bundle.BATCHES: b"",
    }
    manifest = {
        "format": bundle.FORMAT,
        "runtime": runtime_id,
        "sequence": 1,
        "telemetry_sequence": 1,
        "created": "2026-03-01T12:00:00Z",
        "stream_created": 1,
        "files": {n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in contents.items()},
        "heads": {},
        "oddities": [],
        **changes,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        archive.writestr(bundle.MANIFEST, json.dumps(manifest))
    return path


def test_a_bundle_of_which_any_two_bytes_are_changed_is_none_or_the_same(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "rt-1.zip", "rt-1")
    whole = path.read_bytes()
    expected = open_bundle(path)
    refused = 0
    for position in range(0, len(whole) - 1, 3):
        for change in (0x01, 0x55, 0xFF):
            raw = bytearray(whole)
            raw[position] ^= change
            raw[position + 1] ^= change
            path.write_bytes(bytes(raw))
            try:
                found = open_bundle(path)
            except NotABundle:
                refused += 1
                continue
            assert (found.runtime_id, found.estimates, found.events) == (expected.runtime_id, {}, ())
    assert refused > len(whole) / 2
    for end in range(0, len(whole), 37):
        path.write_bytes(whole[:end])
        with pytest.raises(NotABundle):
            open_bundle(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": []},
        {"files": {"events.ndjson": 1}},
        {"files": {"state.json": {"sha256": [1]}}},
        {"heads": [1]},
        {"heads": {"a": {}}},
        {"oddities": [[{}], [[]], 3]},
        {"sequence": "x"},
        {"created": 5},
        {"stream_created": 10**400},
        {"runtime": ["rt-1"]},
    ],
)
def test_a_bundle_whose_manifest_is_of_another_form_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = make_bundle(tmp_path / "rt-1.zip", "rt-1", **changes)
    try:
        verify_bundle(path)
        opened = open_bundle(path)
    except NotABundle:
        return
    # Of what is left out of the chain's order nothing depends.
    assert changes.keys() <= {"oddities", "stream_created"}
    assert opened.runtime_id == "rt-1"


def imported(folder: Path, runtime_id: str) -> None:
    path = make_bundle(folder / f"{runtime_id}.zip", runtime_id)
    beside = {
        "time": "2026-03-01T12:00:00Z",
        "actor": "local:ann",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    (folder / f"{runtime_id}.json").write_text(json.dumps(beside))


@pytest.mark.parametrize("ending", ["zip", "json"])
async def test_one_damaged_import_costs_this_import_and_is_named(
    tmp_path: Path, ending: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "imports"
    folder.mkdir()
    for runtime_id in ("rt-1", "rt-2"):
        imported(folder, runtime_id)
    damage(folder / f"rt-1.{ending}")
    refused: dict[str, str] = {}
    imports = Imports(tmp_path, opened_as_it_is, refused=refused)
    await imports.look()
    assert list(imports) == ["rt-2"]
    assert str(folder / "rt-1") in refused["rt-1"] or "manifest" in refused["rt-1"]
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == ["import.refused"]
    imported(folder, "rt-1")
    (folder / "rt-1.zip").touch()
    await imports.look()
    assert (sorted(imports), refused) == (["rt-1", "rt-2"], {})


async def opened_as_it_is(record: Import) -> str:
    return record.bundle.runtime_id


async def test_an_import_that_a_service_breaks_on_costs_this_import(tmp_path: Path) -> None:
    """Its checksums are right, so whoever made it put it there."""
    (tmp_path / "imports").mkdir()
    for runtime_id in ("rt-1", "rt-2"):
        imported(tmp_path / "imports", runtime_id)

    async def break_on_one(record: Import) -> str:
        if record.bundle.runtime_id == "rt-1":
            raise RecursionError("too deep")
        return "opened"

    imports = Imports(tmp_path, break_on_one)
    await imports.look()
    assert list(imports) == ["rt-2"]
    assert "RecursionError: too deep" in imports.refused["rt-1"]


# --- what scripts leave


class Services:
    """Takes the requests that would go to the runtime service."""

    def __init__(self) -> None:
        self.requests: list[StartRuntimeRequest] = []
        self.runtimes = self

    def StartRuntime(self, request: StartRuntimeRequest) -> None:
        self.requests.append(request)

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: object) -> None:
        pass


RUN = "rt-06h2897adlvbv6d8mfg4enk3lk"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder of a run that could not be sent."""
    folder = tmp_path / "runtimes" / RUN
    attempt = folder / "trial-1" / "attempt-1"
    attempt.mkdir(parents=True)
    configuration = config.RuntimeConfiguration(name="mine", launcher=config.LAUNCHER_EXTERNAL)
    launch = AttemptLaunch(runtime_id=RUN, trial=1, attempt=1, configuration=configuration)
    request = StartRuntimeRequest(configuration=configuration, runtime_id=RUN, request_id=RUN)
    for path, message in ((attempt / "attempt.json", launch), (folder / "start.json", request)):
        path.write_text(json_format.MessageToJson(message, preserving_proto_field_name=True))
    return folder


def test_a_run_whose_beginning_is_damaged_is_made_known_from_its_attempt(
    left: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services()
    monkeypatch.setattr(registration, "Client", lambda endpoints: services)
    damage(left / "start.json")
    registration.register(left / "start.json", None)  # type: ignore[arg-type]
    (request,) = services.requests
    assert (request.runtime_id, request.configuration.name) == (RUN, "mine")
    assert aside(left) == ["start.json.damaged"]
    assert not (left / "start.json").exists(), "it is known now"


def test_a_run_of_which_both_files_are_damaged_is_named_and_stays(
    left: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "Client", lambda endpoints: Services())
    damage(left / "start.json")
    damage(left / "trial-1" / "attempt-1" / "attempt.json")
    with pytest.raises(FailedPrecondition, match=r"start.json is damaged .* back from a backup"):
        registration.register(left / "start.json", None)  # type: ignore[arg-type]
    assert (left / "start.json").exists()


def spool(path: Path, events: int) -> Path:
    made = Spool(path, driver_sender(AttemptKey(RUN, 1, 1)))
    for number in range(events):
        made.put_event(SpooledEvent(f"event-{number}", "type", b"x" * 900, datetime.now(UTC).isoformat(), ""))
    made.close()
    return path


def test_what_can_be_read_of_a_damaged_spool_is_sent(tmp_path: Path) -> None:
    path = spool(tmp_path / "spool-driver.sqlite", 60)
    raw = bytearray(path.read_bytes())
    assert len(raw) > 10 * 4096
    # One page of the table of events.
    pages = [at for at in range(8 * 4096, len(raw), 4096) if raw[at] == 0x0D]
    page = pages[len(pages) // 2]
    raw[page : page + 4096] = b"\xff" * 4096
    path.write_bytes(bytes(raw))
    opened = open_left(path)
    assert opened is not None
    found = {event.id for event in opened.events()}
    assert 40 <= len(found) < 60
    assert {"event-0", "event-59"} <= found
    assert aside(tmp_path) == ["spool-driver.sqlite.damaged"]
    opened.close()


def test_a_spool_of_which_nothing_can_be_read_is_set_aside(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "spool-driver.sqlite"
    path.write_bytes(b"SQLite format 3\x00" + b"\x01\x02" * 4000)
    damage(path)
    assert open_left(path) is None
    assert aside(tmp_path) == ["spool-driver.sqlite.damaged"]
    assert open_left(path) is None


def test_a_whole_spool_is_opened_as_it_is(tmp_path: Path) -> None:
    opened = open_left(spool(tmp_path / "spool-driver.sqlite", 3))
    assert opened is not None
    assert len(opened.events()) == 3
    assert aside(tmp_path) == []
    opened.close()


# --- code


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("def train(trial): ...\n" * 20)
    return folder


def test_an_archive_that_is_damaged_is_packed_again(
    project: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    code = code_archive.pack(project, tmp_path / "store")
    (archive,) = (tmp_path / "store").iterdir()
    damage(archive)
    with pytest.raises(CodeInvalid):
        code_archive.fetch(code, tmp_path / "here")
    assert code_archive.pack(project, tmp_path / "store") == code
    assert (code_archive.fetch(code, tmp_path / "here") / "train.py").is_file()


def test_code_that_was_damaged_since_it_was_unpacked_is_unpacked_again(
    project: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    code = code_archive.pack(project, tmp_path / "store")
    folder = code_archive.fetch(code, tmp_path / "here")
    (folder / "__pycache__").mkdir()
    assert code_archive.fetch(code, tmp_path / "here") == folder
    assert aside(tmp_path / "here") == [], "what comes to be beside it does not count"
    damage(folder / "train.py")
    assert code_archive.fetch(code, tmp_path / "here") == folder
    assert (folder / "train.py").read_text() == (project / "train.py").read_text()
    assert aside(tmp_path / "here") == [f"{folder.name}.damaged"]
    damage(folder.with_name(f"{folder.name}.json"))
    assert code_archive.fetch(code, tmp_path / "here") == folder
    assert len(aside(tmp_path / "here")) == 1, "only the list was damaged"


def test_code_that_an_earlier_version_has_unpacked_is_compared_once_and_needs_no_archive(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = code_archive.pack(project, tmp_path / "store")
    folder = code_archive.fetch(code, tmp_path / "here")
    listing = folder.with_name(f"{folder.name}.json")
    listing.unlink()
    (archive,) = (tmp_path / "store").iterdir()
    away = archive.rename(tmp_path / "away")
    assert code_archive.fetch(code, tmp_path / "here") == folder
    assert "code.unchecked" in caplog.messages
    (folder / "train.py").write_text("")
    away.rename(archive)
    assert code_archive.fetch(code, tmp_path / "here") == folder
    assert (folder / "train.py").read_text() == (project / "train.py").read_text()


# --- ClickHouse


def test_definitions_of_tables_that_are_damaged_are_put_back(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    table = tmp_path / "data" / "store" / "1a2" / "1a2b" / "points.sql"
    table.parent.mkdir(parents=True)
    table.write_text("ATTACH TABLE points (`step` Int64) ENGINE = MergeTree ORDER BY step\n")
    (tmp_path / "data" / "metadata").mkdir()
    database = tmp_path / "data" / "metadata" / "milepost.sql"
    database.write_text("ATTACH DATABASE milepost\n")
    definitions = Definitions(tmp_path)
    assert definitions.restore() == [], "nothing was kept yet"
    definitions.keep()
    assert definitions.restore() == []
    text = table.read_text()
    damage(table)
    database.unlink()
    assert definitions.restore() == [database, table]
    assert (table.read_text(), database.exists()) == (text, True)
    assert aside(tmp_path) == ["points.sql.damaged"]
    assert [path.name for path in table.parent.iterdir()] == ["points.sql"], "ClickHouse takes no other names there"
    damage(tmp_path / "definitions.json")
    assert definitions.restore() == []
    definitions.forget()
    assert definitions.restore() == []
