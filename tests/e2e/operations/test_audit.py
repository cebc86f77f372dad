"""Any past moment of a run, and proof that nothing was changed, through the command line and the services."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from milepost.api.audit.v1 import audit_service_pb2 as api
from milepost.api.event.v1 import recorded_event_pb2 as event_api
from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.bundle import imports_folder, verify_bundle
from milepost.cli.exits import Exit
from milepost.errors import MilepostError
from milepost.protojson import to_json
from tests.e2e.runs import TINY, paced, small
from tests.e2e.stack import StackProcess, until

pytestmark = pytest.mark.timeout(300)

# What depends on when one asks, not on what was known.
VOLATILE = frozenset({"elapsed", "estimate", "throughput", "hints", "events_sequence", "telemetry_sequence"})


@pytest.fixture(scope="module")
def resumed(stack: StackProcess) -> runtime_api.Runtime:
    """A run that was stopped, resumed and completed."""
    started = stack.client.start_runtime(small(name="audited"))
    stack.wait_for_step(started.name, 5)
    assert stack.milepost("runtime", "stop", started.runtime_id, "--yes", "--wait").returncode == Exit.OK
    assert stack.milepost("runtime", "resume", started.runtime_id).returncode == Exit.OK
    ended = stack.wait_for_end(started.name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    until(lambda: stack.completeness(started.name).gap_count == 0, "no gaps", 30)
    return ended


def test_the_log_and_the_read_models_verify(stack: StackProcess, resumed: runtime_api.Runtime) -> None:
    """The chain, the read models of two services and the points in ClickHouse all say the same."""
    result = stack.milepost("audit", "verify", "--read-models", "-o", "json")
    assert result.stdout, result.stderr
    verdict = json.loads(result.stdout)
    assert result.returncode == Exit.OK, verdict
    assert verdict["valid"] and verdict["finished"] and not verdict["findings"]
    assert verdict["checked_events"] == verdict["total_events"] > 20


def test_every_past_moment_has_the_status_it_had(stack: StackProcess, resumed: runtime_api.Runtime) -> None:
    """The answer at each event that changed the status is the one a client got then."""
    expected = {
        "milepost.runtime.runtime_requested.v1": runtime_api.RUNTIME_STATUS_STARTED,
        "milepost.runtime.stop_requested.v1": runtime_api.RUNTIME_STATUS_STARTED,
        "milepost.runtime.runtime_aborted.v1": runtime_api.RUNTIME_STATUS_ABORTED,
        "milepost.runtime.resume_requested.v1": runtime_api.RUNTIME_STATUS_STARTED,
        "milepost.runtime.runtime_completed.v1": runtime_api.RUNTIME_STATUS_COMPLETED,
    }
    seen = set()
    for event in stack.events(resumed.name):
        if event.type in expected:
            moment = event_api.AsOf(events_sequence=event.sequence)
            state = stack.client.audit.GetStateAt(api.GetStateAtRequest(name=resumed.name, as_of=moment))
            assert state.runtime.status == expected[event.type], event.type
            seen.add(event.type)
    assert seen == expected.keys()


def test_the_difference_between_two_moments_names_what_changed(
    stack: StackProcess, resumed: runtime_api.Runtime
) -> None:
    by_type = {event.type: event for event in stack.events(resumed.name)}
    request = api.DiffStatesRequest(name=resumed.name)
    before = by_type["milepost.runtime.runtime_aborted.v1"].sequence
    getattr(request, "from").events_sequence = before
    changes = {change.path: change for change in stack.client.audit.DiffStates(request).changes}
    assert (changes["runtime.status"].before, changes["runtime.status"].after) == ('"Aborted"', '"Completed"')
    assert changes["trials[1].status"].after == '"Completed"'
    assert "trials[1].progress.step" in changes


def test_a_bundle_verifies_without_a_server_and_shows_what_was_changed(
    stack: StackProcess, resumed: runtime_api.Runtime, tmp_path: Path
) -> None:
    path = tmp_path / "run.zip"
    assert stack.milepost("audit", "export", resumed.runtime_id, "--file", str(path)).returncode == Exit.OK
    findings, count, runtime_id = verify_bundle(path)
    assert (findings, runtime_id) == ([], resumed.runtime_id)
    assert count == len(stack.events(resumed.name))
    key = stack.milepost("audit", "keys").stdout.strip()
    verified = stack.milepost("audit", "verify", str(path), "--key", key)
    assert verified.returncode == Exit.OK, verified.stdout
    assert f"the state follows from the events; signed by {key}" in verified.stdout
    for name, change in {
        "events.ndjson": lambda content: content.replace(b"local:", b"xocal:", 1),
        "series.parquet": lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
        "logs.parquet": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        "batches.ndjson": lambda content: content + b"{}\n",
        "state.json": lambda content: content.replace(b"Completed", b"Comp1eted", 1),
    }.items():
        changed = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, "w") as target:
            for entry in source.namelist():
                content = source.read(entry)
                target.writestr(entry, change(content) if entry == name else content)
        result = stack.milepost("audit", "verify", str(changed))
        assert result.returncode == Exit.FAILED, name
        assert name in result.stdout


# Another installation


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """A second installation, which has runs of its own."""
    running = StackProcess(tmp_path_factory.mktemp("elsewhere") / "data")
    try:
        yield running.start()
    finally:
        running.end()


@pytest.fixture(scope="module")
def bundle_file(stack: StackProcess, resumed: runtime_api.Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "run.zip"
    assert stack.milepost("audit", "export", resumed.runtime_id, "--file", str(path)).returncode == Exit.OK
    return path


@pytest.fixture(scope="module")
def imported(elsewhere: StackProcess, resumed: runtime_api.Runtime, bundle_file: Path) -> str:
    result = elsewhere.milepost("audit", "import", str(bundle_file))
    assert result.returncode == Exit.OK, result.stderr + elsewhere.tail()
    assert result.stdout.strip().endswith(f"/{resumed.name}")
    return resumed.name


def answers(stack: StackProcess, name: str) -> dict[str, Any]:
    """Everything that can be asked about a run, as JSON; without what depends on when one asks."""
    client, trial = stack.client, f"{name}/trials/1"
    keys = [one.key for one in client.metrics.ListSeries(metric_api.ListSeriesRequest(parent=trial)).series]
    raw = metric_api.QuerySeriesRequest(parents=[trial], keys=keys, bucket_count=10_000, include_superseded=True)
    coarse = metric_api.QuerySeriesRequest(parents=[trial], keys=keys, bucket_count=10)
    lines = log_api.QueryLogsRequest(parent=name, page_size=5_000)
    lines.filter.include_superseded = True
    runtime = client.runtimes.GetRuntime(runtime_api.GetRuntimeRequest(name=name)).runtime
    runtime.ClearField("imported")
    found = {
        "runtime": runtime,
        "trial": client.trials.GetTrial(trial_api.GetTrialRequest(name=trial)).trial,
        "attempts": client.trials.ListAttempts(trial_api.ListAttemptsRequest(parent=trial)),
        "estimates": client.trials.ListEstimates(trial_api.ListEstimatesRequest(parent=trial)),
        "snapshots": client.runtimes.ListSnapshots(runtime_api.ListSnapshotsRequest(parent=name, show_deleted=True)),
        "series": client.metrics.ListSeries(metric_api.ListSeriesRequest(parent=trial)),
        "points": client.metrics.QuerySeries(raw),
        "buckets": client.metrics.QuerySeries(coarse),
        "completeness": client.metrics.GetCompleteness(metric_api.GetCompletenessRequest(parent=name)),
        "determinism": client.metrics.CheckDeterminism(metric_api.CheckDeterminismRequest(parent=trial)),
        "lines": client.logs.QueryLogs(lines),
        "facets": client.logs.ListLogFacets(log_api.ListLogFacetsRequest(parent=name)),
    }
    plain: dict[str, Any] = {what: to_json(message) for what, message in found.items()}
    for volatile in ("elapsed", "estimate", "events_sequence", "telemetry_sequence", "sequence", "throughput", "hints"):
        for answer in plain.values():
            answer.pop(volatile, None)
    for series in plain["buckets"]["series"]:
        series["means"] = rounded(series["means"])
    plain["completeness"].pop("imported")
    plain["events"] = [to_json(event) for event in stack.events(name)]
    return plain


def rounded(means: list[float]) -> list[float]:
    """Means to twelve digits: ClickHouse adds up in the order of its parts, which is not the same everywhere."""
    return [float(f"{mean:.12g}") for mean in means]


def test_an_imported_run_has_the_same_numbers(
    stack: StackProcess, elsewhere: StackProcess, resumed: runtime_api.Runtime, imported: str
) -> None:
    there, here = answers(stack, imported), answers(elsewhere, imported)
    for what in there:
        assert here[what] == there[what], what


def test_an_imported_run_has_the_same_past(stack: StackProcess, elsewhere: StackProcess, imported: str) -> None:
    """At every event: the state then, and what was logged until then."""
    trial = f"{imported}/trials/1"
    for event in stack.events(imported):
        moment = event_api.AsOf(events_sequence=event.sequence)
        states = []
        for one in (stack, elsewhere):
            state = one.client.audit.GetStateAt(api.GetStateAtRequest(name=imported, as_of=moment))
            state.runtime.ClearField("imported")
            query = metric_api.QuerySeriesRequest(parents=[trial], keys=["train/loss"], as_of=moment)
            series = one.client.metrics.QuerySeries(query).series
            trials = [{k: v for k, v in to_json(t).items() if k not in VOLATILE} for t in state.trials]
            states.append((to_json(state.runtime), trials, [to_json(part) for part in series]))
        assert states[0] == states[1], event.sequence


def test_an_imported_run_is_marked_and_stands_beside_those_of_the_installation(
    elsewhere: StackProcess, imported: str, resumed: runtime_api.Runtime, bundle_file: Path
) -> None:
    own = elsewhere.client.start_runtime(paced("of this place", 0.01))
    elsewhere.wait_for_end(own.name)
    listed = elsewhere.client.runtimes.ListRuntimes(runtime_api.ListRuntimesRequest())
    marks = {runtime.name: runtime.HasField("imported") for runtime in listed.runtimes}
    assert marks == {own.name: False, imported: True}
    assert listed.total_size == 2
    assert sum(listed.status_counts.values()) == 1, "counts are of what ran here"
    record = elsewhere.runtime(imported).imported
    assert record.sha256 == hashlib.sha256(bundle_file.read_bytes()).hexdigest()
    assert record.imported_by.startswith("local:")
    page = runtime_api.ListRuntimesRequest(page_size=1)
    first = elsewhere.client.runtimes.ListRuntimes(page)
    page.page_token = first.next_page_token
    second = elsewhere.client.runtimes.ListRuntimes(page)
    assert [runtime.name for runtime in (*first.runtimes, *second.runtimes)] == [own.name, imported]
    everything = elsewhere.client.trials.ListTrials(trial_api.ListTrialsRequest(parent="runtimes/-")).trials
    assert {trial.name for trial in everything} == {f"{own.name}/trials/1", f"{imported}/trials/1"}
    compared = elsewhere.client.trials.CompareTrials(
        trial_api.CompareTrialsRequest(names=[f"{own.name}/trials/1", f"{imported}/trials/1"])
    )
    assert len(compared.trials) == 2
    both = elsewhere.client.metrics.QuerySeries(
        metric_api.QuerySeriesRequest(parents=[t.name for t in compared.trials], keys=["train/loss"])
    )
    assert {series.parent for series in both.series} == {t.name for t in compared.trials}


def test_facts_of_an_imported_run_are_none_of_this_installation(elsewhere: StackProcess, imported: str) -> None:
    """Its events are not in the log here; and its own chain verifies, from the bundle."""
    replayed = elsewhere.client.audit.ReplayEvents(api.ReplayEventsRequest(parent="runtimes/-"))
    assert imported.split("/")[1] not in {event.runtime_id for answer in replayed for event in answer.events}
    whole = elsewhere.milepost("audit", "verify", "--read-models")
    assert whole.returncode == Exit.OK, whole.stdout
    of_it = elsewhere.milepost("audit", "verify", imported, "--read-models")
    assert of_it.returncode == Exit.OK, of_it.stdout
    assert "imported events: the chains are unbroken, the files are as listed; read models equal" in of_it.stdout


def test_an_imported_run_is_in_a_backup(elsewhere: StackProcess, imported: str, tmp_path: Path) -> None:
    kept = tmp_path / "backup"
    assert elsewhere.milepost("backup", str(kept)).returncode == Exit.OK
    fresh = StackProcess(tmp_path / "fresh")
    restored = fresh.milepost("restore", str(kept))
    assert restored.returncode == Exit.OK, restored.stderr
    files = sorted(imports_folder(elsewhere.data_dir).iterdir())
    assert [path.read_bytes() for path in files] == [
        (imports_folder(fresh.data_dir) / path.name).read_bytes() for path in files
    ]
    assert f"{imported.removeprefix('runtimes/')}.zip" in {path.name for path in files}


def test_no_command_changes_an_imported_run(elsewhere: StackProcess, imported: str) -> None:
    before = answers(elsewhere, imported)
    for command in (("stop", "--yes"), ("resume",), ("clone",), ("delete", "--yes")):
        result = elsewhere.milepost("runtime", command[0], imported, *command[1:])
        assert result.returncode == Exit.PRECONDITION, (command, result.stderr)
        assert "was imported: it can be read, and not changed" in result.stderr
    assert answers(elsewhere, imported) == before


def test_a_bundle_of_an_imported_run_is_the_one_that_was_imported(
    elsewhere: StackProcess, imported: str, bundle_file: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.zip"
    assert elsewhere.milepost("audit", "export", imported, "--file", str(again)).returncode == Exit.OK
    assert again.read_bytes() == bundle_file.read_bytes()


def test_only_a_whole_bundle_of_another_installation_is_imported(
    stack: StackProcess, elsewhere: StackProcess, bundle_file: Path, tmp_path: Path, imported: str
) -> None:
    own = stack.milepost("audit", "import", str(bundle_file))
    assert own.returncode == Exit.PRECONDITION
    assert "is a runtime of this installation" in own.stderr
    changed = tmp_path / "changed.zip"
    changed.write_bytes(bundle_file.read_bytes().replace(b"manifest.json", b"manifest_json"))
    assert elsewhere.milepost("audit", "import", str(changed)).returncode != Exit.OK
    again = elsewhere.milepost("audit", "import", str(bundle_file))
    assert (again.returncode, "imported already" in again.stderr) == (Exit.OK, True)


def test_an_imported_run_is_there_after_a_restart_and_can_be_forgotten(
    elsewhere: StackProcess, imported: str, stack: StackProcess
) -> None:
    before = answers(elsewhere, imported)
    for part in ("runtime", "trials", "metrics"):
        elsewhere.kill(part)

    def same() -> bool:
        try:
            return answers(elsewhere, imported) == before
        except MilepostError:
            return False

    until(same, "it is shown again")
    assert elsewhere.milepost("audit", "forget", imported).returncode == Exit.OK
    until(lambda: elsewhere.milepost("runtime", "get", imported).returncode == Exit.NOT_FOUND, "it is gone")
    assert elsewhere.milepost("audit", "forget", imported).returncode == Exit.NOT_FOUND


def test_a_run_without_telemetry_is_imported_as_any_other(
    elsewhere: StackProcess, resumed: runtime_api.Runtime, bundle_file: Path, tmp_path: Path
) -> None:
    """Its points were never sent, or are gone: there is nothing to wait for."""
    bare = without_rows(bundle_file, tmp_path / "bare.zip")
    result = elsewhere.milepost("audit", "import", str(bare))
    assert result.returncode == Exit.OK, result.stderr + elsewhere.tail()
    assert elsewhere.completeness(resumed.name).imported
    assert elsewhere.completeness(resumed.name).senders == []
    assert elsewhere.milepost("audit", "forget", resumed.runtime_id).returncode == Exit.OK


def without_rows(bundle: Path, target: Path) -> Path:
    """Write a bundle again as if nothing had been stored of its run."""
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(target, "w") as written:
        manifest = json.loads(source.read("manifest.json"))
        del manifest["signed_by"]
        for name in manifest["files"]:
            content = source.read(name)
            if name.endswith(".parquet"):
                empty = io.BytesIO()
                parquet.write_table(parquet.read_table(io.BytesIO(content)).slice(0, 0), empty)
                content = empty.getvalue()
            manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            written.writestr(name, content)
        written.writestr("manifest.json", json.dumps(manifest))
    return target


# Rebuild


@pytest.mark.faults
def test_read_models_and_clickhouse_lost_in_mid_run_are_rebuilt_and_equal(elsewhere: StackProcess) -> None:
    """The services stop, the trainer goes on; what they had folded and stored is removed; they start and have it again."""
    started = elsewhere.client.start_runtime(small(name="rebuilt", parameters={**TINY, "steps_per_epoch": 400}))
    name = started.name
    elsewhere.wait_for_step(name, 100)
    until(lambda: elsewhere.completeness(name).stored_points >= 200, "points are stored", 60)
    sequence = elsewhere.events(name)[-1].sequence
    telemetry = elsewhere.client.metrics.ListSeries(
        metric_api.ListSeriesRequest(parent=f"{name}/trials/1")
    ).telemetry_sequence
    before = past(elsewhere, name, sequence, telemetry)
    elsewhere.stop()
    assert elsewhere.trainers(), "the run goes on"
    for lost in ("clickhouse", "checkpoints"):
        shutil.rmtree(elsewhere.data_dir / lost)
    elsewhere.start()
    assert elsewhere.runtime(name).status == runtime_api.RUNTIME_STATUS_STARTED
    until(lambda: elsewhere.completeness(name).stored_points >= 200, "points are stored again", 60)
    assert past(elsewhere, name, sequence, telemetry) == before
    ended = elsewhere.wait_for_end(name)
    assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
    until(lambda: elsewhere.completeness(name).gap_count == 0, "no gaps", 30)
    verdict = elsewhere.milepost("audit", "verify", "--read-models")
    assert verdict.returncode == Exit.OK, verdict.stdout
    assert "read models and ClickHouse equal" in verdict.stdout
    answer = elsewhere.completeness(name)
    assert (answer.sent_points, answer.gap_count) == (answer.stored_points, 0)


def past(stack: StackProcess, name: str, sequence: int, telemetry: int) -> dict[str, Any]:
    """The digest of everything that the page of a moment is made of."""
    moment = event_api.AsOf(events_sequence=sequence, telemetry_sequence=telemetry)
    trial = f"{name}/trials/1"
    state = stack.client.audit.GetStateAt(api.GetStateAtRequest(name=name, as_of=moment))
    keys = [
        one.key
        for one in stack.client.metrics.ListSeries(metric_api.ListSeriesRequest(parent=trial, as_of=moment)).series
    ]
    query = metric_api.QuerySeriesRequest(parents=[trial], keys=keys, as_of=moment)
    lines = log_api.QueryLogsRequest(parent=name, page_size=5_000, as_of=moment)
    events = runtime_api.ListEventsRequest(parent=name, until_sequence=sequence, page_size=1_000)
    parts = {
        "runtime": to_json(state.runtime),
        "trials": [{k: v for k, v in to_json(one).items() if k not in VOLATILE} for one in state.trials],
        "series": [
            {**part, "means": rounded(part["means"])}
            for part in map(to_json, stack.client.metrics.QuerySeries(query).series)
        ],
        "lines": [to_json(entry) for entry in stack.client.logs.QueryLogs(lines).entries],
        "events": [to_json(event) for event in stack.client.runtimes.ListEvents(events).events],
    }
    assert parts["series"] and parts["lines"]
    return {what: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest() for what, part in parts.items()}
