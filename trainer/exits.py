"""Typed reasons for the end of a process. Pure, but for reading what the kernel counted."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import Finished

# Exit status of an instance that saw its driver gone.
ORPHANED = 70
# Exit status of a driver that its cluster told to end by SIGTERM.
TERMINATED = 75


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a process ended. Exactly one of the two is set."""

    exit_code: int | None = None
    signal: int | None = None

    @classmethod
    def of(cls, return_code: int) -> ProcessExit:
        """Read the return code of `subprocess`: negative for a signal."""
        return cls(signal=-return_code) if return_code < 0 else cls(exit_code=return_code)


@dataclass(frozen=True, slots=True)
class Ending:
    """What is said of an attempt at its end."""

    outcome: facts.AttemptOutcome
    cause: common.ExitCause
    detail: str
    last_step: int
    unsent_batch_count: int = 0


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def type_ending(
    process: ProcessExit, finished: Finished | None, last_step: int, *, out_of_memory: bool, ordered_kill: bool
) -> Ending:
    """Decide how an attempt ended, from what its process said and how it went away.

    Args:
        process: how the process of rank 0, or the one that failed first, ended.
        finished: its last report; None if it made none.
        last_step: the last step that is known to be done.
        out_of_memory: the kernel killed a process of this group for want of memory.
        ordered_kill: this driver killed it, because of an abrupt stop.
    """
    if finished is not None:
        cause = finished.cause or common.EXIT_CAUSE_EXCEPTION
        return Ending(finished.outcome, cause, finished.detail, finished.last_step, finished.unsent_batch_count)
    if ordered_kill:
        return Ending(facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_KILLED, "killed by an abrupt stop", last_step)
    failed = facts.ATTEMPT_OUTCOME_FAILED
    if out_of_memory:
        return Ending(
            failed,
            common.EXIT_CAUSE_OUT_OF_MEMORY,
            "the kernel killed the process: the machine's memory was used up",
            last_step,
        )
    if process.signal is not None:
        detail = f"the process was killed by {signal_name(process.signal)}"
        return Ending(failed, common.EXIT_CAUSE_SIGNAL, detail, last_step)
    detail = f"the process ended with exit status {process.exit_code} before the entrypoint returned"
    return Ending(failed, common.EXIT_CAUSE_EXCEPTION, detail, last_step)


def exit_cause(
    process: ProcessExit, finished: Finished | None, *, out_of_memory: bool, ordered_kill: bool
) -> common.ExitCause:
    """Type the end of one instance."""
    return type_ending(process, finished, 0, out_of_memory=out_of_memory, ordered_kill=ordered_kill).cause


def memory_kills() -> int:
    """Return how many processes the kernel has killed for want of memory: in this control group, else on this machine."""
    for path, name in (
        *((group / "memory.events", "oom_kill") for group in _control_groups()),
        (Path("/proc/vmstat"), "oom_kill"),
    ):
        try:
            for line in path.read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == name:
                    return int(value)
        except (OSError, ValueError):
            continue
    return 0


def _control_groups() -> list[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    unified = [line.split("::", 1)[1] for line in lines if line.startswith("0::")]
    return [Path("/sys/fs/cgroup") / place.lstrip("/") for place in unified]
