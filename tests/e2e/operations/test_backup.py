"""Both stores, copied while everything runs, wiped, and put back."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from milepost import errors
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.credentials import ADMIN, credentials_path
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.proof.anchor import AnchorFile, anchors_path
from milepost.eventlog.proof.chain import EMPTY_DIGEST, roll
from services.metrics.upkeep.backup import blocks
from tests.e2e.runs import paced
from tests.e2e.stack import StackProcess, until

pytestmark = pytest.mark.timeout(400)


async def digest(stack: StackProcess, until_sequence: int) -> str:
    """The rolling digest over the first events of the log: what an anchor there would say."""
    credentials = credentials_path(stack.data_dir / "keys", ADMIN)
    found = EMPTY_DIGEST
    async with await connect(stack.endpoints.nats, name="test", credentials=credentials) as connection:
        async for event in JetStreamLog(connection).examine(0, until_sequence):
            found = roll(found, event)
    return found


def rows(folder: Path, table: str, until_sequence: int) -> pa.Table:
    """What a backup has of a table up to a position; the identity of the stream, which a restore changes, apart."""
    found = pa.concat_tables(blocks(folder / f"{table}.arrows")).drop_columns(["stream_id"])
    return found.filter(pc.less_equal(found["log_seq"], until_sequence))


def test_a_backup_of_a_running_stack_restores_to_the_same_history(own_stack: StackProcess, tmp_path: Path) -> None:
    """Digests, rows and answers are the same."""
    stack, folder = own_stack, tmp_path / "backup"
    stack.start()
    done = stack.client.start_runtime(paced("done", 0.0))
    assert stack.wait_for_end(done.name).status == runtime_api.RUNTIME_STATUS_COMPLETED
    until(lambda: stack.completeness(done.name).sent_points == stack.completeness(done.name).stored_points, "stored")
    series = stack.series(done.name, "train/loss")
    running = stack.client.start_runtime(paced("running", 0.8))
    stack.wait_for_step(running.name, 5)
    destinations = stack.data_dir / "destinations.yaml"
    destinations.write_text("destinations: {oncall: {url: 'http://127.0.0.1:9/'}}\n")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096))

    cut = stack.milepost("backup", str(folder), preexec_fn=limited)
    assert cut.returncode == Exit.WRITE and "File too large" in cut.stderr, cut.stderr
    assert not folder.exists(), "half of a backup takes room and restores nothing"
    taken = stack.milepost("backup", str(folder))
    assert taken.returncode == Exit.OK, taken.stderr
    manifest = json.loads((folder / "backup.json").read_text())
    last = manifest["streams"]["EVENTS"]["last_sequence"]
    before = asyncio.run(digest(stack, last))
    assert stack.milepost("backup", str(folder)).returncode == Exit.USAGE, "it would overwrite a backup"
    assert stack.milepost("restore", str(folder)).returncode == Exit.PRECONDITION, "the stack runs"
    assert stack.milepost("runtime", "stop", running.runtime_id, "--mode", "abrupt", "--yes", "--wait").returncode == 0

    # Wiped and restored.
    stack.stop()
    shutil.rmtree(stack.data_dir)
    restored = stack.milepost("restore", str(folder))
    assert restored.returncode == Exit.OK, restored.stderr
    assert stack.milepost("restore", str(folder)).returncode == Exit.PRECONDITION, "it is not empty any more"
    stack.start()
    assert asyncio.run(digest(stack, last)) == before
    assert stack.series(done.name, "train/loss") == series
    assert destinations.exists()
    assert stack.milepost("runtime", "stop", running.runtime_id, "--mode", "abrupt", "--yes", "--wait").returncode == 0
    verified = stack.milepost("audit", "verify", "--read-models", "-o", "json")
    assert verified.returncode == Exit.OK, verified.stdout + verified.stderr
    again = tmp_path / "again"
    assert stack.milepost("backup", str(again)).returncode == Exit.OK
    for table, about in manifest["tables"].items():
        position = about["telemetry_sequence"]
        assert rows(again, table, position).equals(rows(folder, table, position)), table
        assert rows(folder, table, position).num_rows == about["rows"] > 0


@pytest.mark.faults
def test_a_backup_that_is_older_than_the_anchors_needs_the_decision_of_a_person(
    own_stack: StackProcess, tmp_path: Path
) -> None:
    """Nothing is written to a log that lost what was anchored, until somebody accepts it."""
    stack, folder = own_stack, tmp_path / "backup"
    stack.start()
    first = stack.client.start_runtime(paced("first", 0.0))
    stack.wait_for_end(first.name)
    assert stack.milepost("backup", str(folder)).returncode == Exit.OK
    second = stack.client.start_runtime(paced("second", 0.0))
    stack.wait_for_end(second.name)
    last = stack.events(second.name)[-1].sequence
    until(lambda: anchored(stack) >= last, "the end is anchored")
    stack.stop()
    for path in stack.data_dir.iterdir():
        if path.is_dir() and path.name not in ("anchors", "keys"):
            shutil.rmtree(path)
    restored = stack.milepost("restore", str(folder))
    assert restored.returncode == Exit.OK and "lacks events that were anchored" in restored.stderr
    stack.start()
    configuration = tmp_path / "third.json"
    configuration.write_text(paced("third", 0.0))
    refused = stack.milepost("runtime", "start", str(configuration))
    assert refused.returncode == Exit.PRECONDITION and "milepost audit accept" in refused.stderr
    assert stack.milepost("audit", "verify").returncode == Exit.FAILED
    accepted = stack.milepost("audit", "accept", "--reason", "the disk died", "--yes")
    assert accepted.returncode == Exit.OK, accepted.stderr

    def started() -> bool:
        try:
            return bool(stack.client.start_runtime(paced("after", 0.0)).runtime_id)
        except errors.FailedPrecondition:
            return False

    until(started, "commands are taken again")
    assert stack.milepost("audit", "verify").returncode == Exit.OK


def anchored(stack: StackProcess) -> int:
    """The last event that is anchored."""
    return max((anchor.sequence for anchor in AnchorFile(anchors_path(stack.data_dir)).read()), default=0)


def test_a_backup_that_was_changed_or_is_not_whole_is_refused(tmp_path: Path, own_stack: StackProcess) -> None:
    """Nothing is put back from it."""
    folder = tmp_path / "backup"
    folder.mkdir()
    result = own_stack.milepost("restore", str(folder))
    assert result.returncode == Exit.PRECONDITION and "no whole backup" in result.stderr
    (folder / "EVENTS.json").write_text("{}")
    manifest = {"form": "milepost-backup-1", "time": "", "files": {"EVENTS.json": "0" * 64}}
    (folder / "backup.json").write_text(json.dumps(manifest))
    result = own_stack.milepost("restore", str(folder))
    assert result.returncode == Exit.PRECONDITION and "not as it was written" in result.stderr
    assert not (own_stack.data_dir / "nats").exists()
