"""Processes that train together: one records, and all of them stop at the same step.

They tell each other which run this is, where to stop, and what went wrong, in the store that torchrun keeps for its
workers, or in that of PyTorch's process group, whoever started it: `torch.multiprocessing`, Lightning, a script by hand.
A group may begin after `init`, so they look for it again at the first step. The recording process also names its run in
the environment of its children, which Lightning starts before it makes the group.
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
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from milepost.api.training.v1.training_pb2 import AttemptLaunch, SteerInstruction
from milepost.training.loop.stop import StopOrder
from milepost.training.loop.values.averages import process_group

log = logging.getLogger(__name__)

# How long a process waits to hear from the one that records.
LAUNCH_SECONDS = 30.0
# Where a process that records has its attempt, for those that it starts.
LEADER_VARIABLE = "MILEPOST_GROUP_LEADER"
# How long that one waits at a step until all others are there, and until they know where to stop.
AGREE_SECONDS = 10.0
_POLL_SECONDS = 0.2
_STORE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Which of how many processes this is."""

    rank: int = 0
    world_size: int = 1
    # What tells this start of the group from the one before an elastic restart.
    generation: str = "0"


def place_of_this_process(environment: Mapping[str, str] = os.environ) -> Place:
    """Ask PyTorch's process group, or else read what launchers set. Without either a process is alone.

    torchrun sets `RANK`. Lightning starts the processes of the other ranks before it makes the group, and tells them their
    `LOCAL_RANK` only: on its first node that is the rank, on another one the real one shows with the group.
    """
    generation = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    group = process_group()
    if group is not None:
        return Place(group.get_rank(), group.get_world_size(), generation)
    try:
        world_size = int(environment["WORLD_SIZE"])
        rank = int(environment["RANK"] if "RANK" in environment else environment["LOCAL_RANK"])
        if "RANK" not in environment and int(environment["NODE_RANK"]) > 0:
            rank = max(1, rank)
    except (KeyError, ValueError):
        return Place()
    return Place(rank, world_size, generation) if 0 <= rank < world_size else Place()


def open_store(environment: Mapping[str, str] = os.environ) -> Any | None:
    """Connect to the store that torchrun keeps, or to that of the process group. None: there is none, or no answer."""
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return _store_of_group()
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


def _store_of_group() -> Any | None:
    """Return the store of PyTorch's process group, by a connection of its own: the group waits in its own for minutes."""
    if process_group() is None:
        return None
    from torch.distributed.distributed_c10d import _get_default_store

    try:
        return _get_default_store().clone()
    except (RuntimeError, ValueError, NotImplementedError) as error:
        log.debug("group.no_store", exc_info=error)
        return None


def launch_of_leader(environment: Mapping[str, str] = os.environ) -> AttemptLaunch | None:
    """Read which run the process records that has started this one. None: it records none, or not on this machine."""
    path = Path(environment.get(LEADER_VARIABLE, "-")) / "attempt.json"
    try:
        return json_format.Parse(path.read_text(), AttemptLaunch(), ignore_unknown_fields=True)
    except (OSError, json_format.ParseError):
        return None


def find_link() -> GroupLink | None:
    """Look for the other processes and for a way to talk to them. None: there are none, or none yet."""
    place = place_of_this_process()
    store = open_store() if place.world_size > 1 else None
    return GroupLink(store, place) if store is not None else None


# The runs that this process was told of: the next one is another.
_told: set[str] = set()


class GroupLink:
    """What the processes of a group tell each other. Every method may be called from any thread."""

    def __init__(self, store: Any, place: Place) -> None:
        self._store = store
        self.place = place
        self._prefix = f"milepost/{place.generation}"
        # Changes of values that were told, or heard of.
        self._steered = 0

    def announce(self, launch: AttemptLaunch) -> None:
        """Tell the others which run this is."""
        self._set("launch", json_format.MessageToJson(launch))
        self._belong_to(launch)

    def launch(self) -> AttemptLaunch | None:
        """Wait to be told which run this is. None: nobody said so in time."""
        deadline = time.monotonic() + LAUNCH_SECONDS
        while time.monotonic() < deadline:
            text = self._get("launch")
            launch = json_format.Parse(text, AttemptLaunch(), ignore_unknown_fields=True) if text else None
            if launch is not None and _key_of(launch) not in _told:
                self._belong_to(launch)
                return launch
            time.sleep(_POLL_SECONDS / 4)
        return None

    def _belong_to(self, launch: AttemptLaunch) -> None:
        _told.add(_key_of(launch))
        self._prefix = f"{self._prefix}/{_key_of(launch)}"

    def agree_to_stop(self, step: int) -> bool:
        """Have every process stop after a step. Returns when all know it, or after a while.

        False: it is not to be; there are processes that nothing can be told, and those would wait for the others for ever.
        """
        others = self.place.world_size - 1
        if not self._wait_for("present", others):
            log.warning(
                "a stop was asked for, but not every process of this group has called milepost.init and trial.log: those "
                "would wait for the others for ever, so training goes on; call both in every process"
            )
            return False
        self._set("stop", str(step))
        if not self._wait_for("stop-known", others):
            log.warning("some processes of this group have not heard of the stop after step %d", step)
        return True

    def _wait_for(self, key: str, count: int) -> bool:
        deadline = time.monotonic() + AGREE_SECONDS
        while self._add(key, 0) < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS / 4)
        return True

    def agree_to_steer(self, order: SteerInstruction) -> bool:
        """Have every process change values after the step of an order. Returns when all know it, or after a while.

        False: it is not to be; there are processes that nothing can be told.
        """
        others = self.place.world_size - 1
        if not self._wait_for("present", others):
            return False
        self._steered += 1
        self._set(f"steer-{self._steered}", json_format.MessageToJson(order))
        if not self._wait_for(f"steer-{self._steered}-known", others):
            log.warning("some processes of this group have not heard of the change after step %d", order.step)
        return True

    def _follow_steer(self, on_steer: Callable[[SteerInstruction], None]) -> None:
        while (text := self._get(f"steer-{self._steered + 1}")) is not None:
            self._steered += 1
            on_steer(json_format.Parse(text, SteerInstruction(), ignore_unknown_fields=True))
            self._add(f"steer-{self._steered}-known", 1)

    def follow(self, on_stop: Callable[[StopOrder], None], on_steer: Callable[[SteerInstruction], None]) -> None:
        """Obey what the recording process says, in a thread of its own: changes of values, and a stop."""
        self._add("present", 1)
        ended = threading.Event()

        def follow() -> None:
            while (text := self._get("stop")) is None:
                self._follow_steer(on_steer)
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
        self._set(f"error-{self.place.rank}", text)

    def errors(self) -> dict[int, str]:
        """Read what ended other processes, by rank."""
        found = {rank: self._get(f"error-{rank}") for rank in range(self.place.world_size)}
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
            return self.place.world_size

    def _get(self, key: str) -> str | None:
        path = f"{self._prefix}/{key}"
        try:
            return self._store.get(path).decode() if self._store.check([path]) else None
        except RuntimeError as error:
            log.debug("group.store_failed", exc_info=error)
            return None


def _key_of(launch: AttemptLaunch) -> str:
    return f"{launch.runtime_id}-{launch.attempt}"
