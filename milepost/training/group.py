"""Processes that torchrun started together: one records, and all of them stop at the same step.

torchrun keeps a store for its workers; they tell each other through it which run this is, where to stop, and what
went wrong. Where there is no such store, the other processes are silent and know nothing of the recorded one.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.training.batches import Position
from milepost.training.buffer import StepBuffer
from milepost.training.snapshot_keeper import SnapshotKeeper
from milepost.training.stop import StopOrder

log = logging.getLogger(__name__)

# How long a process waits to hear from the one that records.
LAUNCH_SECONDS = 30.0
# How long that one waits at a step until all others know where to stop.
AGREE_SECONDS = 10.0
_POLL_SECONDS = 0.2
_STORE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Which of how many processes this is, as torchrun says it."""

    rank: int = 0
    world_size: int = 1
    # What tells this start of the group from the one before an elastic restart.
    generation: str = "0"


def place_of_this_process(environment: Mapping[str, str] = os.environ) -> Place:
    """Read what torchrun has set. Without it a process is alone."""
    try:
        rank, world_size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except (KeyError, ValueError):
        return Place()
    if not 0 <= rank < world_size:
        return Place()
    return Place(rank, world_size, environment.get("TORCHELASTIC_RESTART_COUNT", "0"))


def open_store(environment: Mapping[str, str] = os.environ) -> Any | None:
    """Connect to the store that torchrun keeps. None: there is none, or it does not answer."""
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        from torch.distributed import TCPStore

        return TCPStore(
            environment["MASTER_ADDR"],
            int(environment["MASTER_PORT"]),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=_STORE_SECONDS),
        )
    except (ImportError, KeyError, ValueError, RuntimeError) as error:
        log.debug("group.no_store", exc_info=error)
        return None


class GroupLink:
    """What the processes of a group tell each other. Every method may be called from any thread."""

    def __init__(self, store: Any, place: Place) -> None:
        self._store = store
        self._place = place
        self._prefix = f"milepost/{place.generation}"

    def announce(self, launch: AttemptLaunch) -> None:
        """Tell the others which run this is."""
        self._set("launch", json_format.MessageToJson(launch))

    def launch(self) -> AttemptLaunch | None:
        """Wait to be told which run this is. None: nobody said so in time."""
        text = self._wait("launch", LAUNCH_SECONDS)
        return json_format.Parse(text, AttemptLaunch(), ignore_unknown_fields=True) if text else None

    def agree_to_stop(self, step: int) -> None:
        """Have every process stop after a step. Returns when all know it, or after a while."""
        self._set("stop", str(step))
        deadline = time.monotonic() + AGREE_SECONDS
        while time.monotonic() < deadline:
            if self._add("stop-known", 0) >= self._place.world_size - 1:
                return
            time.sleep(_POLL_SECONDS / 4)
        log.warning("some processes of this group have not heard of the stop after step %d", step)

    def follow_stop(self, on_stop: Callable[[StopOrder], None]) -> None:
        """Obey a stop that the recording process names, in a thread of its own."""
        ended = threading.Event()

        def follow() -> None:
            while (text := self._get("stop")) is None:
                if ended.wait(_POLL_SECONDS):
                    return
            on_stop(StopOrder(int(text)))
            self._add("stop-known", 1)

        thread = threading.Thread(target=follow, name="milepost-group", daemon=True)
        thread.start()

        def leave() -> None:
            ended.set()
            thread.join(_STORE_SECONDS)

        # A thread that comes back from the store into an interpreter that is ending aborts the process.
        atexit.register(leave)

    def report_error(self, text: str) -> None:
        """Leave word of what ended this process."""
        self._set(f"error-{self._place.rank}", text)

    def errors(self) -> dict[int, str]:
        """Read what ended other processes, by rank."""
        found = {rank: self._get(f"error-{rank}") for rank in range(self._place.world_size)}
        return {rank: text for rank, text in found.items() if text is not None}

    def _set(self, key: str, text: str) -> None:
        try:
            self._store.set(f"{self._prefix}/{key}", text)
        except RuntimeError as error:  # torchrun is gone
            log.debug("group.store_failed", exc_info=error)

    def _add(self, key: str, amount: int) -> int:
        try:
            return int(self._store.add(f"{self._prefix}/{key}", amount))
        except RuntimeError as error:
            log.debug("group.store_failed", exc_info=error)
            return self._place.world_size

    def _get(self, key: str) -> str | None:
        path = f"{self._prefix}/{key}"
        try:
            return self._store.get(path).decode() if self._store.check([path]) else None
        except RuntimeError as error:
            log.debug("group.store_failed", exc_info=error)
            return None

    def _wait(self, key: str, seconds: float) -> str | None:
        deadline = time.monotonic() + seconds
        while (text := self._get(key)) is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS / 4)
        return text


class SilentProgress:
    """Takes progress and says nothing."""

    total_steps: int | None = None

    def say(self, what: str, values: dict[str, float]) -> None:
        """Say nothing."""


class SilentWarnings:
    """The recording process says each problem; the others need not repeat it."""

    def say(self, problem: str, message: str) -> None:
        """Say nothing."""


class SilentBackground:
    """Stands for `Background` in a process that records nothing: it has no thread, no spool and no connection."""

    alive = True

    def __init__(self) -> None:
        self.position = Position()
        self.progress = SilentProgress()
        self.warnings = SilentWarnings()
        self.buffer = StepBuffer(self.warnings.say)
        self.last_values: dict[str, float] = {}

    def report(self, payload: Message) -> None:
        """Keep a fact to oneself."""

    def begin(self, step: int) -> None:
        """Measure nothing."""

    def wake(self) -> None:
        """There is nobody to wake."""

    def wait_stored(self, seconds: float) -> bool:
        """Nothing is stored, so nothing is waited for."""
        return True


class SilentKeeper(SnapshotKeeper):
    """Takes no snapshot: with data parallelism every process has the same state, and the recording one saves it."""

    def due(self, step: int) -> bool:
        return False

    def can_snapshot(self, step: int) -> bool:
        return False

    def take(self, *arguments: Any) -> None:
        """Leave it to the process that records."""

    def adopt(self, *arguments: Any) -> None:
        """Leave it to the process that records."""
