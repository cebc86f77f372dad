"""The job of an attempt on a cluster: what it asks of its node, what it hands on, what it says last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from milepost import code_archive
from milepost.api.config.v1.configuration_pb2 import Code, RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from services.runtime.launchers import ray
from trainer import job
from trainer.job import CannotBegin, Claimed


def claimed(storage: Path, code: Code | None = None) -> Claimed:
    configuration = RuntimeConfiguration(entrypoint="trainer.py:train", code=code)
    launch = AttemptLaunch(
        runtime_id="rt-a", trial=1, attempt=2, configuration=configuration, snapshot_storage_uri=storage.as_uri()
    )
    return Claimed(launch, {"PASSWORD": "correct-horse"}, "the credentials")


def test_a_folder_is_made_that_only_its_user_can_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "trainer.py").write_text("x = 1\n")
    code = code_archive.pack(project, tmp_path / "archives")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")

    file = job.prepare(claimed(tmp_path, code), tmp_path / "work")

    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700
    launch = json.loads(file.read_text())
    assert Path(launch["attempt_directory"]) == file.parent == tmp_path / "work/runtimes/rt-a/trial-1/attempt-2"
    assert (Path(launch["code_directory"]) / "trainer.py").read_text() == "x = 1\n"
    assert launch["gpus"] == [2, 3]
    credentials = Path(launch["nats_credentials_file"])
    assert (credentials.read_text(), credentials.stat().st_mode & 0o777) == ("the credentials", 0o600)
    assert "correct-horse" not in file.read_text()


def test_a_node_without_the_storage_for_snapshots_trains_nothing(tmp_path: Path) -> None:
    with pytest.raises(CannotBegin, match="mount it at the same path") as error:
        job.prepare(claimed(tmp_path / "not mounted"), tmp_path / "work")
    assert error.value.cause == common.EXIT_CAUSE_DETERMINISTIC


def test_a_folder_that_others_can_enter_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir(mode=0o755)
    with pytest.raises(CannotBegin, match="MILEPOST_RAY_WORK_DIR"):
        job.prepare(claimed(tmp_path), tmp_path / "work")


def test_code_that_is_not_the_one_that_was_named_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"something else")
    code = Code(uri=(tmp_path / "archive").as_uri(), digest="sha256:" + "0" * 64)
    with pytest.raises(CannotBegin) as error:
        job.prepare(claimed(tmp_path, code), tmp_path / "work")
    assert error.value.cause == common.EXIT_CAUSE_DETERMINISTIC


def test_neither_driver_nor_workers_inherit_the_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    described = {"runtime_env": {"env_vars": {job.TICKET_VARIABLE: "mpl_x"}}, "metadata": {"job_submission_id": "a"}}
    monkeypatch.setenv(job.TICKET_VARIABLE, "mpl_x")
    monkeypatch.setenv(job.RAY_JOB_VARIABLE, json.dumps(described))
    assert job.forget_ticket() == "mpl_x"

    assert "mpl_x" not in str(os.environ)
    assert json.loads(os.environ[job.RAY_JOB_VARIABLE])["metadata"] == {"job_submission_id": "a"}


@pytest.mark.parametrize(
    ("left", "code", "cause", "says"),
    [
        ({"cause": "EXIT_CAUSE_FINISHED"}, 0, common.EXIT_CAUSE_FINISHED, ""),
        (None, -9, common.EXIT_CAUSE_SIGNAL, "SIGKILL"),
        (None, 1, common.EXIT_CAUSE_EXCEPTION, "exit code 1: last words"),
    ],
)
def test_the_last_word_comes_home_with_the_logs_of_the_job(
    left: dict[str, str] | None,
    code: int,
    cause: common.ExitCause,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if left is not None:
        (tmp_path / "exit.json").write_text(json.dumps(left))
    job.say_last_word(job.last_word(tmp_path, code, "last words"))
    ended = ray.exit_of(ray.Job("FAILED", exit_code=1), capsys.readouterr().out, claimed=True, killed=False)
    assert ended.cause == cause
    assert says in ended.detail


def test_only_what_waits_for_the_next_attempt_stays_on_the_node(tmp_path: Path) -> None:
    folder = tmp_path / "runtimes/rt-a/trial-1/attempt-1"
    folder.mkdir(parents=True)
    for name in ("nats.creds", "spool-driver.sqlite"):
        (folder / name).touch()
    job.clean(folder, keep=True)
    assert [path.name for path in folder.iterdir()] == ["spool-driver.sqlite"]
    job.clean(folder, keep=False)
    assert not folder.exists()


def test_a_job_that_ray_has_lost_is_terminated() -> None:
    """When a raylet is killed, its workers end their children, and what those have started is nobody's any more."""
    script = (
        "import os, signal, sys, time; from trainer.job import end_with_parent\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('terminated', flush=True), sys.exit()))\n"
        "end_with_parent(); print(os.getppid(), flush=True); time.sleep(60); print('still here')"
    )
    # With something to do after it a shell stays between, as between Ray and the job.
    command = f'"{sys.executable}" -c "{script}"; true'
    with subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert int(shell.stdout.readline()) == shell.pid
        shell.kill()
        assert shell.stdout.read() == "terminated\n"
