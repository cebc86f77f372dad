"""The process in which user code runs: `python -m milepost.training.process.worker`. Started by the driver, never by hand."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1.telemetry_pb2 import Sender
from milepost.api.training.v1.training_pb2 import AttemptLaunch, Finished, Hello, InstanceReport
from milepost.training.loop.host import Rank
from milepost.training.loop.parameters import BadParameter, bind
from milepost.training.loop.stop import Stopped
from milepost.training.loop.training_loop import TrainingLoop
from milepost.training.loop.trial import Trial
from milepost.training.process.console import OWN_LOGGER, LogPipe, divert_handlers, pipe_from_environment
from milepost.training.process.environment import EnvironmentRecord
from milepost.training.process.host import ManagedHost
from milepost.training.process.link import DriverChannel
from milepost.training.process.local_mode import enter_with_ray_train
from milepost.training.process.memory import limit_memory, release_reserve, tells_of_memory
from milepost.training.process.process_end import describe_error
from milepost.training.saving.keeper import COMMIT_SECONDS
from milepost.training.saving.savable import StateNotSavable
from milepost.training.telemetry.addresses import Addresses
from milepost.training.telemetry.background import Background
from milepost.training.telemetry.batches import Position
from milepost.training.telemetry.marker import StepMarker, marker_path
from milepost.training.user_code.entrypoint import EntrypointError, load_entrypoint

LAUNCH_VARIABLE = "MILEPOST_LAUNCH"
DRIVER_VARIABLE = "MILEPOST_DRIVER"
TOKEN_VARIABLE = "MILEPOST_DRIVER_TOKEN"
# How long the end of an attempt waits for the broker.
DRAIN_SECONDS = 10.0
# How long a rank that has failed waits for the snapshot under way: another rank may never write its part.
_FAILED_RANK_SECONDS = 30.0
# Exit status of a process whose driver is gone.
ORPHANED = 70
# Set where a cluster says by signals that it will end the job.
NOTICE_VARIABLE = "MILEPOST_NOTICE_SECONDS"
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the entrypoint ended."""

    outcome: facts.AttemptOutcome
    cause: common.ExitCause
    detail: str = ""


def classify(error: BaseException) -> Outcome:
    """Type the error that ended an entrypoint."""
    detail = describe_error(error)
    if isinstance(error, SystemExit) and not error.code:
        return Outcome(facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED)
    if tells_of_memory(error):
        return Outcome(facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_OUT_OF_MEMORY, detail)
    if isinstance(error, ImportError | SyntaxError | EntrypointError | BadParameter | StateNotSavable):
        return Outcome(facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_DETERMINISTIC, detail)
    return Outcome(facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_EXCEPTION, detail)


