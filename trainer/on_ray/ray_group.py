"""The worker group of an attempt as its driver sees it: the process that drives Ray, the ranks, and how they end."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from milepost import files
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.api.training.v1.training_pb2 import Finished, GroupEnded, Hello
from milepost.training.process.streams import RECORDS, STDERR, STDOUT
from milepost.training.telemetry.marker import marker_path, read_marker
from trainer.capture import LineSource
from trainer.exits import Ending, ProcessExit, signal_name

log = logging.getLogger(__name__)

# The program that drives Ray.
HOST_MODULE = "trainer.on_ray.ray_host"
# After the first sign of an end: how long the cause may take to show, and the other ranks to send what they have.
SETTLE_SECONDS = 2.0
FAREWELL_SECONDS = 12.0
# After the first rank has returned: how long the others may take.
LAST_RANK_SECONDS = 600.0
# A folder for sockets must have a short name: a path of a socket has at most 107 characters.
MAX_FOLDER = 44
_STREAMS = {STDOUT: telemetry.LOG_STREAM_STDOUT, STDERR: telemetry.LOG_STREAM_STDERR}
_PIPE_SECONDS = 5.0
# Names the folder, so that whoever kills the driver can remove it.
_FOLDER_FILE = "ray-folder"


@dataclass(slots=True)
class RankState:
    """What is known of one rank."""

    host: str = ""
    process: psutil.Process | None = None
    finished: Finished | None = None
    # Its connection has ended; and that was not our doing.
    gone: bool = False
    lost: bool = False
    outputs: set[asyncio.Task[None]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Failure:
    """The first thing that went wrong."""

    cause: common.ExitCause
    detail: str
    rank: int | None = None


class RayGroup:
    """Starts the process that drives Ray, follows the ranks, and ends all of it."""

    def __init__(self, directory: Path, workers: int, sink: Callable[[LogLine], None]) -> None:
        self._directory = directory
        self._sources = [LineSource(rank, partial(self._step_of, rank), sink) for rank in range(workers)]
        self._ranks = [RankState() for _ in range(workers)]
        self._host: asyncio.subprocess.Process | None = None
        self._folder: Path | None = None
        self._ended: GroupEnded | None = None
        self._failures: list[Failure] = []
        self._changed = asyncio.Event()
        # Set when `wait` is over: what dies from then on was ended by us.
        self._over = False
        self._host_code: int | None = None
        self._known: dict[int, psutil.Process] = {}

    def last_step(self) -> int:
        """Return the last step that all ranks are known to have done."""
        return min(read_marker(marker_path(self._directory, rank)) for rank in range(len(self._ranks)))

    def _step_of(self, rank: int) -> int:
        """Return the last step that a rank is known to have done; 0 where its marker is on another host."""
        return read_marker(marker_path(self._directory, rank))

    # --- starting

    async def start(self, environment: Mapping[str, str], folder: Path) -> None:
        """Start the process that drives Ray.

        Raises:
            OSError: it cannot be started.
        """
        variables = {**environment, "MILEPOST_DRIVER_PROCESS": str(os.getpid()), "MILEPOST_WORK_FOLDER": str(folder)}
        if not environment.get("RAY_ADDRESS"):
            self._folder = make_folder()
            files.write(self._directory / _FOLDER_FILE, str(self._folder))
            variables["MILEPOST_RAY_FOLDER"] = str(self._folder)
        self._host = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", HOST_MODULE, stdin=asyncio.subprocess.DEVNULL, env=variables
        )

    # --- what the ranks say

    def connected(self, rank: int, hello: Hello) -> None:
        """A rank has made contact."""
        state = self._ranks[rank]
        state.host = hello.host
        if hello.host == socket.gethostname():
            with suppress(psutil.Error):
                state.process = psutil.Process(hello.process_id)

    async def read_output(self, rank: int, stream: str, reader: asyncio.StreamReader) -> None:
        """Take the output of a rank until it ends."""
        if not 0 <= rank < len(self._ranks) or stream not in (STDOUT, STDERR, RECORDS):
            return
        task = asyncio.current_task()
        assert task is not None
        self._ranks[rank].outputs.add(task)
        try:
            if stream == RECORDS:
                await self._sources[rank].read_records(reader)
            else:
                await self._sources[rank].read_output(reader, _STREAMS[stream])
        finally:
            self._ranks[rank].outputs.discard(task)

    def finished(self, rank: int, report: Finished) -> None:
        """A rank has said how its entrypoint ended."""
        self._ranks[rank].finished = report
        if report.outcome == facts.ATTEMPT_OUTCOME_FAILED:
            self._fail(Failure(report.cause, report.detail, rank))
        self._changed.set()

    def gone(self, rank: int) -> None:
        """The connection of a rank has ended."""
        state = self._ranks[rank]
        state.gone = True
        if state.finished is None:
            state.lost = not self._over
            self._fail(Failure(common.EXIT_CAUSE_SIGNAL, "its process was killed or crashed", rank))
        self._changed.set()

    def ended(self, report: GroupEnded) -> None:
        """The process that drives Ray has said how the group ended."""
        self._ended = report
        self._changed.set()

    def _fail(self, failure: Failure) -> None:
        if not self._over:
            self._failures.append(failure)

    # --- the end

    async def wait(self) -> None:
        """Wait until the group is over: every rank has returned, or something went wrong."""
        assert self._host is not None
        host = asyncio.create_task(self._host.wait())
        try:
            while not (self._over or self._failures or self._ended or host.done() or self._all_finished()):
                await self._wait_change(host, LAST_RANK_SECONDS if self._any_finished() else None)
                if self._any_finished() and not self._changed.is_set() and not host.done():
                    break
                self._changed.clear()
            if not (self._over or self._all_finished()):
                await self._settle(host)
            await self._wait_outputs()
        finally:
            self._over, self._host_code = True, self._host.returncode
            host.cancel()

    async def _wait_change(self, host: asyncio.Task[int], seconds: float | None) -> None:
        changed = asyncio.create_task(self._changed.wait())
        await asyncio.wait({changed, host}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()

    async def _settle(self, host: asyncio.Task[int]) -> None:
        """Let the cause show itself, and let those ranks end that can."""
        loop = asyncio.get_running_loop()
        first = loop.time()
        while loop.time() < first + FAREWELL_SECONDS and not self._over:
            await asyncio.wait({host}, timeout=0.1)
            over = all(state.gone or state.finished is not None for state in self._ranks)
            if loop.time() > first + SETTLE_SECONDS and (over or self._host_is_out(host)):
                break

    def _host_is_out(self, host: asyncio.Task[int]) -> bool:
        """Return whether nothing of the group can go on. Ranks that were never there need no farewell."""
        return host.done() or self._ended is not None or not any(state.host for state in self._ranks)

    async def _wait_outputs(self) -> None:
        outputs = {task for state in self._ranks for task in state.outputs}
        if outputs:
            await asyncio.wait(outputs, timeout=_PIPE_SECONDS)

    def _all_finished(self) -> bool:
        return all(state.finished is not None for state in self._ranks)

    def _any_finished(self) -> bool:
        return any(state.finished is not None for state in self._ranks)

    def conclude(self, *, memory_killed: bool, ordered_kill: bool) -> tuple[Ending, list[facts.InstanceExited]]:
        """Type the end of the attempt, and that of each rank. Call it after `wait`."""
        failure = self._failure(memory_killed)
        exits = [self._exit_of(rank, state, failure, ordered_kill) for rank, state in enumerate(self._ranks)]
        first = self._ranks[0].finished
        if ordered_kill and first is None:
            detail = "killed by an abrupt stop"
            ending = Ending(facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_KILLED, detail, self.last_step())
        elif failure is not None:
            detail = failure.detail if failure.rank is None else f"rank {failure.rank}: {failure.detail}"
            ending = Ending(facts.ATTEMPT_OUTCOME_FAILED, failure.cause, detail, self._last_step(), self._unsent())
        elif first is not None:
            ending = Ending(first.outcome, first.cause, first.detail, first.last_step, self._unsent())
        else:
            detail = "the worker group ended before its entrypoint returned"
            ending = Ending(facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_EXCEPTION, detail, self._last_step())
        return ending, [exited for exited in exits if exited is not None]

    def _failure(self, memory_killed: bool) -> Failure | None:
        """Return what went wrong first, by weight of the evidence: a dead daemon kills ranks, a dead rank others."""
        if self._ended is not None and self._ended.detail.startswith("Ray's "):
            return Failure(self._ended.cause, self._ended.detail)
        if self._host_code and self._ended is None:
            process = ProcessExit.of(self._host_code)
            how = (
                f"was killed by {signal_name(process.signal)}"
                if process.signal
                else f"ended with exit status {process.exit_code}"
            )
            return Failure(common.EXIT_CAUSE_SIGNAL, f"the process that drives Ray {how}")
        if self._failures:
            first = self._failures[0]
            died = first.cause == common.EXIT_CAUSE_SIGNAL
            if died and (memory_killed or self._ended_for_memory()):
                detail = "its process was killed: the machine's memory was used up"
                return Failure(common.EXIT_CAUSE_OUT_OF_MEMORY, detail, first.rank)
            return first
        if self._ended is not None and not self._all_finished():
            return Failure(self._ended.cause, self._ended.detail or "the worker group ended before its ranks returned")
        if not self._all_finished() and self._any_finished():
            late = [str(rank) for rank, state in enumerate(self._ranks) if state.finished is None]
            if self._ranks[0].finished is None:
                detail = f"rank {', '.join(late)} did not end within {LAST_RANK_SECONDS:g} s of the others"
                return Failure(common.EXIT_CAUSE_LOST, detail)
        return None

    def _ended_for_memory(self) -> bool:
        return self._ended is not None and self._ended.cause == common.EXIT_CAUSE_OUT_OF_MEMORY

    def _last_step(self) -> int:
        return max([self.last_step(), *(s.finished.last_step for s in self._ranks if s.finished is not None)])

    def _unsent(self) -> int:
        return sum(s.finished.unsent_batch_count for s in self._ranks if s.finished is not None)

    def _exit_of(
        self, rank: int, state: RankState, failure: Failure | None, ordered_kill: bool
    ) -> facts.InstanceExited | None:
        if not state.host:
            return None
        exited = facts.InstanceExited(rank=rank)
        if state.finished is not None:
            exited.cause, exited.detail = state.finished.cause, state.finished.detail
        elif ordered_kill:
            exited.cause, exited.detail = common.EXIT_CAUSE_KILLED, "killed by an abrupt stop"
        elif failure is not None and failure.rank == rank:
            exited.cause, exited.detail = failure.cause, failure.detail
        elif state.lost:
            exited.cause, exited.detail = common.EXIT_CAUSE_SIGNAL, "its process was killed or crashed"
        else:
            exited.cause, exited.detail = common.EXIT_CAUSE_KILLED, "ended with its group"
        return exited

    def _remember(self) -> None:
        """Remember the processes of the group as they are now: once their parents are gone nothing leads to them."""
        if self._host is None:
            return
        with suppress(psutil.Error):
            for process in psutil.Process(self._host.pid).children(recursive=True):
                self._known.setdefault(process.pid, process)

    def kill(self) -> None:
        """End every process of the group on this host at once."""
        self._over = True
        self._changed.set()
        self._remember()
        if self._host is not None and self._host.returncode is None:
            with suppress(ProcessLookupError):
                self._host.send_signal(signal.SIGKILL)
        ranks = [state.process for state in self._ranks if state.process is not None]
        for process in [*self._known.values(), *ranks]:
            # Compares the time of creation: a number that was given anew is left alone.
            with suppress(psutil.Error):
                process.kill()

    async def close(self) -> None:
        """End what is left, and remove the files of the Ray instance."""
        self.kill()
        if self._host is not None:
            await self._host.wait()
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, True)
            (self._directory / _FOLDER_FILE).unlink(missing_ok=True)


def make_folder() -> Path:
    """Make the folder of a Ray instance: private, and with a short name."""
    base = tempfile.gettempdir()
    if len(base) > MAX_FOLDER - len("/mp-ray-12345678"):
        base = "/tmp"
    return Path(tempfile.mkdtemp(prefix="mp-ray-", dir=base))
