"""Slurm's commands, as far as the launcher needs them: run on this host, or on a login node through a prefix such as `ssh`.

Read as text in formats that are asked for, and not as JSON: what that holds differs from version to version, and most
commands of the older ones do not have it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from services.runtime.launchers.jobs import ClusterRefused, ClusterUnavailable, JobRefused, Use
from services.runtime.policies.placement import Node

log = logging.getLogger(__name__)

COMMAND_SECONDS = 30.0
MAX_ANSWER_BYTES = 32 << 20
_MESSAGE_CHARACTERS = 300
# What of the environment of this service its commands get; a job inherits the environment of `sbatch`.
_PASSED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "SLURM_CONF", "SSH_AUTH_SOCK")

PENDING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
OVER = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    }
)
# Of nodes on which nothing runs until somebody mends them.
_AWAY = frozenset({"down", "drained", "error", "fail", "failed", "future", "invalid_reg", "unknown"})
# What `sbatch` says when nothing is wrong with the job.
_NOT_NOW = re.compile(
    r"contact slurm controller|connect failure|Connection (refused|timed out)|timed out|Zero Bytes|temporarily|Resource "
    r"temporarily|controller not available|in standby|Unable to (contact|establish)|communication|munge|Protocol "
    r"authentication",
    re.IGNORECASE,
)
# It may be taken when others of the same user or account are over.
_LIMIT = re.compile(r"limit|quota", re.IGNORECASE)
_NO_COMMAND = 127
_SSH_FAILED = 255


class SlurmUnavailable(ClusterUnavailable):
    """slurmctld does not answer, or the login node does not."""

    reason = "SLURM_UNAVAILABLE"


class SlurmMissing(ClusterRefused):
    """Slurm's commands are not there."""

    reason = "SLURM_MISSING"


class SlurmJobRefused(JobRefused):
    """`sbatch` does not take a job. `passes`: because of a limit on what is there already."""

    reason = "SLURM_JOB_REFUSED"

    def __init__(self, message: str, *, passes: bool = False) -> None:
        super().__init__(message)
        self.passes = passes


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """What Slurm says of a job."""

    job_id: int
    # As squeue's %T has it.
    state: str
    # As %r has it: why it waits, or why it failed.
    reason: str = ""
    partition: str = ""
    node: str = ""
    # As `scontrol show job` has it, once it is over: the exit status and the signal of its script.
    exit_code: int = 0
    signal: int = 0
    # It was begun once, and waits to be begun again: its attempt is over.
    requeued: bool = False
    use: Use = field(default_factory=Use)

    @property
    def is_over(self) -> bool:
        return self.state in OVER or self.requeued

    @property
    def runs(self) -> bool:
        # What is not known might.
        return self.state not in PENDING and not self.is_over

    @property
    def waits(self) -> str:
        if self.state not in PENDING:
            return ""
        why = reason_words(self.reason)
        return f"job {self.job_id} waits in Slurm's queue{f' ({self.partition})' if self.partition else ''}: {why}"


_REASONS = {
    "None": "it is about to be looked at",
    "Priority": "other jobs are before it",
    "Resources": "there is no room for it yet",
    "Dependency": "it depends on another job",
    "BeginTime": "its begin lies in the future",
    "JobHeldUser": "it is held; scontrol release lets it go",
    "JobHeldAdmin": "an administrator holds it",
    "Reservation": "its reservation has not begun, or has no room",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved",
    "PartitionDown": "the partition is down: it takes jobs and starts none",
    "PartitionInactive": "the partition is inactive",
    "PartitionNodeLimit": "it needs more nodes than the partition allows: it never starts so",
    "PartitionTimeLimit": "its time limit is beyond that of the partition: it never starts so",
    "BadConstraints": "no node has what slurm.constraint asks for: it never starts so",
    "InvalidAccount": "slurm.account is not valid: it never starts so",
    "InvalidQOS": "slurm.qos is not valid: it never starts so",
    "Licenses": "it waits for a licence",
    "NodeDown": "a node that it needs is down",
    "launch failed requeued held": "it could not be started and is held",
}


def reason_words(reason: str) -> str:
    """Say in words why a job waits. A reason that is not known is given as it is."""
    name = reason.strip("()").partition(",")[0]
    if name in _REASONS:
        return f"{_REASONS[name]} ({name})"
    if re.search(r"^(Assoc|QOS).*(Limit|Max|Grp)|^MaxSubmit", name):
        return f"a limit of the account or of the quality of service is reached ({name})"
    return name or "it does not say why"


