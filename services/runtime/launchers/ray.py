"""Attempts as jobs of a Ray cluster: its side of `jobs`. The cluster refuses a second job with the same id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.domain.runtime import Allocation
from milepost.names import AttemptKey
from services.runtime.launchers.claims import Claims
from services.runtime.launchers.jobs import LAST_WORD as LAST_WORD
from services.runtime.launchers.jobs import (
    STOP_WAIT_SECONDS,
    JobLauncher,
    Use,
    brief,
    job_id,
    last_printed,
    last_word_in,
    use_of,
)
from services.runtime.launchers.ray_jobs import Job, JobServer, words
from services.runtime.policies.control import Exit
from services.runtime.policies.placement import Capacity, Node

_NOT_BEGUN = frozenset(
    {
        "RUNTIME_ENV_SETUP_FAILURE",
        "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
        "JOB_SUPERVISOR_ACTOR_START_FAILURE",
        "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
        "JOB_ENTRYPOINT_COMMAND_START_ERROR",
    }
)
_NODE_GONE = frozenset({"JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE"})


@dataclass(frozen=True, slots=True)
class RayOptions:
    """How a cluster is used. `cpus`, `gpus` and `memory_gigabytes` say what an autoscaler can make of it; None: what it has."""

    # `http(s)://host:port` of its dashboard.
    address: str
    token_file: Path | None = None
    ca_file: Path | None = None
    # Where the nodes of the cluster reach the runtime service, `host:port`. Empty: where it listens.
    runtime_address: str = ""
    # Where they reach NATS. Empty: where the runtime service does.
    nats_url: str = ""
    # The Python of the nodes in which the trainer is installed.
    python: str = "python"
    # Folder on the disk of each node for spools and unpacked code.
    work_dir: str = "/tmp/milepost"
    cpus: float | None = None
    gpus: float | None = None
    memory_gigabytes: float | None = None
    # Why it must not be used as it is set up. Empty: it may.
    problem: str = ""


class RayJobs:
    """The jobs of a Ray cluster."""

    kind = "ray"
    # Its jobs outlive whatever does not.
    unknown_seconds = 0.0

    def __init__(self, options: RayOptions, server: JobServer | None = None) -> None:
        self._options = options
        self._server = server or JobServer(options.address, options.token_file, options.ca_file)
        self.problem = options.problem

    async def measure(self, own: Use) -> Capacity:
        nodes = await self._server.nodes()
        use = await self._server.use()
        return cluster_capacity(self._options, nodes, use, own)

    async def refusal(self, configuration: RuntimeConfiguration) -> str:
        # What there is, the caller has compared.
        return ""

    async def submit(self, key: AttemptKey, configuration: RuntimeConfiguration, variables: Mapping[str, str]) -> bool:
        environment = {
            **variables,
            "MILEPOST_WORK_DIR": self._options.work_dir,
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_SECONDS),
        }
        request = {
            # Without the current folder on the path: a user's own `trainer.py` must not take our place.
            "entrypoint": f"{self._options.python} -P -m trainer.job",
            "runtime_env": {"env_vars": environment},
            # For people who look at the cluster.
            "metadata": {
                "milepost_runtime": key.runtime_id,
                "milepost_trial": str(key.trial),
                "milepost_attempt": str(key.attempt),
                "milepost_name": configuration.name,
                **words(use_of(configuration)),
            },
            **entrypoint_resources(configuration),
        }
        return await self._server.submit(job_id(key), request)

    async def find(self, key: AttemptKey, holder: str) -> Job | None:
        return await self._server.find(job_id(key))

    async def stop(self, key: AttemptKey, *, urgent: bool) -> None:
        await self._server.stop(job_id(key))

    async def delete(self, key: AttemptKey) -> None:
        await self._server.delete(job_id(key))

    async def logs(self, key: AttemptKey, holder: str) -> str:
        return await self._server.logs(job_id(key))

    def exit_of(self, job: Job | None, printed: str, *, claimed: bool, killed: bool) -> Exit:
        return exit_of(job, printed, claimed=claimed, killed=killed)


class RayLauncher(JobLauncher[Job]):
    """Runs drivers as jobs of a Ray cluster."""

    def __init__(
        self,
        options: RayOptions,
        data_dir: Path,
        claims: Claims,
        ticket: Callable[[AttemptKey], str],
        runtime_address: Callable[[], str],
        server: JobServer | None = None,
    ) -> None:
        """Use a cluster, as `JobLauncher` does. `runtime_address`: where this service listens."""
        super().__init__(
            RayJobs(options, server), data_dir, claims, ticket, lambda: options.runtime_address or runtime_address()
        )


def entrypoint_resources(configuration: RuntimeConfiguration) -> dict[str, Any]:
    """Return what the command of a job asks of the cluster.

    With a worker group, the group asks for its workers itself, and the driver runs beside it for nothing.
    """
    if configuration.resources.workers > 0:
        return {}
    use = use_of(configuration)
    asked: dict[str, Any] = {"entrypoint_num_cpus": use.cpus, "entrypoint_num_gpus": use.gpus}
    if use.memory_gigabytes:
        asked["entrypoint_memory"] = int(use.memory_gigabytes * 1e9)
    return asked


def cluster_capacity(options: RayOptions, nodes: list[Node], use: Use | None, own: Use) -> Capacity:
    """Describe a cluster: what it has, or may grow to, and what others than Milepost use of it."""
    cpus, memory, gpus = (
        (sum(values) for values in zip(*map(_amounts, nodes), strict=True)) if nodes else (0.0, 0.0, 0.0)
    )
    grows = any(limit is not None for limit in (options.cpus, options.memory_gigabytes, options.gpus))
    others = None
    if use is not None and not grows:
        others = Allocation(
            cpus=max(0.0, use.cpus - own.cpus),
            memory_gigabytes=max(0.0, use.memory_gigabytes - own.memory_gigabytes),
            gpus=(),
            host="",
            gpu_count=max(0.0, use.gpus - own.gpus),
        )
    return Capacity(
        host="the Ray cluster",
        cpus=max(cpus, options.cpus or 0.0),
        memory_gigabytes=max(memory, options.memory_gigabytes or 0.0),
        counted_gpus=max(gpus, options.gpus or 0.0),
        # Of machines that are yet to come nothing is known.
        nodes=() if grows else tuple(nodes),
        others=others,
    )


def _amounts(node: Node) -> tuple[float, float, float]:
    return node.cpus, node.memory_gigabytes, node.gpus


def exit_of(job: Job | None, printed: str, *, claimed: bool, killed: bool) -> Exit:
    """Say how an attempt ended.

    Args:
        job: that is over; None: the cluster does not know it any more.
        printed: what it printed.
        claimed: it got its launch, so it may have trained.
        killed: Milepost asked for its end.
    """
    if killed:
        return Exit(common.EXIT_CAUSE_KILLED, "killed by Milepost")
    if job is None:
        return Exit(
            common.EXIT_CAUSE_LOST, "the cluster does not know its job any more; it was started anew, or forgot it"
        )
    word = last_word_in(printed)
    if word is not None:
        return word
    if job.status == "STOPPED":
        return Exit(common.EXIT_CAUSE_SIGNAL, "its job was stopped on the cluster, not by Milepost")
    if job.error_type in _NODE_GONE:
        return Exit(common.EXIT_CAUSE_LOST, brief(f"its job died with its node or its process: {job.message}"))
    if job.error_type in _NOT_BEGUN or not claimed:
        said = last_printed(printed) or job.message
        return Exit(common.EXIT_CAUSE_LAUNCH_FAILED, brief(f"its job could not begin on the cluster: {said}"))
    if job.exit_code in (137, -9):
        return Exit(common.EXIT_CAUSE_SIGNAL, "its job was killed by SIGKILL")
    code = "an unknown exit code" if job.exit_code is None else f"exit code {job.exit_code}"
    return Exit(common.EXIT_CAUSE_EXCEPTION, brief(f"its job left with {code}: {last_printed(printed)}"))
