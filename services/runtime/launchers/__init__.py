"""How the process of an attempt is started, seen and ended: a port with one adapter per kind of launcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.errors import FailedPrecondition
from services.runtime.control_policy import Exit, Process
from services.runtime.placement_policy import Capacity


@dataclass(frozen=True, slots=True)
class AttemptKey:
    runtime_id: str
    trial: int
    attempt: int

    def directory(self, data_dir: Path) -> Path:
        """Return the folder of the attempt below the data directory."""
        return data_dir / "runtimes" / self.runtime_id / f"trial-{self.trial}" / f"attempt-{self.attempt}"


class LaunchFailed(FailedPrecondition):
    """The process could not be started. `deterministic`: another try would fail in the same way."""

    reason = "LAUNCH_FAILED"

    def __init__(self, message: str, *, deterministic: bool = False) -> None:
        super().__init__(message)
        self.deterministic = deterministic


class Launcher(Protocol):
    """Starts, sees and ends the processes of attempts. It survives a restart of the service without state of its own."""

    def capacity(self) -> Capacity | None:
        """Return what the launcher can hold; None: that is for somebody else to judge."""
        ...

    def observe(self, key: AttemptKey) -> tuple[Process, Exit]:
        """Say what is known of a process now. Cheap."""
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

    def on_change(self, listener: Callable[[AttemptKey], None]) -> None:
        """Call a function when a process ends."""
        ...

    async def close(self) -> None:
        """Look no longer. Processes stay."""
        ...


class External:
    """The launcher of scripts that registered themselves: it sees nothing and ends nothing."""

    def capacity(self) -> Capacity | None:
        return None

    def observe(self, key: AttemptKey) -> tuple[Process, Exit]:
        return Process.UNSEEN, Exit()

    async def launch(self, key: AttemptKey, launch: AttemptLaunch, environment: Mapping[str, str]) -> None:
        return

    async def kill(self, key: AttemptKey) -> None:
        return

    def on_change(self, listener: Callable[[AttemptKey], None]) -> None:
        return

    async def close(self) -> None:
        return
