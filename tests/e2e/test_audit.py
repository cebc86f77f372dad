"""Any past moment of a run, and proof that nothing was changed, through the command line and the services."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from milepost.api.audit.v1 import audit_service_pb2 as api
from milepost.api.event.v1 import recorded_event_pb2 as event_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.bundle import verify_bundle
from milepost.cli.exits import Exit
from tests.e2e.runs import small
from tests.e2e.stack import StackProcess, until

pytestmark = pytest.mark.timeout(300)


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
    for name, change in {
        "events.ndjson": lambda content: content.replace(b"local:", b"xocal:", 1),
        "series.parquet": lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
        "logs.ndjson": lambda content: content + b"{}\n",
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
