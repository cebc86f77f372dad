"""Attempts as jobs of a cluster that is there already: one job for each, whose name follows from the attempt.

What is known of an attempt is what the cluster says of its job, so a service that starts again sees what an earlier one
submitted. A job carries nothing but a ticket, which is good for one claim of the launch (`LaunchService`): what a cluster
shows of its jobs holds no secret, and a job that it was given twice, or starts twice, trains once. The job itself is
`trainer.job`. What a kind of cluster has of its own is a `JobCluster`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from milepost import files
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.errors import DeadlineExceeded, FailedPrecondition, Unavailable
from milepost.eventlog import EventLogError
from milepost.names import AttemptKey
from milepost.storage import local_path
from services.rpc.threads import Threads
from services.runtime.launchers import LaunchFailed, Outage, last_word, log_fields
from services.runtime.launchers.claims import WITHDRAWN, Claims
from services.runtime.policies.control import Exit, Process
from services.runtime.policies.placement import Capacity
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
# Beyond these, a job that was asked to end is ended.
PATIENCE_SECONDS = 5
# A job is said to wait once it has waited for so long, and something else no sooner after that.
WAITS_SECONDS = 5.0
WAITS_AGAIN_SECONDS = 30.0
LOG_BYTES = 1 << 20
_DETAIL_CHARACTERS = 500
# What the job prints last, before an `AttemptEnded` as JSON.
LAST_WORD = "milepost-attempt-ended "


class ClusterUnavailable(Unavailable):
    """The cluster does not answer, or not now."""


class ClusterRefused(FailedPrecondition):
    """The cluster does not let this service in. Stays until somebody mends it."""


class JobRefused(FailedPrecondition):
    """The cluster does not take a job as it was described. `passes`: later it may."""

    passes = False


@dataclass(frozen=True, slots=True)
class Use:
    """How much of the resources of a cluster is in use. `memory_gigabytes` in units of 10^9 bytes."""

    cpus: float = 0.0
    memory_gigabytes: float = 0.0
    gpus: float = 0.0


class AJob(Protocol):
    """What a cluster says of a job."""

    @property
    def is_over(self) -> bool: ...

    @property
    def runs(self) -> bool:
        """Whether it has begun, and is not over."""
        ...

    @property
    def use(self) -> Use:
        """What it holds of the cluster, or will."""
        ...

    @property
    def waits(self) -> str:
        """What it waits for, for people. Empty: it does not, or that is not known."""
        ...


J = TypeVar("J", bound=AJob)


class JobCluster(Protocol[J]):
    """A cluster that takes jobs. Every method that is asked raises ClusterUnavailable and ClusterRefused."""

    # In log lines and reasons: `ray`.
    kind: str
    # Why it must not be used as it is set up. Empty: it may.
    problem: str
    # For so long a job that began has to be unknown before it counts as gone.
    unknown_seconds: float

    async def measure(self, own: Use) -> Capacity:
        """Say what it has. `own`: what the jobs of Milepost that run hold of it."""
        ...

    async def refusal(self, configuration: RuntimeConfiguration) -> str:
        """Say why it would not take a job as it is described. Empty: it would."""
        ...

    async def submit(self, key: AttemptKey, configuration: RuntimeConfiguration, variables: Mapping[str, str]) -> bool:
        """Submit the job of an attempt. False: there is one already.

        Args:
            variables: of its environment. They hold its ticket, so no command line may show them.

        Raises:
            JobRefused: the cluster does not take it.
        """
        ...

    async def find(self, key: AttemptKey, holder: str) -> J | None:
        """Return what is known of the job of an attempt. None: nothing.

        Args:
            holder: the claim of who has its launch. Empty: nobody has it yet.
        """
        ...

    async def stop(self, key: AttemptKey, *, urgent: bool) -> None:
        """Ask for the end of a job; urgent: it was asked before, and did not end."""
        ...

    async def delete(self, key: AttemptKey) -> None:
        """Make the cluster forget a job that is over."""
        ...

    async def logs(self, key: AttemptKey, holder: str) -> str:
        """Return the end of what a job printed; empty where that is not to be had any more. `holder`: as in `find`."""
        ...

    def exit_of(self, job: J | None, printed: str, *, claimed: bool, killed: bool) -> Exit:
        """Say how an attempt ended.

        Args:
            job: that is over; None: the cluster does not know it any more.
            printed: the end of what it printed.
            claimed: it got its launch, so it may have trained.
            killed: Milepost asked for its end.
        """
        ...


@dataclass(slots=True)
class _Known:
    """What is known of a job."""

    process: Process = Process.UNSEEN
    exit: Exit = field(default_factory=Exit)
    # By Milepost, and when for the first time, by the monotonic clock.
    killed: bool = False
    killed_at: float = 0.0
    urged: bool = False
    # What it holds of the cluster once it runs.
    use: Use = field(default_factory=Use)
    # What it is said to wait for, and since when it waits or is said to, by the monotonic clock.
    waits: str = ""
    waits_since: float = 0.0
    # Since when the cluster does not know a job that began, by the monotonic clock. 0: it knows it.
    unknown_since: float = 0.0


class JobLauncher(Generic[J]):
    """Runs drivers as jobs of a cluster that is there already."""

    takes_over = True

    def __init__(
        self,
        cluster: JobCluster[J],
        data_dir: Path,
        claims: Claims,
        ticket: Callable[[AttemptKey], str],
        runtime_address: Callable[[], str],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Use a cluster.

        Args:
            ticket: makes what a job claims its launch with.
            runtime_address: where its nodes reach this service; asked once it listens.
        """
        self._cluster = cluster
        self._data_dir = data_dir
        self._claims = claims
        self._threads = Threads(ACCESSES, ACCESSES_PER_RUN, "the access to a storage")
        self._ticket = ticket
        self._runtime_address = runtime_address
        self._poll_seconds = poll_seconds
        self._known: dict[AttemptKey, _Known] = {}
        # Those of them that are looked at: they are held by the cluster, or it is not known. The others only grow in number.
        self._open: set[AttemptKey] = set()
        # Those whose end could not be seen yet.
        self._unkilled: set[AttemptKey] = set()
        self._capacity: Capacity | None = None
        # It was not asked yet.
        self._outage: Outage | None = Outage(f"{cluster.kind.upper()}_UNAVAILABLE", "")
        self._looked = asyncio.Event()
        self._listeners: list[Callable[[AttemptKey], None]] = []
        self._room_listeners: list[Callable[[], None]] = []
        self._look_due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look at the cluster and at the jobs that are asked about."""
        loop = asyncio.get_running_loop()
        keep, cluster = Supervision().keep, self._cluster
        self._tasks = [loop.create_task(keep(f"{cluster.kind} jobs", self._follow_jobs))]
        if cluster.problem:
            self._outage = Outage(f"{cluster.kind.upper()}_MISCONFIGURED", cluster.problem, passes=False)
            self._looked.set()
            log.error(f"{cluster.kind}.misconfigured", extra={"detail": cluster.problem})
        else:
            self._tasks.append(loop.create_task(keep(f"{cluster.kind} cluster", self._follow_cluster)))

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

    async def refusal(self, configuration: RuntimeConfiguration) -> str:
        if self._outage is not None:
            # It waits until the cluster can be asked, and is refused then.
            return ""
        try:
            return await self._cluster.refusal(configuration)
        except (ClusterUnavailable, ClusterRefused):
            return ""

    async def _follow_cluster(self) -> None:
        kind = self._cluster.kind
        while True:
            before = (self._capacity, self._outage)
            try:
                self._capacity = await self._cluster.measure(self._own_use())
                self._outage = None
            except ClusterRefused as error:
                self._outage = Outage(error.reason, error.message, passes=False)
            except ClusterUnavailable as error:
                self._outage = Outage(error.reason, error.message)
            self._looked.set()
            if self._outage != before[1]:
                log.log(
                    logging.WARNING if self._outage else logging.INFO,
                    f"{kind}.unavailable" if self._outage else f"{kind}.available",
                    extra={"detail": self._outage.detail if self._outage else ""},
                )
            if (self._capacity, self._outage) != before:
                for listener in self._room_listeners:
                    listener()
            await asyncio.sleep(CLUSTER_SECONDS)

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

    def waits(self, key: AttemptKey) -> str:
        known = self._known.get(key)
        return known.waits if known is not None and known.process is Process.PENDING else ""

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
                async with asyncio.timeout(self._poll_seconds):
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
            job = await self._find(key)
        except (ClusterUnavailable, ClusterRefused):
            if known.process is Process.UNSEEN and key not in self._unkilled:
                # The log knows whether it began; whether it lives, its beats tell.
                claimed = await self._claims.holder(key)
                self._settle(key, Process.UNSEEN if claimed else Process.PENDING, Exit())
            raise
        await self._take_in(key, job)

    async def _find(self, key: AttemptKey) -> J | None:
        holder = await self._claims.holder(key)
        return await self._cluster.find(key, "" if holder == WITHDRAWN else holder)

    async def _take_in(self, key: AttemptKey, job: J | None) -> bool:
        """Take in what a cluster says of a job. Returns whether it says that nothing of it runs."""
        known = self._known[key]
        if job is not None:
            known.unknown_since = 0.0
        if job is not None and not job.is_over:
            known.use = job.use
            waits_on = self._note_waiting(known, "" if job.runs else job.waits)
            self._settle(key, Process.RUNNING if job.runs else Process.PENDING, Exit(), changed=waits_on)
            return False
        holder = await self._claims.holder(key)
        if job is None and not holder:
            self._settle(key, Process.ABSENT, Exit())
            return True
        if job is None:
            # A controller that has just come back may not have read yet what it knew; its heartbeats tell meanwhile.
            known.unknown_since = known.unknown_since or time.monotonic()
            if time.monotonic() < known.unknown_since + self._cluster.unknown_seconds:
                self._settle(key, Process.UNSEEN, Exit())
                return False
        claimed = holder not in ("", WITHDRAWN)
        printed = await self._take_logs(key, holder if claimed else "")
        self._settle(key, Process.GONE, self._cluster.exit_of(job, printed, claimed=claimed, killed=known.killed))
        return True

    def _note_waiting(self, known: _Known, waits: str) -> bool:
        """Note what a job waits for. Returns whether there is something new to say of it."""
        now = time.monotonic()
        if not waits:
            known.waits, known.waits_since = "", 0.0
            return False
        known.waits_since = known.waits_since or now
        pause = WAITS_AGAIN_SECONDS if known.waits else WAITS_SECONDS
        if waits == known.waits or now < known.waits_since + pause:
            return False
        known.waits, known.waits_since = waits, now
        return True

    def _settle(self, key: AttemptKey, process: Process, exit_: Exit, *, changed: bool = False) -> None:
        known = self._known[key]
        before = (known.process, known.exit)
        self._know(key, process).exit = exit_
        if process is Process.GONE:
            self._unkilled.discard(key)
        if before == (process, exit_) and not changed:
            return
        extra = log_fields(key, state=process.value)
        if process is Process.GONE:
            extra |= {"cause": common.ExitCause.Name(exit_.cause), "detail": exit_.detail}
        log.info("attempt.job_changed", extra=extra)
        for listener in self._listeners:
            listener(key)

    async def _take_logs(self, key: AttemptKey, holder: str) -> str:
        """Bring what a job printed into the folder of its attempt, and return it."""
        try:
            text = await self._cluster.logs(key, holder)
        except (ClusterUnavailable, ClusterRefused) as error:
            log.warning("attempt.logs_lost", extra=log_fields(key, error=error.message))
            return ""
        if text:
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
        variables = {
            "MILEPOST_LAUNCH_TICKET": self._ticket(key),
            "MILEPOST_RUNTIME_ADDRESS": self._runtime_address(),
        }
        deadline = time.monotonic() + SUBMIT_SECONDS
        while True:
            try:
                new = await self._cluster.submit(key, launch.configuration, variables)
                break
            except ClusterUnavailable as error:
                if time.monotonic() > deadline:
                    raise LaunchFailed(error.message) from error
                await asyncio.sleep(POLL_SECONDS)
            except JobRefused as error:
                raise LaunchFailed(error.message, deterministic=not error.passes) from error
            except ClusterRefused as error:
                raise LaunchFailed(error.message) from error
        self._know(key, Process.PENDING)
        self._look_due.set()
        log.info("attempt.launched", extra=log_fields(key, job=job_id(key), adopted=not new))

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
        log.error("attempt.kill_failed", extra=log_fields(key, job=job_id(key), error=trouble))
        self._unkilled.add(key)
        self._settle(key, Process.UNSEEN, Exit())

    async def _end(self, key: AttemptKey) -> bool:
        """Have a job end. False: it has not ended yet."""
        known = self._known[key]
        withdrawn = await self._claims.withdraw(key)
        if withdrawn:
            # Whenever it begins, it gets nothing to do. A cluster keeps a job that waits for room waiting.
            known.killed = True
            self._settle(key, Process.GONE, Exit(common.EXIT_CAUSE_KILLED, "withdrawn before it began"))
            with suppress(ClusterUnavailable, ClusterRefused):
                await self._cluster.stop(key, urgent=True)
            return True
        job = await self._find(key)
        if job is not None and not job.is_over:
            await self._ask_for_end(key, known)
            return False
        return await self._take_in(key, job)

    async def _ask_for_end(self, key: AttemptKey, known: _Known) -> None:
        if not known.killed:
            await self._cluster.stop(key, urgent=False)
            known.killed, known.killed_at = True, time.monotonic()
        elif not known.urged and time.monotonic() > known.killed_at + STOP_WAIT_SECONDS + PATIENCE_SECONDS:
            await self._cluster.stop(key, urgent=True)
            known.urged = True

    async def purge(self, key: AttemptKey) -> None:
        await self._cluster.delete(key)
        try:
            await self._claims.forget(key)
        except EventLogError as error:
            raise Unavailable(str(error)) from error
        self._known.pop(key, None)
        self._open.discard(key)
        self._unkilled.discard(key)


def job_id(key: AttemptKey) -> str:
    """Return the id, or the name, of the job of an attempt."""
    return f"milepost-{key.runtime_id}-trial-{key.trial}-attempt-{key.attempt}"


def use_of(configuration: RuntimeConfiguration) -> Use:
    """Return what one trial of a configuration holds."""
    resources = configuration.resources
    processes = max(1, resources.workers)
    return Use(
        processes * resources.cpus_per_worker,
        processes * resources.memory_gigabytes_per_worker,
        processes * resources.gpus_per_worker,
    )


def last_word_in(printed: str) -> Exit | None:
    """Find what a job said of its end in what it printed. None: it said nothing."""
    for line in reversed(printed.splitlines()):
        if line.startswith(LAST_WORD) and (word := last_word(line.removeprefix(LAST_WORD))) is not None:
            return word
    return None


def last_printed(printed: str) -> str:
    """Return the last line that a job printed."""
    lines = printed.strip().splitlines()
    return lines[-1] if lines else ""


def brief(text: str) -> str:
    """Cut a text to what becomes part of an event."""
    return " ".join(text.split())[:_DETAIL_CHARACTERS]


def _keep_logs(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / "driver.log", text.encode()[-LOG_BYTES:])


def _make_storage(uri: str) -> None:
    """Make the folder that the job looks for, to know that it sees the same storage. An object store needs none."""
    folder = local_path(uri)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
