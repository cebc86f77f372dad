"""A bundle says who made it, and nothing that its events do not say."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from milepost import bundle
from milepost import cli as command_line
from milepost.api.event.v1.recorded_event_pb2 import AsOf
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.bundle import open_bundle, signer_of, verify_bundle
from milepost.cli.exits import Exit
from milepost.eventlog import RecordedEvent
from milepost.security.signing import KEY_FILE, BundleKey, NotAKey, is_signed
from services.bundle_state import NOT_COMPARED, TRIAL_FACTS, differences
from services.rpc.limits import Turns
from services.rpc.threads import Threads
from services.runtime.audit.bundles import Origin, export_bundle
from services.trials.messages import render_trial
from services.trials.readmodel.views import Views as TrialViews
from tests.support.programs.strangers import run_program_of
from tests.unit.runtime.test_bundles import Telemetry
from tests.unit.runtime.test_verification import ID, run

PAGE = "docs/audit.md"


class Clients:
    """A trial service that has read of a run, and a metric service with a row of each table."""

    def __init__(self, events: list[RecordedEvent]) -> None:
        self.asked: list[AsOf | None] = []
        self.ahead = 0
        self._views = TrialViews()
        for event in events:
            self._views.apply_event(event)

    async def trials(self, runtime_id: str, as_of: AsOf | None = None) -> tuple[list[trial_api.Trial], AsOf]:
        self.asked.append(as_of)
        views = self._views
        found = [render_trial(views, view, views.events_time) for view in views.trials.values()]
        if as_of is None and self.ahead:
            found[0].attempt_count += 1
            found[0].events_sequence += self.ahead
        return found, AsOf(events_sequence=views.events_sequence + self.ahead, telemetry_sequence=3)

    async def estimates(self, name: str) -> trial_api.ListEstimatesResponse:
        return trial_api.ListEstimatesResponse()

    async def rows(self, runtime_id: str, table: str) -> AsyncIterator[bytes]:
        sink = io.BytesIO()
        rows = pa.table({"step": range(3), "value": [0.1, 0.2, 0.3]})
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        yield sink.getvalue()


async def make(path: Path, key: BundleKey | None, ahead: int = 0) -> Clients:
    """Export a run that has begun and has a snapshot."""
    log, views = await run()
    clients = Clients([event async for event in log.read() if isinstance(event, RecordedEvent)])
    clients.ahead = ahead
    turns, threads = Turns(1, 1, "exports"), Threads(4, 2, "packing")
    origin: Any = Origin(log, 1, Telemetry(), clients, turns, threads, "ann", key)  # type: ignore[arg-type]
    pieces = [piece async for piece in export_bundle(views.runtimes[ID], views.sequence, origin, path.parent)]
    path.write_bytes(b"".join(pieces))
    return clients


Change = Callable[[bytes], bytes]


def forged(source: Path, path: Path, change: dict[str, Change], *, drop: tuple[str, ...] = (), **manifest: Any) -> Path:
    """Write a bundle again with files changed, the manifest fitting them. None as a value of `manifest`: left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        listed = {**json.loads(old.read(bundle.MANIFEST)), **manifest}
        for name in (*bundle.FILES, bundle.SIGNATURE):
            if name in drop or name not in old.namelist():
                continue
            content = change.get(name, bytes)(old.read(name))
            new.writestr(name, content)
            if name != bundle.SIGNATURE:
                listed["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        new.writestr(
            bundle.MANIFEST, json.dumps({name: value for name, value in listed.items() if value is not None}, indent=1)
        )
    return path


def milepost(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["milepost", *arguments])
    return command_line.run()


