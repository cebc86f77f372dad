"""Attempts as jobs of a Ray cluster: one job for each, whose id follows from the attempt.

What is known of an attempt is what the cluster says of its job, so a service that starts again sees what an earlier one
submitted, and the cluster refuses a second job with the same id. A job carries nothing but a ticket, which is good for
one claim of the launch (`LaunchService`): neither a command line nor what `ray job list` shows holds a secret, and a job
that a restarted cluster was given twice trains once. The job itself is `trainer.job`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from milepost import files
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.domain.runtime import Allocation
from milepost.errors import DeadlineExceeded, Unavailable
from milepost.eventlog import EventLogError
from milepost.names import AttemptKey
from milepost.storage import local_path
from services.rpc.threads import Threads
from services.runtime.launchers import LaunchFailed, Outage, last_word
from services.runtime.launchers.claims import WITHDRAWN, Claims
from services.runtime.launchers.ray_jobs import ClusterRefused, ClusterUnavailable, Job, JobRefused, JobServer, Use
from services.runtime.policies.control import Exit, Process
from services.runtime.policies.placement import Capacity, Node
from services.runtime.snapshots import ACCESSES, ACCESSES_PER_RUN
from services.supervision import Supervision

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
# In which a folder for snapshots must be made.
STORAGE_SECONDS = 60.0
CLUSTER_SECONDS = 5.0
# How long a submission is tried while the cluster does not answer.
SUBMIT_SECONDS = 60.0
# How long the end of a job is waited for: the job has `STOP_WAIT_SECONDS` of it to append what its driver left.
KILL_SECONDS = 45.0
KILL_POLL_SECONDS = 0.3
STOP_WAIT_SECONDS = 10
LOG_BYTES = 1 << 20
_DETAIL_CHARACTERS = 500
# What the job prints last, before an `AttemptEnded` as JSON.
LAST_WORD = "milepost-attempt-ended "

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


@dataclass(slots=True)
class _Known:
    """What is known of a job."""

    process: Process = Process.UNSEEN
    exit: Exit = field(default_factory=Exit)
    # By Milepost.
    killed: bool = False
    # What it holds of the cluster once it runs.
    use: Use = field(default_factory=Use)


class RayLauncher:
    """Runs drivers as jobs of a cluster that is there already."""

    takes_over = True

    def __init__(
        self,
        options: RayOptions,
        data_dir: Path,
        claims: Claims,
        ticket: Callable[[AttemptKey], str],
        runtime_address: Callable[[], str],
        server: JobServer | None = None,
    ) -> None:
        """Use a cluster.

        Args:
            ticket: makes what a job claims its launch with.
            runtime_address: where this service listens; asked once it does.
        """
        self._options = options
        self._data_dir = data_dir
        self._claims = claims
        self._threads = Threads(ACCESSES, ACCESSES_PER_RUN, "the access to a storage")
        self._ticket = ticket
        self._runtime_address = runtime_address
        self._server = server or JobServer(options.address, options.token_file, options.ca_file)
        self._known: dict[AttemptKey, _Known] = {}
        # Those of them that are looked at: they are held by the cluster, or it is not known. The others only grow in number.
        self._open: set[AttemptKey] = set()
        # Those whose end could not be seen yet.
        self._unkilled: set[AttemptKey] = set()
        self._capacity: Capacity | None = None
        # It was not asked yet.
        self._outage: Outage | None = Outage("RAY_UNAVAILABLE", "")
        self._looked = asyncio.Event()
        self._listeners: list[Callable[[AttemptKey], None]] = []
        self._room_listeners: list[Callable[[], None]] = []
        self._look_due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look at the cluster and at the jobs that are asked about."""
        loop = asyncio.get_running_loop()
        keep = Supervision().keep
        self._tasks = [loop.create_task(keep("ray jobs", self._follow_jobs))]
        if self._options.problem:
            self._outage = Outage("RAY_MISCONFIGURED", self._options.problem, passes=False)
            self._looked.set()
            log.error("ray.misconfigured", extra={"address": self._options.address, "detail": self._options.problem})
        else:
            self._tasks.append(loop.create_task(keep("ray cluster", self._follow_cluster)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def on_change(self, listener: Callable[[AttemptKey], None]) -> None:
        self._listeners.append(listener)

    def on_room(self, listener: Callable[[], None]) -> None:
        self._room_listeners.append(listener)

    # --- the cluster

    async def looked(self) -> None:
        await self._looked.wait()

    def outage(self) -> Outage | None:
        return self._outage

    def capacity(self) -> Capacity | None:
        return self._capacity

    async def _follow_cluster(self) -> None:
        while True:
            before = (self._capacity, self._outage)
            try:
                self._capacity = await self._measure()
                self._outage = None
            except ClusterRefused as error:
                self._outage = Outage(error.reason, error.message, passes=False)
            except ClusterUnavailable as error:
                self._outage = Outage(error.reason, error.message)
            self._looked.set()
            if self._outage != before[1]:
                log.log(
                    logging.WARNING if self._outage else logging.INFO,
                    "ray.unavailable" if self._outage else "ray.available",
                    extra={"address": self._options.address, "detail": self._outage.detail if self._outage else ""},
                )
            if (self._capacity, self._outage) != before:
                for listener in self._room_listeners:
                    listener()
            await asyncio.sleep(CLUSTER_SECONDS)

    async def _measure(self) -> Capacity:
        nodes = await self._server.nodes()
        use = await self._server.use()
        return cluster_capacity(self._options, nodes, use, self._own_use())

    def _own_use(self) -> Use:
        """Return what the jobs of Milepost that run hold."""
        running = [self._known[key].use for key in self._open if self._known[key].process is Process.RUNNING]
        return Use(
            sum(use.cpus for use in running),
            sum(use.memory_gigabytes for use in running),
            sum(use.gpus for use in running),
        )

    # --- seeing

    def observe(self, key: AttemptKey) -> tuple[Process, Exit]:
        if key not in self._known:
            # What an earlier service submitted, or nothing: the cluster is asked.
            self._know(key)
            self._look_due.set()
        known = self._known[key]
        return known.process, known.exit

    def _know(self, key: AttemptKey, process: Process | None = None) -> _Known:
        """Return what is known of a job; with a process that is what it is now."""
        known = self._known.setdefault(key, _Known())
        if process is not None:
            known.process = process
        if known.process.is_held or known.process is Process.UNSEEN:
            self._open.add(key)
        else:
            self._open.discard(key)
        return known

    async def _follow_jobs(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._look_due.wait()
            self._look_due.clear()
            for key in list(self._open):
                with suppress(ClusterUnavailable, ClusterRefused, EventLogError):
                    await self._look(key)
            for key in list(self._unkilled):
                with suppress(ClusterUnavailable, ClusterRefused, EventLogError):
                    await self._end(key)

    async def _look(self, key: AttemptKey) -> None:
        """Ask the cluster about a job."""
        known = self._known[key]
        try:
            job = await self._server.find(job_id(key))
        except (ClusterUnavailable, ClusterRefused):
            if known.process is Process.UNSEEN and key not in self._unkilled:
                # The log knows whether it began; whether it lives, its beats tell.
                claimed = await self._claims.holder(key)
                self._settle(key, Process.UNSEEN if claimed else Process.PENDING, Exit())
            raise
        await self._take_in(key, job)

    async def _take_in(self, key: AttemptKey, job: Job | None) -> None:
        known = self._known[key]
        if job is not None and not job.is_over:
            known.use = Use.of(job.metadata)
            self._settle(key, Process.RUNNING if job.status == "RUNNING" else Process.PENDING, Exit())
            return
        holder = await self._claims.holder(key)
        if job is None and not holder:
            self._settle(key, Process.ABSENT, Exit())
            return
        words = await self._take_logs(key) if job is not None else ""
        self._settle(key, Process.GONE, exit_of(job, words, claimed=holder not in ("", WITHDRAWN), killed=known.killed))

    def _settle(self, key: AttemptKey, process: Process, exit_: Exit) -> None:
        known = self._known[key]
        before = (known.process, known.exit)
        self._know(key, process).exit = exit_
        if process is Process.GONE:
            self._unkilled.discard(key)
        if before == (process, exit_):
            return
        extra = _fields(key, state=process.value)
        if process is Process.GONE:
            extra |= {"cause": common.ExitCause.Name(exit_.cause), "detail": exit_.detail}
        log.info("attempt.job_changed", extra=extra)
        for listener in self._listeners:
            listener(key)

    async def _take_logs(self, key: AttemptKey) -> str:
        """Bring what a job printed into the folder of its attempt, and return it."""
        try:
            text = await self._server.logs(job_id(key))
        except (ClusterUnavailable, ClusterRefused) as error:
            log.warning("attempt.logs_lost", extra=_fields(key, error=error.message))
            return ""
        with suppress(OSError):
            await asyncio.to_thread(_keep_logs, key.directory(self._data_dir), text)
        return text

    # --- starting

    async def launch(self, key: AttemptKey, launch: AttemptLaunch, environment: Mapping[str, str]) -> None:
        # `environment` stays here: the job fetches it with its ticket.
        try:
            await self._threads.run(str(key), STORAGE_SECONDS, _make_storage, launch.snapshot_storage_uri)
        except DeadlineExceeded as error:
            raise LaunchFailed(error.message) from error
        except OSError as error:
            raise LaunchFailed(f"the storage for snapshots cannot be written to: {error.strerror}") from error
        request = self._request(key, launch.configuration)
        deadline = time.monotonic() + SUBMIT_SECONDS
        while True:
            try:
                new = await self._server.submit(job_id(key), request)
                break
            except ClusterUnavailable as error:
                if time.monotonic() > deadline:
                    raise LaunchFailed(error.message) from error
                await asyncio.sleep(POLL_SECONDS)
            except JobRefused as error:
                raise LaunchFailed(error.message, deterministic=True) from error
            except ClusterRefused as error:
                raise LaunchFailed(error.message) from error
        self._know(key, Process.PENDING)
        self._look_due.set()
        log.info("attempt.launched", extra=_fields(key, job=job_id(key), adopted=not new))

    def _request(self, key: AttemptKey, configuration: RuntimeConfiguration) -> dict[str, Any]:
        variables = {
            "MILEPOST_LAUNCH_TICKET": self._ticket(key),
            "MILEPOST_RUNTIME_ADDRESS": self._options.runtime_address or self._runtime_address(),
            "MILEPOST_WORK_DIR": self._options.work_dir,
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_SECONDS),
        }
        return {
            # Without the current folder on the path: a user's own `trainer.py` must not take our place.
            "entrypoint": f"{self._options.python} -P -m trainer.job",
            "runtime_env": {"env_vars": variables},
            # For people who look at the cluster.
            "metadata": {
                "milepost_runtime": key.runtime_id,
                "milepost_trial": str(key.trial),
                "milepost_attempt": str(key.attempt),
                "milepost_name": configuration.name,
                **_use_of(configuration).words(),
            },
            **entrypoint_resources(configuration),
        }

    # --- ending

    async def kill(self, key: AttemptKey) -> None:
        if self._know(key).process is Process.GONE:
            return
        deadline = time.monotonic() + KILL_SECONDS
        while True:
            try:
                if await self._end(key):
                    return
                trouble = "it runs on"
            except (ClusterUnavailable, ClusterRefused, EventLogError) as error:
                trouble = str(error)
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(KILL_POLL_SECONDS)
        # The fence in the log keeps it from doing anything; when the cluster answers again it is ended.
        log.error("attempt.kill_failed", extra=_fields(key, job=job_id(key), error=trouble))
        self._unkilled.add(key)
        self._settle(key, Process.UNSEEN, Exit())

    async def _end(self, key: AttemptKey) -> bool:
        """Have a job end. False: it has not ended yet."""
        known = self._known[key]
        withdrawn = await self._claims.withdraw(key)
        if withdrawn:
            # Whenever it begins, it gets nothing to do. Ray keeps a job that waits for room waiting.
            known.killed = True
            self._settle(key, Process.GONE, Exit(common.EXIT_CAUSE_KILLED, "withdrawn before it began"))
            with suppress(ClusterUnavailable, ClusterRefused):
                await self._server.stop(job_id(key))
            return True
        job = await self._server.find(job_id(key))
        if job is not None and not job.is_over:
            if not known.killed:
                await self._server.stop(job_id(key))
                known.killed = True
            return False
        await self._take_in(key, job)
        return True

    async def purge(self, key: AttemptKey) -> None:
        await self._server.delete(job_id(key))
        try:
            await self._claims.forget(key)
        except EventLogError as error:
            raise Unavailable(str(error)) from error


def job_id(key: AttemptKey) -> str:
    """Return the id of the job of an attempt."""
    return f"milepost-{key.runtime_id}-trial-{key.trial}-attempt-{key.attempt}"


def entrypoint_resources(configuration: RuntimeConfiguration) -> dict[str, Any]:
    """Return what the command of a job asks of the cluster.

    With a worker group, the group asks for its workers itself, and the driver runs beside it for nothing.
    """
    if configuration.resources.workers > 0:
        return {}
    use = _use_of(configuration)
    asked: dict[str, Any] = {"entrypoint_num_cpus": use.cpus, "entrypoint_num_gpus": use.gpus}
    if use.memory_gigabytes:
        asked["entrypoint_memory"] = int(use.memory_gigabytes * 1e9)
    return asked


def _use_of(configuration: RuntimeConfiguration) -> Use:
    resources = configuration.resources
    processes = max(1, resources.workers)
    return Use(
        processes * resources.cpus_per_worker,
        processes * resources.memory_gigabytes_per_worker,
        processes * resources.gpus_per_worker,
    )


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
    word = _last_word(printed)
    if word is not None:
        return word
    if job.status == "STOPPED":
        return Exit(common.EXIT_CAUSE_SIGNAL, "its job was stopped on the cluster, not by Milepost")
    if job.error_type in _NODE_GONE:
        return Exit(common.EXIT_CAUSE_LOST, _brief(f"its job died with its node or its process: {job.message}"))
    if job.error_type in _NOT_BEGUN or not claimed:
        said = _last_printed(printed) or job.message
        return Exit(common.EXIT_CAUSE_LAUNCH_FAILED, _brief(f"its job could not begin on the cluster: {said}"))
    if job.exit_code in (137, -9):
        return Exit(common.EXIT_CAUSE_SIGNAL, "its job was killed by SIGKILL")
    code = "an unknown exit code" if job.exit_code is None else f"exit code {job.exit_code}"
    return Exit(common.EXIT_CAUSE_EXCEPTION, _brief(f"its job left with {code}: {_last_printed(printed)}"))


def _last_word(printed: str) -> Exit | None:
    for line in reversed(printed.splitlines()):
        if line.startswith(LAST_WORD) and (word := last_word(line.removeprefix(LAST_WORD))) is not None:
            return word
    return None


def _last_printed(printed: str) -> str:
    lines = printed.strip().splitlines()
    return lines[-1] if lines else ""


def _brief(text: str) -> str:
    return " ".join(text.split())[:_DETAIL_CHARACTERS]


def _keep_logs(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / "driver.log", text.encode()[-LOG_BYTES:])


def _make_storage(uri: str) -> None:
    """Make the folder that the job looks for, to know that it sees the same storage. An object store needs none."""
    folder = local_path(uri)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)


def _fields(key: AttemptKey, **more: object) -> dict[str, object]:
    return {"runtime": key.runtime_id, "trial": key.trial, "attempt": key.attempt, **more}
