"""A data directory that an earlier build has left: opened, verified and gone on with by this one.

`tests/golden/data-directory.tar.xz` is what c4c3933 wrote; `tests/golden/write_data_directory.py` says how. It has runs that
completed, were stopped, deleted and imported, an open run of an MLflow client, and a spool of a script without a server.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.exits import Exit
from milepost.errors import FailedPrecondition, NotFound
from tests.e2e.stack import ROOT, StackProcess, until

ARCHIVE = ROOT / "tests" / "golden" / "data-directory.tar.xz"
# Where it was written, and must lie: events name the places of snapshots.
PLACE = Path("/tmp/milepost-c4c3933")
COMPLETED = "rt-06h2gade3dskh78oqcmtlhupq8"
DELETED = "rt-06h2gadl45vdfa14vafabfht2g"
STOPPED = "rt-06h2gaf6alqqtagd8ufivh7a58"
IMPORTED = "rt-06h2gabdflsphcrl2slgjbko24"
RECORDED = "rt-06h2gagr5lra95nnajd2ks35ic"
OFFLINE = "rt-06h2gah361qav4tt2cb6mce62o"
OFFLINE_STEPS = 20


@contextmanager
def place() -> Iterator[Path]:
    """The folder for the length of a block, empty at first. Tests of other work trees wait for each other."""
    while True:
        PLACE.mkdir(exist_ok=True)
        descriptor = os.open(PLACE, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Whoever had it before has removed it.
        if PLACE.exists() and PLACE.stat().st_ino == os.fstat(descriptor).st_ino:
            break
        os.close(descriptor)
    try:
        yield PLACE
    finally:
        shutil.rmtree(PLACE)
        os.close(descriptor)


@pytest.fixture
def stack() -> Iterator[StackProcess]:
    """A stack over what the archive holds, not started yet."""
    with place() as folder:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
        made = StackProcess(folder / "data")
        try:
            yield made
        finally:
            made.end()


@pytest.mark.timeout(300)
def test_what_an_earlier_build_wrote_is_opened_verified_and_gone_on_with(stack: StackProcess) -> None:
    stack.start()
    check_answers(stack)
    verified = stack.milepost("audit", "verify", "--read-models")
    assert verified.returncode == Exit.OK, verified.stdout + verified.stderr
    check_script(stack)
    check_mlflow(stack)
    check_resume(stack)
    verified = stack.milepost("audit", "verify", "--read-models")
    assert verified.returncode == Exit.OK, verified.stdout + verified.stderr


def check_answers(stack: StackProcess) -> None:
    """Each run is what it was, with every point of its series."""
    statuses = {name: stack.runtime(f"runtimes/{name}").status for name in (COMPLETED, STOPPED, IMPORTED, RECORDED)}
    assert statuses == {
        COMPLETED: runtime_api.RUNTIME_STATUS_COMPLETED,
        STOPPED: runtime_api.RUNTIME_STATUS_ABORTED,
        IMPORTED: runtime_api.RUNTIME_STATUS_COMPLETED,
        RECORDED: runtime_api.RUNTIME_STATUS_STARTED,
    }
    deleted = stack.client.get_runtime(f"runtimes/{DELETED}", show_deleted=True)
    assert deleted.phase == runtime_api.RUNTIME_PHASE_DELETED
    until(lambda: has_series(stack, IMPORTED), "the metric service has taken the bundle in")
    for name in (COMPLETED, STOPPED, IMPORTED):
        steps = stack.trial(f"runtimes/{name}").progress.step
        assert list(stack.series(f"runtimes/{name}", "train/loss")) == list(range(1, steps + 1)), name
    with pytest.raises(FailedPrecondition, match="imported"):
        stack.client.runtimes.StopRuntime(runtime_api.StopRuntimeRequest(name=f"runtimes/{IMPORTED}"))
    assert len(stack.events(f"runtimes/{COMPLETED}")) > 10


def has_series(stack: StackProcess, name: str) -> bool:
    """Whether the metric service knows a run: rows of bundles are made anew at each start, beside the first calls."""
    try:
        return bool(stack.series(f"runtimes/{name}", "train/loss"))
    except NotFound:
        return False


def check_script(stack: StackProcess) -> None:
    """The spool of the script is sent, whole."""
    sent = stack.milepost("sync")
    assert sent.returncode == Exit.OK, sent.stderr
    name = f"runtimes/{OFFLINE}"
    assert stack.wait_for_end(name).status == runtime_api.RUNTIME_STATUS_COMPLETED
    until(lambda: len(stack.series(name, "train/loss")) == OFFLINE_STEPS, "its points are stored")
    assert not list(stack.data_dir.glob(f"runtimes/{OFFLINE}/trial-1/attempt-1/spool-*"))


def check_mlflow(stack: StackProcess) -> None:
    """The run of the MLflow client is open, and takes points behind those it has."""
    with httpx.Client(base_url=f"{stack.endpoints.gateway}/mlflow/api/2.0/mlflow", timeout=60.0) as client:

        def tell(path: str, **body: object) -> None:
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text

        found = client.get("experiments/get-by-name", params={"experiment_name": "earlier"}).json()["experiment"]
        (run,) = client.post("runs/search", json={"experiment_ids": [found["experiment_id"]]}).json()["runs"]
        run_id = run["info"]["run_id"]
        assert run["info"]["status"] == "RUNNING"
        tell("runs/log-metric", run_id=run_id, key="loss", value=0.1, timestamp=1_700_000_000_006, step=6)
        tell("runs/update", run_id=run_id, status="FINISHED")
    until(lambda: list(stack.series(f"runtimes/{RECORDED}", "loss")) == [*range(1, 7)], "its points are stored")
    assert stack.wait_for_end(f"runtimes/{RECORDED}").status == runtime_api.RUNTIME_STATUS_COMPLETED


def check_resume(stack: StackProcess) -> None:
    """The stopped run goes on from its snapshot, on one curve."""
    name = f"runtimes/{STOPPED}"
    before = stack.series(name, "train/loss")
    resumed = stack.milepost("runtime", "resume", STOPPED)
    assert resumed.returncode == Exit.OK, resumed.stderr
    stack.wait_for_step(name, len(before) + 20)
    stopped = stack.milepost("runtime", "stop", STOPPED)
    assert stopped.returncode == Exit.OK, stopped.stderr
    stack.wait_for_end(name)
    until(lambda: stack.completeness(name).sent_points == stack.completeness(name).stored_points, "they are stored")
    after = stack.series(name, "train/loss")
    assert list(after) == list(range(1, len(after) + 1)) and len(after) > len(before)
    assert {step: after[step] for step in before} == before
    assert [event.type for event in stack.events(name)].count("milepost.trial.attempt_started.v1") == 2