class SlurmCommands:
    """Runs Slurm's commands. Every method raises SlurmUnavailable and SlurmMissing."""

    def __init__(self, prefix: tuple[str, ...] = (), look_seconds: float = 1.0) -> None:
        """Use the commands of this host, or with a prefix those of another one.

        Args:
            prefix: `ssh login`: through a shell there, so every word is quoted. Any other is put before the words.
            look_seconds: so long what squeue said is what is.
        """
        self._prefix = prefix
        self._by_shell = bool(prefix) and PurePosixPath(prefix[0]).name == "ssh"
        self._look_seconds = look_seconds
        self._lock = asyncio.Lock()
        self._jobs: dict[str, list[SlurmJob]] = {}
        self._looked_at = float("-inf")

    @property
    def is_remote(self) -> bool:
        return bool(self._prefix)

    # --- jobs

    async def jobs(self, name: str, *, anew: bool = False) -> list[SlurmJob]:
        """List what slurmctld knows of the jobs of this user with a name, oldest first.

        Args:
            anew: not as they were a moment ago.
        """
        async with self._lock:
            if anew or time.monotonic() > self._looked_at + self._look_seconds:
                # Every job that it knows: those that are over it forgets after `MinJobAge`.
                shown = await self._run(["squeue", "--noheader", "--me", "--states=all", "--format=%A|%T|%r|%P|%N|%j"])
                self._jobs = parse_jobs(shown)
                self._looked_at = time.monotonic()
        return self._jobs.get(name, [])

    def forget_look(self) -> None:
        """Have the next question asked anew."""
        self._looked_at = float("-inf")

    async def details(self, job_id: int) -> dict[str, str]:
        """Return the fields of `scontrol show job`; empty: it does not know the job any more."""
        code, printed, said = await self._call(["scontrol", "--oneliner", "show", "job", str(job_id)])
        if code != 0 and "Invalid job id" in said:
            return {}
        self._check(code, said, "scontrol")
        return dict(word.split("=", 1) for word in printed.split() if "=" in word)

    async def submit(self, options: Iterable[str], script: str) -> int:
        """Submit a script. Returns the id of the job. Raises SlurmJobRefused."""
        code, printed, said = await self._call(["sbatch", "--parsable", *options], script)
        self.forget_look()
        if code == 0:
            # `id;cluster` where there are several clusters.
            number = printed.strip().splitlines()[-1].partition(";")[0] if printed.strip() else ""
            if number.isdigit():
                return int(number)
            raise SlurmUnavailable(f"sbatch named no job: {_brief(printed) or 'it printed nothing'}")
        raise self._sbatch_error(code, said)

    async def test(self, options: Iterable[str], script: str) -> str:
        """Ask whether a job would be taken. Returns why not, in Slurm's words; empty: it would."""
        code, _, said = await self._call(["sbatch", "--test-only", *options], script)
        if code == 0:
            return ""
        error = self._sbatch_error(code, said)
        if isinstance(error, SlurmJobRefused):
            return "" if error.passes else error.message
        raise error

    def _sbatch_error(self, code: int, said: str) -> Exception:
        try:
            self._check_way(code, said)
        except (SlurmUnavailable, SlurmMissing) as error:
            return error
        if _NOT_NOW.search(said):
            return SlurmUnavailable(f"Slurm does not answer: {_brief(said)}")
        return SlurmJobRefused(f"Slurm refuses the job: {_brief(said)}", passes=bool(_LIMIT.search(said)))

    async def signal(self, job_id: int, name: str, *, whole: bool) -> None:
        """Send a signal to the script of a job alone, or to everything that it runs. One that is over is fine."""
        await self._end(["scancel", "--full" if whole else "--batch", f"--signal={name}", str(job_id)])

    async def cancel(self, job_id: int) -> None:
        """Take a job out of the queue, or end it. One that is over is fine."""
        await self._end(["scancel", str(job_id)])

    async def _end(self, command: list[str]) -> None:
        code, _, said = await self._call(command)
        self.forget_look()
        if code != 0 and re.search(r"Invalid job id|already complet|Job/step", said):
            return
        self._check(code, said, "scancel")

    # --- the cluster

    async def nodes(self) -> list[Node]:
        """Return what its nodes offer that are not away."""
        return parse_nodes(await self._run(["sinfo", "--noheader", "--Node", "--format=%N|%c|%m|%G|%T"]))

    async def tail(self, path: str, size: int) -> str:
        """Return the end of a file where the commands run; empty: it is not there."""
        code, printed, said = await self._call(["tail", "-c", str(size), "--", path])
        self._check_way(code, said)
        return printed if code == 0 else ""

    # --- running

    async def _run(self, words: list[str]) -> str:
        code, printed, said = await self._call(words)
        self._check(code, said, words[0])
        return printed

    def _check(self, code: int, said: str, command: str) -> None:
        self._check_way(code, said)
        if code != 0:
            raise SlurmUnavailable(
                f"Slurm does not answer: {command} says {_brief(said) or f'nothing, exit code {code}'}"
            )

    def _check_way(self, code: int, said: str) -> None:
        """Tell what is wrong with the way to the commands from what is wrong behind it."""
        if code == _NO_COMMAND:
            where = f"by {shlex.join(self._prefix)}" if self._prefix else "on this host"
            raise SlurmMissing(
                f"Slurm's commands are not found {where}: install them there (Debian: slurm-client), or set "
                "MILEPOST_SLURM_COMMAND to what reaches a login node, such as 'ssh login'"
            )
        if self._by_shell and code == _SSH_FAILED:
            raise SlurmUnavailable(f"the login node does not answer ({shlex.join(self._prefix)}): {_brief(said)}")

    async def _call(self, words: list[str], text: str = "") -> tuple[int, str, str]:
        """Run a command. Returns its exit code, what it printed, and what it said of errors."""
        command = [*self._prefix, shlex.join(words)] if self._by_shell else [*self._prefix, *words]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=clean_environment(os.environ),
                cwd="/",
            )
        except FileNotFoundError:
            return _NO_COMMAND, "", f"{command[0]}: not found"
        except OSError as error:
            raise SlurmUnavailable(f"{command[0]} could not be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                printed, said = await process.communicate(text.encode())
        except TimeoutError as error:
            raise SlurmUnavailable(f"{words[0]} did not end within {COMMAND_SECONDS:.0f} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        shown = printed[:MAX_ANSWER_BYTES].decode(errors="replace")
        return process.returncode or 0, shown, said[:MAX_ANSWER_BYTES].decode(errors="replace")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what Slurm's commands get of an environment: a job inherits it, and must not inherit the service's secrets."""
    return {name: environment[name] for name in _PASSED if name in environment}


def parse_jobs(shown: str) -> dict[str, list[SlurmJob]]:
    """Read what squeue shows, by name."""
    jobs: dict[str, list[SlurmJob]] = {}
    for line in shown.splitlines():
        parts = line.strip().split("|", 5)
        if len(parts) == 6 and parts[0].isdigit():
            number, state, reason, partition, node, name = parts
            jobs.setdefault(name, []).append(SlurmJob(int(number), state, reason, partition, node))
    for found in jobs.values():
        found.sort(key=lambda job: job.job_id)
    return jobs


def parse_nodes(shown: str) -> list[Node]:
    """Read what sinfo shows. A node is there once for each of its partitions."""
    nodes: dict[str, Node] = {}
    for line in shown.splitlines():
        parts = line.strip().split("|")
        if len(parts) != 5 or re.sub(r"[^a-z_].*", "", parts[4].lower()) in _AWAY:
            continue
        name, cpus, memory, gres = parts[:4]
        if cpus.isdigit() and memory.isdigit():
            # Megabytes there are 2^20 bytes.
            nodes[name] = Node(float(cpus), int(memory) * (1 << 20) / 1e9, float(_gpus(gres)))
    return list(nodes.values())


def _gpus(gres: str) -> int:
    """Count the GPUs in generic resources such as `gpu:a100:4(S:0-1),gpu:1`."""
    counts = re.findall(r"(?:^|,)gpu(?::[A-Za-z][^:,(]*)?(?::(\d+))?(?=[,(]|$)", gres)
    return sum(int(count or 1) for count in counts)


def _brief(text: str) -> str:
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ").strip() for line in text.strip().splitlines()]
    # The last line is Slurm's judgement, those before it say more.
    shown = "; ".join(dict.fromkeys(line for line in lines if line))
    return shown[:_MESSAGE_CHARACTERS]