async def test_a_signed_bundle_is_verified_by_the_key_that_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the command, and with the program of the page and the packages that it names."""
    path = tmp_path / "run.zip"
    key = BundleKey(tmp_path / "data" / "keys")
    await make(path, key)
    assert milepost(monkeypatch, "audit", "keys", "--data-dir", str(tmp_path / "data")) == Exit.OK
    printed = capsys.readouterr().out.strip()
    assert printed == key.public == signer_of(path)
    assert milepost(monkeypatch, "audit", "verify", str(path), "--key", printed) == Exit.OK
    assert f"the state follows from the events; signed by {printed}" in capsys.readouterr().out
    by_hand = run_program_of(PAGE, bundle.SIGNATURE, tmp_path, str(path), printed)
    assert by_hand.stdout == "signed, and every file is what was signed\n", by_hand.stderr
    other = BundleKey(tmp_path / "other").public
    assert milepost(monkeypatch, "audit", "verify", str(path), "--key", other) == Exit.FAILED
    assert f"and not by {other}" in capsys.readouterr().out
    assert "BadSignatureError" in run_program_of(PAGE, bundle.SIGNATURE, tmp_path, str(path), other).stderr


async def test_what_is_changed_with_the_manifest_made_to_fit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.zip"
    key, other = BundleKey(tmp_path / "keys"), BundleKey(tmp_path / "other")
    await make(path, key)
    assert verify_bundle(path)[0] == []
    for name in (bundle.SERIES, bundle.LOGS, bundle.BATCHES, bundle.STATE, bundle.CONFIGURATION):
        changed = forged(path, tmp_path / "changed.zip", {name: lambda content: content + b" "})
        assert [finding.message for finding in verify_bundle(changed)[0]] == [
            f"manifest.json is not what {key.public} has signed"
        ]
    for broken, words in (
        (forged(path, tmp_path / "1.zip", {}, signed_by=other.public), f"not what {other.public} has signed"),
        (forged(path, tmp_path / "2.zip", {}, signed_by="ed25519:AAAA"), "is no public key"),
        (forged(path, tmp_path / "3.zip", {}, signed_by=None), "does not say by whom it is signed"),
        (forged(path, tmp_path / "4.zip", {}, drop=(bundle.SIGNATURE,)), "manifest.sig is missing"),
        (forged(path, tmp_path / "5.zip", {bundle.SIGNATURE: lambda content: content[1:]}), "has signed"),
    ):
        (finding,) = verify_bundle(broken)[0]
        assert finding.is_open and words in finding.message, words


async def test_a_bundle_of_an_earlier_version_stays_readable_and_is_said_to_be_unsigned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = tmp_path / "signed.zip"
    key = BundleKey(tmp_path / "keys")
    await make(signed, key)
    old = forged(signed, tmp_path / "old.zip", {}, drop=(bundle.SIGNATURE,), signed_by=None, format=2)
    assert open_bundle(old).runtime_id == ID
    assert milepost(monkeypatch, "audit", "verify", str(old)) == Exit.OK
    assert "the state follows from the events; not signed" in capsys.readouterr().out
    assert milepost(monkeypatch, "audit", "verify", str(old), "--key", key.public) == Exit.FAILED
    assert milepost(monkeypatch, "audit", "verify", str(tmp_path / "none.zip")) == Exit.USAGE
    # Without a key nothing but the events can tell.
    lies = {bundle.STATE: lambda content: content.replace(b'"created_by": "ada"', b'"created_by": "eve"')}
    capsys.readouterr()
    assert milepost(monkeypatch, "audit", "verify", str(forged(old, tmp_path / "lies.zip", lies))) == Exit.FAILED
    assert 'runtime.created_by is "eve", and its events make it "ada"' in capsys.readouterr().out


async def test_every_fact_of_a_state_follows_from_its_events(tmp_path: Path) -> None:
    """Whichever is changed is named, but for texts and what comes from telemetry."""
    path = tmp_path / "run.zip"
    await make(path, None)
    opened = open_bundle(path)
    with zipfile.ZipFile(path) as archive:
        text = archive.read(bundle.STATE)
    assert differences(opened.events, ID, json.loads(text)) == []
    for name in json.loads(text)["runtime"].keys() - NOT_COMPARED:
        state = json.loads(text)
        state["runtime"][name] = "something else"
        found = differences(opened.events, ID, state)
        assert len(found) == 1 and found[0].startswith(f'runtime.{name} is "something else"')
    for name in TRIAL_FACTS:
        state = json.loads(text)
        state["trials"][0][name] = "something else"
        found = differences(opened.events, ID, state)
        assert f'trials[1].{name} is "something else"' in found[0] or (name == "trial" and len(found) == 2)
    # What only this version says, a state of an earlier one does not have.
    state = json.loads(text)
    del state["runtime"]["health"], state["trials"][0]["labels"]
    assert differences(opened.events, ID, state) == []
    assert differences(opened.events, ID, {**json.loads(text), "trials": []}) == ["trial 1 is in the events only"]
    nothing: list[Any] = [[], {}, {"runtime": 1}]
    for other in nothing:
        assert differences(opened.events, ID, other) == ["state.json has no runtime"]
    assert differences((), ID, json.loads(text)) == [f"events.ndjson has no event of {ID}"]


async def test_a_trial_that_has_gone_on_is_exported_as_of_the_events_of_the_bundle(tmp_path: Path) -> None:
    clients = await make(tmp_path / "run.zip", None, ahead=2)
    events = open_bundle(tmp_path / "run.zip").events
    assert clients.asked == [None, AsOf(events_sequence=events[-1].sequence, telemetry_sequence=3)]
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        assert differences(events, ID, json.loads(archive.read(bundle.STATE))) == []


def test_a_key_is_made_once_for_its_owner_alone_and_made_anew_when_damaged(tmp_path: Path) -> None:
    first = BundleKey(tmp_path)
    assert BundleKey(tmp_path).public == first.public
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    signature = first.sign(b"text")
    assert is_signed(first.public, b"text", signature)
    assert not is_signed(first.public, b"text.", signature)
    (tmp_path / KEY_FILE).write_text("not a key\n")
    assert BundleKey(tmp_path).public != first.public
    assert is_signed(first.public, b"text", signature), "what the old one has signed stays signed"
    for text in ("", "ed25519:", "ed25519:!!", first.public.removeprefix("ed25519:")):
        with pytest.raises(NotAKey, match="audit keys"):
            is_signed(text, b"text", signature)
