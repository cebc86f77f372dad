"""A stop as the training loop meets it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


class Stopped(BaseException):
    """The attempt was asked to stop, and training has come to a step boundary.

    Raised by `batches()`, `log`, `maybe_snapshot` and evaluations. Let it pass: what it interrupts goes on after a
    resume. It is no `Exception`, so that `except Exception` does not take it for a failure.
    """


@dataclass(frozen=True, slots=True)
class StopOrder:
    """A stop that was asked for. `step` 0: at the next boundary; otherwise after this step."""

    step: int = 0
    # Milliseconds since 1970.
    deadline_ms: int = 0


class Gate:
    """Lets a stop be carried out while the loop waits for data.

    While the loop waits nothing of the training state changes, so another thread may take the snapshot then. If the
    data comes meanwhile, the loop waits for that thread and then stops too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = False
        self._taken = False

    @property
    def waiting(self) -> bool:
        return self._waiting

    def enter(self) -> None:
        """The loop begins to wait for data.

        Raises:
            Stopped: another thread stops the trial already.
        """
        with self._lock:
            self._waiting = True

    def leave(self) -> None:
        """The loop has its data, or an error.

        Raises:
            Stopped: another thread has stopped the trial meanwhile.
        """
        with self._lock:
            self._waiting = False
        if self._taken:
            raise Stopped("stopped while waiting for data")

    def take_over(self, work: Callable[[], None]) -> bool:
        """Do something in place of the waiting loop. Returns False, and does nothing, if the loop is not waiting."""
        with self._lock:
            if not self._waiting or self._taken:
                return False
            self._taken = True
            work()
            return True
