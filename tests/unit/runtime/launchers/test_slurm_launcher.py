"""What the `slurm` launcher asks of Slurm and makes of its answers: those in `slurm_22_05_8` are recorded from a real one."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from milepost.api.config.v1.configuration_pb2 import Resources, RuntimeConfiguration, SlurmOptions
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.eventlog.memory import MemoryKeyValue
from milepost.installation.settings import collect
from milepost.names import AttemptKey
from services.runtime.launchers import LaunchFailed, slurm
from services.runtime.launchers.claims import Claims
from services.runtime.launchers.cluster import slurm_options
from services.runtime.launchers.jobs import job_id
from services.runtime.launchers.slurm import SlurmLauncher, exit_of, job_script, sbatch_options
from services.runtime.launchers.slurm_jobs import (
    SlurmCommands,
    SlurmJob,
    clean_environment,
    parse_jobs,
    parse_nodes,
    reason_words,
)
from services.runtime.policies.control import Process

RECORDED = Path(__file__).parent / "slurm_22_05_8"
KEY = AttemptKey("rt-a", 1, 1)


def configuration(**fields: Any) -> RuntimeConfiguration:
    resources = {"cpus_per_worker": 1.0, **fields.pop("resources", {})}
    options = SlurmOptions(**{"notice_seconds": 120, **fields})
    return RuntimeConfiguration(name="a", resources=Resources(**resources), slurm=options)


# --- what is read


def recorded_jobs() -> dict[int, SlurmJob]:
    """The recorded jobs by attempt, with how those ended that are over."""
    details = {}
    for line in (RECORDED / "scontrol.txt").read_text().splitlines():
        shown = dict(word.split("=", 1) for word in line.split() if "=" in word)
        details[int(shown["JobId"])] = [int(part) for part in shown["ExitCode"].split(":")]
    jobs = {}
    for name, (job,) in parse_jobs((RECORDED / "squeue.txt").read_text()).items():
        code, signal = details.get(job.job_id, (0, 0))
        fields = (job.job_id, job.state, job.reason, job.partition, job.node)
        jobs[int(name.rpartition("-")[2])] = SlurmJob(*fields, exit_code=code, signal=signal)
    return jobs


@pytest.mark.parametrize(
    ("attempt", "cause", "says"),
    [
        (2, common.EXIT_CAUSE_EXCEPTION, "exit code 7"),
        (3, common.EXIT_CAUSE_LAUNCH_FAILED, "MILEPOST_SLURM_OUTPUT_DIR"),
        (4, common.EXIT_CAUSE_SIGNAL, "scancel"),
        (11, common.EXIT_CAUSE_SIGNAL, "signal 9"),
        (12, common.EXIT_CAUSE_SIGNAL, "signal 15"),
    ],
)
def test_the_end_of_a_recorded_job_has_a_typed_cause(attempt: int, cause: common.ExitCause, says: str) -> None:
    job = recorded_jobs()[attempt]
    assert job.is_over
    ended = exit_of(job, "", claimed=True, killed=False)
    assert ended.cause == cause
    assert says in ended.detail


@pytest.mark.parametrize(
    ("job", "printed", "claimed", "killed", "cause"),
    [
        (SlurmJob(7, "TIMEOUT"), "", True, False, common.EXIT_CAUSE_TIME_LIMIT),
        (SlurmJob(7, "PREEMPTED"), "", True, False, common.EXIT_CAUSE_PREEMPTED),
        (SlurmJob(7, "NODE_FAIL"), "", True, False, common.EXIT_CAUSE_NODE_FAILED),
        (SlurmJob(7, "OUT_OF_MEMORY", signal=125), "", True, False, common.EXIT_CAUSE_OUT_OF_MEMORY),
        (SlurmJob(7, "PENDING", requeued=True), "", True, False, common.EXIT_CAUSE_PREEMPTED),
        (SlurmJob(7, "FAILED", exit_code=1), "No module named trainer", False, False, common.EXIT_CAUSE_LAUNCH_FAILED),
        (SlurmJob(7, "COMPLETED"), "", True, True, common.EXIT_CAUSE_KILLED),
        (None, "", True, False, common.EXIT_CAUSE_LOST),
        # It was forgotten, and what it printed was not; and the state says less than the word.
        (None, 'milepost-attempt-ended {"cause": "EXIT_CAUSE_STOPPED"}', True, False, common.EXIT_CAUSE_STOPPED),
        (
            SlurmJob(7, "CANCELLED"),
            'milepost-attempt-ended {"cause": "EXIT_CAUSE_EXCEPTION"}',
            True,
            False,
            common.EXIT_CAUSE_EXCEPTION,
        ),
    ],
)
def test_states_are_typed(
    job: SlurmJob | None, printed: str, claimed: bool, killed: bool, cause: common.ExitCause
) -> None:
    assert exit_of(job, printed, claimed=claimed, killed=killed).cause == cause


def test_why_recorded_jobs_wait_is_said_in_words() -> None:
    jobs = recorded_jobs()
    waiting = {attempt: job.waits for attempt, job in jobs.items() if job.waits}
    assert sorted(waiting) == [5, 6, 8, 9, 10]
    assert "takes jobs and starts none" in waiting[5]
    assert "never starts so" in waiting[6]
    assert "no room for it yet" in waiting[8]
    assert "down, drained or reserved" in waiting[9]
    assert "scontrol release" in waiting[10]
    assert [attempt for attempt, job in jobs.items() if job.runs] == [1, 7]


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("QOSMaxCpuPerUserLimit", "limit of the account or of the quality of service"),
        ("AssocGrpGRES", "limit of the account"),
        ("SomethingNew", "SomethingNew"),
        ("", "does not say why"),
    ],
)
def test_reasons_that_are_not_known_are_given_as_they_are(reason: str, says: str) -> None:
    assert says in reason_words(reason)


def test_a_node_of_several_partitions_is_counted_once_and_one_that_is_down_is_not() -> None:
    nodes = parse_nodes((RECORDED / "sinfo.txt").read_text())
    assert [(node.cpus, node.gpus) for node in nodes] == [(2.0, 1.0)] * 3
    assert nodes[0].memory_gigabytes == pytest.approx(4.194304)
    assert parse_nodes("a|4|1000|gpu:a100:4(S:0-1),gpu:h100:2|down*\nb|4|1000|(null)|idle~") == parse_nodes(
        "b|4|1000|(null)|idle"
    )
    assert parse_nodes("a|4|1000|gpu:a100:4(S:0-1),gpu:2|mixed")[0].gpus == 6


# --- what is asked


def test_resources_and_options_become_those_of_sbatch() -> None:
    asked = sbatch_options(
        configuration(
            resources={"cpus_per_worker": 2.5, "gpus_per_worker": 1, "memory_gigabytes_per_worker": 4, "workers": 2},
            partition="a,b",
            account="physics",
            qos="high",
            constraint="a100&nvlink",
            reservation="course",
            gres="scratch:10",
            time_limit_minutes=90,
        ),
        "the-name",
        "/out/%j",
    )
    for option in (
        "--cpus-per-task=5",
        "--mem=7630M",
        "--gres=scratch:10,gpu:2",
        "--time=90",
        "--partition=a,b",
        "--account=physics",
        "--qos=high",
        "--constraint=a100&nvlink",
        "--reservation=course",
        "--signal=B:USR1@120",
        "--no-requeue",
        "--nodes=1",
        "--job-name=the-name",
        "--output=/out/%j",
    ):
        assert option in asked
    typed = sbatch_options(configuration(resources={"gpus_per_worker": 2}, gres="gpu:a100:2"), "n", "/o")
    assert [option for option in typed if option.startswith("--gres")] == ["--gres=gpu:a100:2"]
    assert not any(option.startswith(("--mem", "--time", "--partition")) for option in typed)


def test_the_script_takes_the_place_of_its_shell_and_quotes_what_it_is_given() -> None:
    options = slurm.SlurmOptions(python="/opt/my env/python", setup="/etc/milepost/setup.sh")
    script = job_script(options, configuration(), {"MILEPOST_LAUNCH_TICKET": "a'b $(x)"})
    last = script.strip().splitlines()[-1]
    assert shlex.split(last) == ["exec", "/opt/my env/python", "-P", "-m", "trainer.job"]
    [ticket] = [line for line in script.splitlines() if "TICKET" in line]
    assert shlex.split(ticket) == ["export", "MILEPOST_LAUNCH_TICKET=a'b $(x)"]


def test_a_job_inherits_no_secret_of_the_service() -> None:
    own = {"PATH": "/bin", "HOME": "/root", "SLURM_CONF": "/c", "MILEPOST_SECRET_X": "1", "AWS_SECRET_ACCESS_KEY": "2"}
    assert clean_environment(own) == {"PATH": "/bin", "HOME": "/root", "SLURM_CONF": "/c"}


# --- commands, played by a script


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with commands in the place of Slurm's: each prints `<command>.out`, and notes its words in `seen`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    body = (
        '#!/bin/bash\nd=$(dirname "$0"); n=$(basename "$0"); cat >/dev/null\n'
        'printf "%s" "$n" >>"$d/seen"; printf " <%s>" "$@" >>"$d/seen"; echo >>"$d/seen"\n'
        '[ -f "$d/$n.out" ] && cat "$d/$n.out"; [ -f "$d/$n.err" ] && { cat "$d/$n.err" >&2; exit 1; }; exit 0\n'
    )
    for name in ("squeue", "sbatch", "scontrol", "scancel", "sinfo"):
        (folder / name).write_text(body)
        (folder / name).chmod(0o755)
    (folder / "seen").touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def launcher(tmp_path: Path, claims: Claims) -> SlurmLauncher:
    options = slurm.SlurmOptions()
    commands = SlurmCommands(look_seconds=0.0)
    return SlurmLauncher(options, tmp_path, claims, lambda key: "the-ticket", lambda: "127.0.0.1:1", commands)


async def observed(of: SlurmLauncher, key: AttemptKey, *awaited: Process) -> Process:
    async with asyncio.timeout(20):
        while of.observe(key)[0] not in awaited:
            await asyncio.sleep(0.01)
    return of.observe(key)[0]


async def test_a_name_is_looked_for_before_a_job_is_submitted(played: Path, tmp_path: Path) -> None:
    (played / "sbatch.out").write_text("12\n")
    made = launcher(tmp_path, Claims(MemoryKeyValue()))
    launch = AttemptLaunch(configuration=configuration(), snapshot_storage_uri=(tmp_path / "s").as_uri())
    await made.launch(KEY, launch, {})
    (played / "squeue.out").write_text(f"12|RUNNING|None|main|n1|{job_id(KEY)}\n")
    await made.launch(KEY, launch, {})
    seen = (played / "seen").read_text()
    assert seen.count("sbatch") == 1
    assert "the-ticket" not in seen, "no command line shows it"


async def test_of_two_jobs_with_one_name_the_one_that_has_the_launch_counts_and_the_other_goes(
    played: Path, tmp_path: Path
) -> None:
    claims = Claims(MemoryKeyValue())
    await claims.take(KEY, "slurm13x" + "0" * 32)
    (played / "squeue.out").write_text(
        f"12|PENDING|Resources|main||{job_id(KEY)}\n13|RUNNING|None|main|n1|{job_id(KEY)}\n"
    )
    made = launcher(tmp_path, claims)
    made.start()
    try:
        assert await observed(made, KEY, Process.RUNNING, Process.PENDING) is Process.RUNNING
        assert "scancel <12>" in (played / "seen").read_text()
    finally:
        await made.close()


async def test_a_job_that_is_requeued_all_the_same_is_over_and_is_taken_away(played: Path, tmp_path: Path) -> None:
    claims = Claims(MemoryKeyValue())
    await claims.take(KEY, "slurm12x" + "0" * 32)
    (played / "squeue.out").write_text(f"12|PENDING|BeginTime|main||{job_id(KEY)}\n")
    made = launcher(tmp_path, claims)
    made.start()
    try:
        assert await observed(made, KEY, Process.GONE, Process.PENDING) is Process.GONE
        assert made.observe(KEY)[1].cause == common.EXIT_CAUSE_PREEMPTED
        assert "scancel <12>" in (played / "seen").read_text()
    finally:
        await made.close()


async def test_a_job_that_is_unknown_for_a_moment_is_not_given_up(
    played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm.SlurmJobs, "unknown_seconds", 2.5)
    claims = Claims(MemoryKeyValue())
    await claims.take(KEY, "slurm12x" + "0" * 32)
    made = launcher(tmp_path, claims)
    made.start()
    try:
        assert await observed(made, KEY, Process.UNSEEN, Process.GONE) is Process.UNSEEN
        (played / "squeue.out").write_text(f"12|RUNNING|None|main|n1|{job_id(KEY)}\n")
        assert await observed(made, KEY, Process.RUNNING, Process.GONE) is Process.RUNNING
        (played / "squeue.out").write_text("")
        assert await observed(made, KEY, Process.GONE) is Process.GONE
        assert made.observe(KEY)[1].cause == common.EXIT_CAUSE_LOST
    finally:
        await made.close()


async def test_a_controller_that_is_away_loses_nothing(played: Path, tmp_path: Path) -> None:
    claims = Claims(MemoryKeyValue())
    await claims.take(KEY, "slurm12x" + "0" * 32)
    (played / "squeue.err").write_text("slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")
    (played / "sinfo.err").write_text("slurm_load_partitions: Unable to contact slurm controller (connect failure)\n")
    made = launcher(tmp_path, claims)
    made.start()
    try:
        await made.looked()
        outage = made.outage()
        assert outage is not None
        assert (outage.reason, outage.passes) == ("SLURM_UNAVAILABLE", True)
        assert "Unable to contact slurm controller" in outage.detail
        assert await observed(made, KEY, Process.UNSEEN) is Process.UNSEEN
    finally:
        await made.close()


@pytest.mark.parametrize(
    ("said", "deterministic"),
    [
        ("sbatch: error: Batch job submission failed: Invalid feature specification\n", True),
        ("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)\n", False),
    ],
)
async def test_what_sbatch_refuses_is_not_tried_again_unless_a_limit_was_reached(
    played: Path, tmp_path: Path, said: str, deterministic: bool
) -> None:
    (played / "sbatch.err").write_text(said)
    made = launcher(tmp_path, Claims(MemoryKeyValue()))
    launch = AttemptLaunch(configuration=configuration(), snapshot_storage_uri=(tmp_path / "s").as_uri())
    with pytest.raises(LaunchFailed, match="Slurm refuses the job") as error:
        await made.launch(KEY, launch, {})
    assert error.value.deterministic is deterministic


def recorded_refusals() -> dict[str, tuple[str, int]]:
    found = {}
    for part in (RECORDED / "sbatch_test_only.txt").read_text().split("## ")[1:]:
        option, _, rest = part.partition("\n")
        said, _, code = rest.rpartition("rc=")
        found[option] = (said, int(code))
    return found


@pytest.mark.parametrize("option", sorted(recorded_refusals()))
async def test_what_slurm_would_refuse_is_known_before(played: Path, option: str) -> None:
    said, code = recorded_refusals()[option]
    if code:
        (played / "sbatch.err").write_text(said)
    problem = await SlurmCommands().test([option], "")
    assert bool(problem) is bool(code)
    assert said.strip().splitlines()[-1] in problem or not code


async def test_over_ssh_every_word_is_quoted_and_no_shell_of_this_host_sees_it(tmp_path: Path) -> None:
    played = tmp_path / "ssh"
    # What ssh does: hands its words, joined, to a shell there.
    played.write_text('#!/bin/bash\nshift\nexec bash -c "$*"\n')
    played.chmod(0o755)
    other = tmp_path / "o"
    other.write_text("the end of it")
    commands = SlurmCommands((str(played), "login"))
    evil = f"{tmp_path}/$(touch {tmp_path}/evil); 'x' &"
    assert await commands.tail(evil, 10) == ""
    assert not (tmp_path / "evil").exists()
    assert await commands.tail(str(other), 5) == "of it"


async def test_a_host_without_slurm_is_told_from_one_that_does_not_answer(tmp_path: Path) -> None:
    made = SlurmLauncher(
        slurm.SlurmOptions(prefix=(str(tmp_path / "no-such-command"),)),
        tmp_path,
        Claims(MemoryKeyValue()),
        lambda key: "",
        lambda: "127.0.0.1:1",
    )
    made.start()
    try:
        await made.looked()
        outage = made.outage()
        assert outage is not None
        assert (outage.reason, outage.passes) == ("SLURM_MISSING", False)
        assert "MILEPOST_SLURM_COMMAND" in outage.detail
    finally:
        await made.close()


# --- settings


def settings(**changes: str) -> Any:
    return collect({"runtime_address": "milepost.example.org:8471", "nats_url": "nats://n:4222", **changes}, {})


def test_settings_say_how_slurm_is_used() -> None:
    assert slurm_options(settings()) is None
    local = slurm_options(settings(slurm_command="local"))
    assert local is not None
    assert (local.prefix, local.runtime_address, local.problem) == ((), "milepost.example.org:8471", "")
    remote = slurm_options(settings(slurm_command="ssh -o BatchMode=yes login", slurm_output_dir="/scratch/out/"))
    assert remote is not None
    assert remote.prefix == ("ssh", "-o", "BatchMode=yes", "login")
    assert remote.output_dir == "/scratch/out"


@pytest.mark.parametrize(
    "changes",
    [{"slurm_command": "ssh 'login"}, {"slurm_output_dir": "relative"}, {"slurm_output_dir": "/with/%j"}],
)
def test_settings_that_mean_nothing_are_refused_at_the_start(changes: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match="slurm_"):
        slurm_options(settings(**{"slurm_command": "local", **changes}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"runtime_address": "127.0.0.1:1"}, "SLURM_RUNTIME_ADDRESS"),
        ({"nats_url": "nats://127.0.0.1:1"}, "SLURM_NATS_URL"),
    ],
)
def test_nodes_that_could_not_reach_us_are_not_used(changes: dict[str, str], says: str) -> None:
    options = slurm_options(settings(slurm_command="ssh login", **changes))
    assert options is not None
    assert says in options.problem
