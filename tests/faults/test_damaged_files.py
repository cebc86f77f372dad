"""Every file of a data directory emptied, cut or changed, one after another: `milepost up` starts, and loses nothing else.

Each test run damages many of them at once; `make test-faults` every one by itself, in each way. ROWS is the table of files
of docs/data-directory.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from tests.e2e.runs import paced
from tests.e2e.stack import ROOT, StackProcess

WAYS: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "changed": lambda content: _flipped(_flipped(content, len(content) // 3), 2 * len(content) // 3),
}
# Of a busy machine, on which several stacks start one after the other.
pytestmark = pytest.mark.timeout(900)
SCRIPT = ROOT / "tests" / "assets" / "script.py"


def _flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]


@dataclass(frozen=True)
class Row:
    """What becomes of one kind of file.

    Attributes:
        pattern: below the data directory, as the table in docs/data-directory.md has it.
        keeps_import: whether the imported run is shown all the same.
        regresses: the log is not taken for what it was: it is read, and a person decides before it is written to.
        is_sent: whether what the script left can be sent all the same.
    """

    pattern: str
    keeps_import: bool = True
    regresses: bool = False
    is_sent: bool = True
    # What a person moves away before deciding: the server does not write over it.
    in_the_way: str = ""


ROWS = (
    Row("anchors/EVENTS.jsonl", regresses=True),
    Row("checkpoints/*/*"),
    Row("clickhouse/definitions.json"),
    Row("clickhouse/owner.lock"),
    Row("clickhouse/data/metadata/*.sql"),
    Row("clickhouse/data/store/*/*/*.sql"),
    Row("endpoints.json"),
    Row("imports/*.json", keeps_import=False),
    Row("imports/*.zip", keeps_import=False),
    Row("keys/*.creds"),
    Row("keys/*.key"),
    Row("keys/nats-authority.json"),
    Row("keys/service.token"),
    Row("lock"),
    Row("logs/*.log"),
    Row("nats.conf"),
    Row("nats/jetstream/*/streams/EVENTS/msgs/*.blk", regresses=True),
    Row("nats/jetstream/*/streams/EVENTS/msgs/index.db"),
    Row("nats/jetstream/*/streams/EVENTS/meta.*", regresses=True, in_the_way="nats/jetstream/*/streams/EVENTS/meta.*"),
    Row("nats/jetstream/*/streams/KV_*/**/*"),
    Row("nats/jetstream/*/streams/TELEMETRY/**/*"),
    Row("runtimes/*/start.json"),
    Row("runtimes/*/trial-*/attempt-*/*.json"),
    Row("runtimes/*/trial-*/attempt-*/driver.log"),
    Row("runtimes/*/trial-*/attempt-*/nats.creds"),
    Row("runtimes/*/trial-*/attempt-*/spool-*.sqlite", is_sent=False),
    Row("runtimes/*/trial-*/attempt-*/step-rank-*"),
    Row("runtimes/*/trial-*/snapshots/*/*"),
    Row("tokens.json"),
)
# Files of ClickHouse itself: what it says of them is for it to say.
OF_CLICKHOUSE = "clickhouse/data/"


@dataclass(frozen=True)
class Furnished:
    """A data directory at rest: a run of its own, an imported one, and one that a script could not send."""

    folder: Path
    own: str
    imported: str
    unsent: str

    def copy(self, folder: Path) -> StackProcess:
        shutil.copytree(self.folder, folder, symlinks=True)
        return StackProcess(folder)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    parent = tmp_path_factory.mktemp("furnished")
    elsewhere, stack = StackProcess(parent / "elsewhere"), StackProcess(parent / "data")
    try:
        elsewhere.start()
        imported = _train(elsewhere)
        assert elsewhere.milepost("audit", "export", imported, "--file", str(parent / "run.zip")).returncode == Exit.OK
        elsewhere.stop()
        stack.start()
        own = _train(stack)
        assert stack.milepost("audit", "import", str(parent / "run.zip")).returncode == Exit.OK
        assert stack.milepost("token", "create", "ann", "--role", "admin").returncode == Exit.OK
        stack.stop()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_DATA_DIR": str(stack.data_dir)}
        subprocess.run([sys.executable, str(SCRIPT)], env=environment, check=True, capture_output=True, cwd=parent)
        (unsent,) = {path.parent.name for path in stack.data_dir.glob("runtimes/*/start.json")}
        yield Furnished(stack.data_dir, own, imported, unsent)
    finally:
        elsewhere.end()
        stack.end()


def _train(stack: StackProcess) -> str:
    request = runtime_api.StartRuntimeRequest(configuration_text=paced("short", 0.01))
    runtime = stack.client.runtimes.StartRuntime(request).runtime
    stack.wait_for_end(runtime.name)
    return str(runtime.runtime_id)


def _damage(path: Path, way: str) -> None:
    path.write_bytes(WAYS[way](path.read_bytes()))


def _shown(stack: StackProcess) -> set[str]:
    answer = stack.client.runtimes.ListRuntimes(runtime_api.ListRuntimesRequest())
    return {runtime.runtime_id for runtime in answer.runtimes}


def test_a_stack_starts_on_many_damaged_files_names_each_and_loses_nothing_else(
    furnished: Furnished, tmp_path: Path
) -> None:
    stack = furnished.copy(tmp_path / "data")
    folder = stack.data_dir
    damaged = {
        "emptied": ["keys/sessions.key", "keys/service.token", "tokens.json", "nats.conf"],
        "cut": ["endpoints.json", "keys/nats-authority.json", f"runtimes/{furnished.unsent}/start.json"],
        "changed": [
            f"imports/{furnished.imported}.zip",
            *(str(path.relative_to(folder)) for path in folder.glob("checkpoints/*/*.checkpoint")),
            *(str(path.relative_to(folder)) for path in folder.glob("clickhouse/data/store/*/*/points.sql")),
        ],
    }
    for way, names in damaged.items():
        for name in names:
            _damage(folder / name, way)
    try:
        stack.start()
        assert _shown(stack) == {furnished.own}
        assert len(stack.series(f"runtimes/{furnished.own}", "train/loss")) == 48
        sent = stack.milepost("sync", "--seconds", "30")
        assert sent.returncode == Exit.OK, sent.stdout + sent.stderr
        assert f"{furnished.unsent}/start.json.damaged was damaged" in sent.stderr
        stack.wait_for_end(f"runtimes/{furnished.unsent}")
        said = stack.output.read_text()
        for name in (
            "tokens.json",
            "keys/sessions.key",
            "keys/service.token",
            "keys/nats-authority.json",
            "points.sql",
        ):
            assert any("file.damaged" in line and name in line for line in said.splitlines()), name
        assert "import.refused" in said
        assert "checkpoint.unreadable" in said
        doctor = stack.milepost("doctor")
        assert doctor.returncode == Exit.FAILED
        for name in ("tokens.json.damaged", "start.json.damaged", f"imports/{furnished.imported}.zip"):
            assert name in doctor.stdout
        verified = stack.milepost("audit", "verify", "--read-models")
        assert verified.returncode == Exit.OK, verified.stdout + verified.stderr
        for name in ("tokens.json.damaged", f"imports/{furnished.imported}.zip"):
            assert name in verified.stdout + verified.stderr
        # A whole bundle in the place of the damaged one is shown.
        bundle = furnished.folder / "imports" / f"{furnished.imported}.zip"
        assert stack.milepost("audit", "import", str(bundle)).returncode == Exit.OK
        assert _shown(stack) == {furnished.own, furnished.unsent, furnished.imported}
    finally:
        stack.end()


def test_every_file_of_a_data_directory_is_in_the_table(furnished: Furnished) -> None:
    listed = {path for row in ROWS for path in furnished.folder.glob(row.pattern)}
    found = {path for path in furnished.folder.rglob("*") if path.is_file() and path.stat().st_size}
    left = sorted(str(path.relative_to(furnished.folder)) for path in found - listed)
    assert [name for name in left if not name.startswith(OF_CLICKHOUSE)] == []
    page = (ROOT / "docs" / "data-directory.md").read_text()
    assert [row.pattern for row in ROWS if f"`{row.pattern}`" not in page] == []


@pytest.mark.faults
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("row", ROWS, ids=[row.pattern for row in ROWS])
def test_one_damaged_file_costs_what_was_in_it(furnished: Furnished, tmp_path: Path, row: Row, way: str) -> None:
    """Of each kind every file by itself."""
    files = sorted(path for path in furnished.folder.glob(row.pattern) if path.is_file() and path.stat().st_size)
    assert files, "the data directory has one of each kind"
    for number, path in enumerate(files):
        stack = furnished.copy(tmp_path / str(number) / "data")
        name = path.relative_to(furnished.folder)
        _damage(stack.data_dir / name, way)
        try:
            _check(stack, furnished, row, f"{name}, {way}")
        finally:
            stack.end()
            shutil.rmtree(stack.data_dir.parent)


def _check(stack: StackProcess, furnished: Furnished, row: Row, what: str) -> None:
    stack.start()
    expected = {furnished.own, *({furnished.imported} if row.keeps_import else ())}
    assert _shown(stack) == expected, what
    regressed = stack.milepost("audit", "verify").returncode == Exit.FAILED
    assert row.regresses or not regressed, what
    if regressed:
        # At their start services check the end of the log; what lies before the last anchors is for `verify` to name.
        if "milepost audit accept" in stack.output.read_text():
            assert stack.milepost("doctor").returncode == Exit.FAILED, what
        if row.in_the_way:
            stack.stop()
            for path in stack.data_dir.glob(row.in_the_way):
                path.unlink()
            stack.start()
        accepted = stack.milepost("audit", "accept", "--reason", "a test has damaged it", "--yes")
        assert accepted.returncode == Exit.OK and "nothing to accept" not in accepted.stderr, what + accepted.stderr
        stack.stop()
        stack.start()
    sent = stack.milepost("sync", "--seconds", "30")
    assert sent.returncode == Exit.OK, what + sent.stdout + sent.stderr
    if row.is_sent:
        assert furnished.unsent in _shown(stack), what
    assert stack.stop()[0] == Exit.OK, what
