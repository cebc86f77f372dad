"""Attempts as batch jobs of Slurm: its side of `jobs`.

Slurm takes two jobs with one name, so a name is looked for before a job is submitted, and of two that came all the same
the one that claimed the launch is the attempt's. The claim names its job: `trainer.job` begins its claim id with it. A
job that Slurm starts again, whatever it was told, finds its launch claimed and trains nothing.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from milepost import files
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.names import AttemptKey
from services.runtime.launchers.claims import Claims
from services.runtime.launchers.jobs import (
    LOG_BYTES,
    POLL_SECONDS,
    JobLauncher,
    brief,
    job_id,
    last_printed,
    last_word_in,
    use_of,
)
from services.runtime.launchers.slurm_jobs import PENDING, SlurmCommands, SlurmJob, SlurmJobRefused
from services.runtime.policies.control import Exit
from services.runtime.policies.placement import Capacity

# Each look at a login node is a connection there.
REMOTE_POLL_SECONDS = 5.0
# A slurmctld that comes back answers before everything is as it was.
UNKNOWN_SECONDS = 20.0
# Exit status of a job that was told to end by SIGTERM, and did.
TERMINATED = 75
# What Slurm says in place of an exit code when a job could not be set up, as where its output cannot be written.
_NOT_SET_UP = 53
# States of a job that began once, and will begin again. One that is being configured may just be beginning.
_BACK_IN_QUEUE = PENDING - {"CONFIGURING"}
_CLAIM = re.compile(r"slurm([0-9]+)x")
# What became of a job, in Slurm's word for its state.
_STATES = {
    "TIMEOUT": (common.EXIT_CAUSE_TIME_LIMIT, "came to its time limit"),
    "DEADLINE": (common.EXIT_CAUSE_TIME_LIMIT, "came to its deadline"),
    "PREEMPTED": (common.EXIT_CAUSE_PREEMPTED, "was preempted"),
    "NODE_FAIL": (common.EXIT_CAUSE_NODE_FAILED, "lost its node"),
    "BOOT_FAIL": (common.EXIT_CAUSE_NODE_FAILED, "got a node that did not boot"),
    "OUT_OF_MEMORY": (common.EXIT_CAUSE_OUT_OF_MEMORY, "used more memory than it had asked for"),
    "REVOKED": (common.EXIT_CAUSE_LOST, "was taken away by the federation of clusters"),
    "CANCELLED": (common.EXIT_CAUSE_SIGNAL, "was cancelled (scancel), not by Milepost"),
}


@dataclass(frozen=True, slots=True)
class SlurmOptions:
    """How a Slurm is used."""

    # Before each of its commands; empty: they are on this host.
    prefix: tuple[str, ...] = ()
    # Where the nodes reach the runtime service, `host:port`. Empty: where it listens.
    runtime_address: str = ""
    # Where they reach NATS. Empty: where the runtime service does.
    nats_url: str = ""
    # The Python of the nodes in which the trainer is installed.
    python: str = "python3"
    # Folder on the disk of each node for spools and unpacked code.
    work_dir: str = "/tmp/milepost"
    # Folder for what jobs print, which the nodes and the commands see. Empty: that of the attempt in the data directory.
    output_dir: str = ""
    # File on the nodes that the script of a job reads first, with `.`. Empty: none.
    setup: str = ""
    # Why it must not be used as it is set up. Empty: it may.
    problem: str = ""


class SlurmJobs:
    """The jobs of Milepost in a Slurm."""

    kind = "slurm"
    unknown_seconds = UNKNOWN_SECONDS

    def __init__(self, options: SlurmOptions, data_dir: Path, commands: SlurmCommands | None = None) -> None:
        self._options = options
        self._data_dir = data_dir
        poll = REMOTE_POLL_SECONDS if options.prefix else POLL_SECONDS
        self._commands = commands or SlurmCommands(options.prefix, poll / 2)
        self.problem = options.problem

    async def measure(self, own: object) -> Capacity:
        nodes = await self._commands.nodes()
        return Capacity(
            host="the Slurm cluster",
            cpus=sum(node.cpus for node in nodes),
            memory_gigabytes=sum(node.memory_gigabytes for node in nodes),
            counted_gpus=sum(node.gpus for node in nodes),
            queues=True,
        )

    async def refusal(self, configuration: RuntimeConfiguration) -> str:
        options = sbatch_options(configuration, "milepost-test", "/dev/null")
        return await self._commands.test(options, "#!/bin/bash\n")

    async def submit(self, key: AttemptKey, configuration: RuntimeConfiguration, variables: Mapping[str, str]) -> bool:
        if await self._commands.jobs(job_id(key), anew=True):
            return False
        output = self._output(key)
        if not self._commands.is_remote:
            try:
                Path(output).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SlurmJobRefused(f"{output} cannot be written: {error.strerror}", passes=True) from error
        script = job_script(self._options, configuration, variables)
        await self._commands.submit(sbatch_options(configuration, job_id(key), output), script)
        return True

    async def find(self, key: AttemptKey, holder: str) -> SlurmJob | None:
        jobs = await self._commands.jobs(job_id(key))
        claimed = _CLAIM.match(holder)
        if claimed is None:
            found = next((job for job in jobs if not job.is_over), jobs[0] if jobs else None)
        else:
            found = await self._claimed(jobs, int(claimed[1]))
        return await self._with_exit(found) if found is not None and found.is_over else found

    async def _claimed(self, jobs: list[SlurmJob], number: int) -> SlurmJob | None:
        """Return the job that has the launch, and take away what could only be refused it."""
        for job in jobs:
            if (job.job_id != number and not job.is_over) or (job.job_id == number and job.state in _BACK_IN_QUEUE):
                await self._commands.cancel(job.job_id)
        found = next((job for job in jobs if job.job_id == number), None)
        return replace(found, requeued=True) if found is not None and found.state in _BACK_IN_QUEUE else found

    async def _with_exit(self, job: SlurmJob) -> SlurmJob:
        shown = await self._commands.details(job.job_id)
        code, _, signal = shown.get("ExitCode", "0:0").partition(":")
        if not (code.isdigit() and signal.isdigit()):
            return job
        return replace(job, exit_code=int(code), signal=int(signal))

    async def stop(self, key: AttemptKey, *, urgent: bool) -> None:
        for job in await self._commands.jobs(job_id(key), anew=True):
            if job.is_over:
                continue
            if job.runs and not urgent:
                # The job ends its driver, and appends what that has left.
                await self._commands.signal(job.job_id, "USR2", whole=False)
                continue
            await self._commands.cancel(job.job_id)
            if job.runs:
                await self._commands.signal(job.job_id, "KILL", whole=True)

    async def delete(self, key: AttemptKey) -> None:
        # Slurm forgets a job by itself. What it printed lies in the data directory, or where all jobs print.
        if self._options.output_dir and not self._commands.is_remote:
            for path in Path(self._options.output_dir).glob(f"{job_id(key)}-*.out"):
                path.unlink(missing_ok=True)

    async def logs(self, key: AttemptKey, holder: str) -> str:
        claimed = _CLAIM.match(holder)
        jobs = await self._commands.jobs(job_id(key)) if claimed is None else []
        number = int(claimed[1]) if claimed is not None else jobs[0].job_id if jobs else 0
        path = self._output(key).replace("%j", str(number))
        if self._commands.is_remote:
            return await self._commands.tail(path, LOG_BYTES)
        with suppress(OSError):
            return files.read_regular(Path(path), LOG_BYTES, from_end=True).decode(errors="replace")
        return ""

    def exit_of(self, job: SlurmJob | None, printed: str, *, claimed: bool, killed: bool) -> Exit:
        return exit_of(job, printed, claimed=claimed, killed=killed)

    def _output(self, key: AttemptKey) -> str:
        """Return where a job prints: `%j` stands for its id. Two jobs of an attempt must not speak for each other."""
        if self._options.output_dir:
            return f"{self._options.output_dir}/{job_id(key)}-%j.out"
        return str(key.directory(self._data_dir) / "job-%j.out")


class SlurmLauncher(JobLauncher[SlurmJob]):
    """Runs drivers as batch jobs of a Slurm."""

    def __init__(
        self,
        options: SlurmOptions,
        data_dir: Path,
        claims: Claims,
        ticket: Callable[[AttemptKey], str],
        runtime_address: Callable[[], str],
        commands: SlurmCommands | None = None,
    ) -> None:
        """Use a Slurm, as `JobLauncher` does a cluster. `runtime_address`: where this service listens."""
        super().__init__(
            SlurmJobs(options, data_dir, commands),
            data_dir,
            claims,
            ticket,
            lambda: options.runtime_address or runtime_address(),
            REMOTE_POLL_SECONDS if options.prefix else POLL_SECONDS,
        )


def sbatch_options(configuration: RuntimeConfiguration, name: str, output: str) -> list[str]:
    """Return what `sbatch` is asked for. The process of an attempt, or all of its group, runs on one node."""
    asked, use = configuration.slurm, use_of(configuration)
    options = [
        f"--job-name={name}",
        f"--output={output}",
        "--open-mode=append",
        "--no-requeue",
        "--chdir=/",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={max(1, math.ceil(use.cpus))}",
        # To its script alone, which tells the driver.
        f"--signal=B:USR1@{asked.notice_seconds}",
    ]
    if use.memory_gigabytes:
        options.append(f"--mem={math.ceil(use.memory_gigabytes * 1e9 / (1 << 20))}M")
    gres = [asked.gres] if asked.gres else []
    if use.gpus and not re.search(r"(?:^|,)gpu(?:[:,]|$)", asked.gres):
        gres.append(f"gpu:{math.ceil(use.gpus)}")
    if gres:
        options.append(f"--gres={','.join(gres)}")
    if asked.time_limit_minutes:
        options.append(f"--time={asked.time_limit_minutes}")
    for option in ("partition", "account", "qos", "constraint", "reservation"):
        value = getattr(asked, option)
        if value:
            options.append(f"--{option}={value}")
    return options


def job_script(options: SlurmOptions, configuration: RuntimeConfiguration, variables: Mapping[str, str]) -> str:
    """Return the script of a job. The ticket is in it and in no command line; its owner and operators alone can read it."""
    exported = {
        **variables,
        "MILEPOST_JOB_CLUSTER": "slurm",
        "MILEPOST_NOTICE_SECONDS": str(configuration.slurm.notice_seconds),
        "MILEPOST_WORK_DIR": options.work_dir,
    }
    lines = ["#!/bin/bash", *(f"export {name}={shlex.quote(value)}" for name, value in exported.items())]
    if options.setup:
        lines.append(f". {shlex.quote(options.setup)} || exit 1")
    # In its place, so that signals for the script are the job's, and its exit status is that of the script.
    lines.append(f"exec {shlex.quote(options.python)} -P -m trainer.job")
    return "\n".join(lines) + "\n"


def exit_of(job: SlurmJob | None, printed: str, *, claimed: bool, killed: bool) -> Exit:
    """Say how an attempt ended. See `JobCluster.exit_of`.

    The state alone does not tell: a job that ends well after SIGTERM is CANCELLED or TIMEOUT all the same. Nor does the
    reason: a script that a signal has killed is FAILED for JobLaunchFailure.
    """
    if killed:
        return Exit(common.EXIT_CAUSE_KILLED, "killed by Milepost")
    word = last_word_in(printed)
    if word is not None:
        return word
    if job is None:
        return Exit(common.EXIT_CAUSE_LOST, "Slurm does not know its job any more, and it left no last word")
    which = f"its job {job.job_id}{f' on {job.node}' if job.node else ''}"
    if job.requeued:
        return Exit(common.EXIT_CAUSE_PREEMPTED, f"{which} was put back into the queue; it goes on in another job")
    if job.state in _STATES and (claimed or job.state not in ("CANCELLED", "TIMEOUT")):
        cause, what = _STATES[job.state]
        return Exit(cause, f"{which} {what}")
    said = last_printed(printed)
    if not claimed or _NOT_SET_UP in (job.signal, job.exit_code):
        why = said or _why_not_begun(job)
        return Exit(common.EXIT_CAUSE_LAUNCH_FAILED, brief(f"{which} could not begin: {why}"))
    if job.exit_code == TERMINATED:
        return Exit(common.EXIT_CAUSE_SIGNAL, f"{which} got SIGTERM, and ended")
    number = job.signal or (job.exit_code - 128 if job.exit_code in (137, 143) else 0)
    if number:
        return Exit(common.EXIT_CAUSE_SIGNAL, f"{which} was killed by signal {number}")
    return Exit(common.EXIT_CAUSE_EXCEPTION, brief(f"{which} left with exit code {job.exit_code}: {said}"))


def _why_not_begun(job: SlurmJob) -> str:
    if _NOT_SET_UP in (job.signal, job.exit_code):
        return (
            "Slurm could not set it up; most often its output cannot be written there: the node must see the data "
            "directory, or set MILEPOST_SLURM_OUTPUT_DIR to a folder that it sees"
        )
    return f"Slurm says {job.state}, {job.reason}, exit code {job.exit_code}:{job.signal}"