class Instance:
    """One worker process of an attempt: the entrypoint, and what is around it."""

    def __init__(
        self,
        launch: AttemptLaunch,
        rank: Rank,
        driver: str,
        token: str,
        pipe: LogPipe | None = None,
        devices: list[str] | None = None,
    ) -> None:
        """Make it; `start` begins.

        Args:
            driver: where the driver listens, and what it asks for is `token`.
            pipe: takes lines of log records. None: there is none.
            devices: what this instance computes on, where it is not simply what was launched.
        """
        self._launch = launch
        self._rank = rank
        self._own_devices = devices
        sender = Sender(
            runtime_id=launch.runtime_id, trial=launch.trial, attempt=launch.attempt, source=f"rank-{rank.rank}"
        )
        hello = Hello(token=token, process_id=os.getpid(), host=socket.gethostname())
        channel = DriverChannel(driver, hello, rank.rank, self._orphaned)
        addresses = Addresses(launch.nats_url, credentials_of(launch))
        folder = Path(launch.attempt_directory)
        # On another host than the driver's it is not there yet.
        folder.mkdir(parents=True, exist_ok=True)
        marker = StepMarker(marker_path(folder, rank.rank))
        self._background = Background(
            sender,
            rank.rank,
            folder,
            addresses,
            channel,
            Position(),
            world_size=rank.world_size,
            marker=marker,
            stall_seconds=launch.configuration.limits.stall_seconds,
            # By way of the driver, as all other lines: in their order, and kept whatever happens here.
            write_line=partial(_write_own, pipe) if pipe is not None else None,
        )
        host = ManagedHost(launch, rank, self._background, marker, self._leave_waiting_loop)
        self._loop = TrainingLoop(host)
        self.trial = Trial(self._loop)
        self._finishing = threading.Lock()
        self._environment: EnvironmentRecord | None = None

    def _orphaned(self) -> None:
        # Nothing this process does can be recorded any more.
        os._exit(ORPHANED)

    def start(self) -> None:
        """Start the background, and say that this instance is there."""
        self._background.start(self._loop.on_instruction)
        self._background.report(
            facts.InstanceStarted(
                attempt=self._launch.attempt,
                rank=self._rank.rank,
                host=socket.gethostname(),
                process_id=os.getpid(),
                devices=self._devices(),
                software=f"Python {platform.python_version()}",
            )
        )
        if self._rank.rank == 0:
            folder = Path(self._launch.code_directory) if self._launch.code_directory else Path.cwd()
            self._environment = EnvironmentRecord(
                self._launch.attempt, folder, self._background.report, devices=self._devices()
            )

    def _devices(self) -> list[str]:
        if self._own_devices is not None:
            return self._own_devices
        if self._launch.gpus:
            return [f"cuda:{index}" for index in self._launch.gpus]
        return ["cpu"]

    def run(self) -> Outcome:
        """Run the entrypoint to its end, whatever that is."""
        try:
            folder = Path(self._launch.code_directory) if self._launch.code_directory else None
            function = load_entrypoint(self._launch.configuration.entrypoint, folder)
            arguments = bind(function, self.trial.parameters)
            self._train(function, arguments)
        except Stopped:
            return Outcome(
                facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED, f"stopped after step {self.trial.step:,}"
            )
        except BaseException as error:
            outcome = classify(error)
            if outcome.outcome == facts.ATTEMPT_OUTCOME_FAILED:
                traceback.print_exception(error)
            self._wait_for_snapshot()
            return outcome
        if self._loop.is_stopped:
            return Outcome(
                facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED, f"stopped after step {self.trial.step:,}"
            )
        return Outcome(facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED, self._loop.early_end())

    def _wait_for_snapshot(self) -> None:
        """What is being written when the code fails is committed: the next attempt goes on from there."""
        try:
            self.trial.wait_for_snapshot(COMMIT_SECONDS if self._rank.world_size == 1 else _FAILED_RANK_SECONDS)
        except TimeoutError:
            log.warning("snapshot.not_waited_for", extra={"step": self.trial.step})

    def _train(self, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        resources = self._launch.configuration.resources
        # Drivers of GPUs reserve more than any limit of main memory.
        if not resources.gpus_per_worker:
            limit_memory(resources.memory_gigabytes_per_worker)
        try:
            function(self.trial, **arguments)
            self._loop.complete()
        except Stopped:
            # What the loop had open is closed now; the state is the one of the last boundary.
            self._loop.save_for_stop()
            raise

    def finish(self, outcome: Outcome) -> None:
        """Send what is left, and say how it ended."""
        release_reserve()
        self._finishing.acquire()
        self._loop.end()
        if self._environment is not None:
            self._environment.wait()
        report = InstanceReport(
            finished=Finished(
                outcome=outcome.outcome,
                detail=outcome.detail,
                last_step=self.trial.step,
                deterministic=outcome.cause == common.EXIT_CAUSE_DETERMINISTIC,
                cause=outcome.cause,
            )
        )
        self._background.finish(report, DRAIN_SECONDS)

    def _leave_waiting_loop(self) -> None:
        """The loop waits for data that may never come; the snapshot is committed."""
        outcome = Outcome(
            facts.ATTEMPT_OUTCOME_STOPPED,
            common.EXIT_CAUSE_STOPPED,
            f"stopped after step {self.trial.step:,} while waiting for data",
        )
        self.finish(outcome)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def credentials_of(launch: AttemptLaunch) -> Path | None:
    """Return the file with the credentials for NATS; None: none needed."""
    return Path(launch.nats_credentials_file) if launch.nats_credentials_file else None


def _write_own(pipe: LogPipe, text: str) -> None:
    pipe.write(logging.INFO, OWN_LOGGER, text, own=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its driver dies. Where that is not to be had, the socket tells."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(ORPHANED)


def leave_termination_to_driver() -> None:
    """Where a cluster sends SIGTERM to every process of a job, go on: the driver, which gets it too, says when to stop.

    Processes that this one forks get the signal's default action back when it comes: who started them may end them so.
    """
    if NOTICE_VARIABLE not in os.environ:
        return
    own = os.getpid()

    def heed(number: int, frame: object) -> None:
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, heed)


def quiet_libraries() -> None:
    """Keep the connection's own warnings out of the user's output: each problem is said once, by `Warnings`."""
    logging.getLogger("milepost.eventlog").setLevel(logging.CRITICAL)
    logging.getLogger("nats").setLevel(logging.CRITICAL)


def main() -> int:

    die_with_parent(int(os.environ["MILEPOST_DRIVER_PROCESS"]))
    leave_termination_to_driver()
    pipe = pipe_from_environment()
    if pipe is not None:
        divert_handlers(pipe)
    quiet_libraries()
    launch = json_format.Parse(
        Path(os.environ[LAUNCH_VARIABLE]).read_text(), AttemptLaunch(), ignore_unknown_fields=True
    )
    instance = Instance(launch, Rank(), os.environ[DRIVER_VARIABLE], os.environ.pop(TOKEN_VARIABLE), pipe)
    instance.start()
    enter_with_ray_train()
    outcome = instance.run()
    instance.finish(outcome)
    return 0 if outcome.outcome != facts.ATTEMPT_OUTCOME_FAILED else 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of user code that do not end must not keep a finished attempt.
    os._exit(status)
