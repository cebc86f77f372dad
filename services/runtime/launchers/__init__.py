"""How the process of an attempt is started, seen and ended: a port with one adapter per kind of launcher.

A new launcher is a class with the methods of `Launcher` here, built in `services.runtime.application`.

- `local`: processes of this machine, with `processes`, `attempt_user` and `local_runs`; `host` has what it offers.
- `jobs`: attempts as jobs of a cluster; `claims`: each launch is handed out once.
- `ray`, `ray_jobs`, `cluster`: of a Ray cluster. `slurm`, `slurm_jobs`: of Slurm.
- `external`: scripts that registered themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from google.protobuf import json_format

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1.trial_events_pb2 import AttemptEnded
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.errors import FailedPrecondition
from milepost.names import AttemptKey
from services.runtime.policies.control import Exit, Process
from services.runtime.policies.placement import Capacity

# Of what an attempt says of its end: it becomes part of an event.
MAX_DETAIL = 4_000


def last_word(text: str) -> Exit | None:
    """Read what an attempt says of its end, an `AttemptEnded` as JSON. None: it is none.

    The attempt has written it: a cause that this version does not know is no cause, and the text is cut.
    """
    try:
        ended = json_format.Parse(text, AttemptEnded(), ignore_unknown_fields=True)
    except (json_format.ParseError, RecursionError):
        return None
    known = ended.cause in common.ExitCause.values()
    return Exit(ended.cause if known else common.EXIT_CAUSE_UNSPECIFIED, ended.detail[:MAX_DETAIL])


def log_fields(key: AttemptKey, **more: object) -> dict[str, object]:
    """Return the fields by which a line of this service's log is about an attempt."""
    return {"runtime": key.runtime_id, "trial": key.trial, "attempt": key.attempt, **more}


class LaunchFailed(FailedPrecondition):
    """The process could not be started. `deterministic`: another try would fail in the same way."""

    reason = "LAUNCH_FAILED"

    def __init__(self, message: str, *, deterministic: bool = False) -> None:
        super().__init__(message)
        self.deterministic = deterministic


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a launcher can launch nothing now."""

    # Stable, in UPPER_SNAKE_CASE.
    reason: str
    # For people: what is wrong and what to do. Empty: it is about to be known.
    detail: str
    # It may end without anybody doing something. If not, what needs the launcher is refused.
    passes: bool = True


class Launcher(Protocol):
    """Starts, sees and ends the processes of attempts. It survives a restart of the service without state of its own."""

    @property
    def takes_over(self) -> bool:
        """Whether an attempt that is not heard of is given up, and one that failed is launched again."""
        ...

    async def looked(self) -> None:
        """Return when `outage` and `capacity` say what is, not that it is about to be known."""
        ...

    def outage(self) -> Outage | None:
        """Say why nothing can be launched now; None: it can."""
        ...

    def capacity(self) -> Capacity | None:
        """Return what the launcher can hold; None: that is for somebody else to judge."""
        ...

    def observe(self, key: AttemptKey) -> tuple[Process, Exit]:
        """Say what is known of a process now. Cheap."""
        ...

    def waits(self, key: AttemptKey) -> str:
        """Say, for people, what an attempt waits for that is `Process.PENDING`. Empty: not known."""
        ...

    async def refusal(self, configuration: RuntimeConfiguration) -> str:
        """Say why a run would not be taken as it is described, as far as the launcher can tell before. Empty: it would."""
        ...

    async def launch(self, key: AttemptKey, launch: AttemptLaunch, environment: Mapping[str, str]) -> None:
        """Start the process of an attempt, unless it runs already.

        Raises:
            LaunchFailed: it could not be started.
        """
        ...

    async def kill(self, key: AttemptKey) -> None:
        """End a process and everything it started, at once. Returns when nothing of it runs. Repeats do nothing."""
        ...

    async def purge(self, key: AttemptKey) -> None:
        """Remove what is kept, outside the data directory, of an attempt that is over. Repeats do nothing.

        Raises:
            MilepostError: it could not be removed now.
        """
        ...

    def on_change(self, listener: Callable[[AttemptKey], None]) -> None:
        """Call a function when what is known of a process changes."""
        ...

    def on_room(self, listener: Callable[[], None]) -> None:
        """Call a function when there is other room than before, or an outage begins or ends."""
        ...

    async def close(self) -> None:
        """Look no longer. Processes stay."""
        ...


class Blind:
    """A launcher that sees nothing and ends nothing."""

    takes_over = True

    async def looked(self) -> None:
        return

    def outage(self) -> Outage | None:
        return None

    def capacity(self) -> Capacity | None:
        return None

    def observe(self, key: AttemptKey) -> tuple[Process, Exit]:
        return Process.UNSEEN, Exit()

    def waits(self, key: AttemptKey) -> str:
        return ""

    async def refusal(self, configuration: RuntimeConfiguration) -> str:
        return ""

    async def launch(self, key: AttemptKey, launch: AttemptLaunch, environment: Mapping[str, str]) -> None:
        return

    async def kill(self, key: AttemptKey) -> None:
        return

    async def purge(self, key: AttemptKey) -> None:
        return

    def on_change(self, listener: Callable[[AttemptKey], None]) -> None:
        return

    def on_room(self, listener: Callable[[], None]) -> None:
        return

    async def close(self) -> None:
        return


class Missing(Blind):
    """Stands for a launcher that this service does not have, or that a newer one wrote into the log.

    What waits for it goes on waiting and says so; what ran under it is judged by its heartbeats.
    """

    def __init__(self, name: str) -> None:
        self._detail = f"this service has no launcher {name}: give it its settings back, or stop the run"

    def outage(self) -> Outage | None:
        return Outage("LAUNCHER_MISSING", self._detail)

    async def launch(self, key: AttemptKey, launch: AttemptLaunch, environment: Mapping[str, str]) -> None:
        raise LaunchFailed(self._detail)
