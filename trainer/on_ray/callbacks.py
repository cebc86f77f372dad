"""What Ray Train's controller does to the worker group, as events of the trial.

The classes that the hooks derive from are Ray's internal ones. Where a version of Ray lacks them there are no such
events and training goes on; a contract test says so for each version. No hook raises, for Ray Train would end the run
with it, and none waits.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from trainer.on_ray.announcer import Announcer

log = logging.getLogger(__name__)

try:
    from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback

    AVAILABLE = True
except ImportError:
    ControllerCallback = WorkerGroupCallback = object
    AVAILABLE = False

# Between two looks at the cluster while the group waits for its resources, and before the first one.
LOOK_SECONDS = 3.0

Hook = TypeVar("Hook", bound=Callable[..., None])
Resources = Mapping[str, float]


def _harmless(hook: Hook) -> Hook:
    """Keep what goes wrong in a hook from Ray Train, which would end the run."""

    @functools.wraps(hook)
    def guarded(*arguments: Any, **named: Any) -> None:
        try:
            hook(*arguments, **named)
        except Exception as error:
            log.warning("callback.failed", extra={"hook": hook.__name__, "error": repr(error)})

    return guarded  # type: ignore[return-value]


def describe(resources: Resources) -> str:
    """Name resources for people: `1 CPU, 0.5 GPU`."""
    parts = [
        f"{amount / 1e9:g} GB of memory" if name == "memory" else f"{amount:g} {name}"
        for name, amount in sorted(resources.items())
        if amount
    ]
    return ", ".join(parts) or "nothing"


def why_waiting(asked: Resources, workers: int, total: Resources, free: Resources) -> str:
    """Say what a group asked for, what the cluster has, and what it waits for. Pure."""
    lacks, never = [], []
    for name, amount in sorted(asked.items()):
        need = amount * workers
        if need > total.get(name, 0.0):
            never.append(f"{describe({name: need})} where the cluster has {total.get(name, 0.0):g} in all")
        elif need > free.get(name, 0.0):
            lacks.append(f"{describe({name: need})} where {free.get(name, 0.0):g} of {total.get(name, 0.0):g} are free")
    asks = f"{workers} workers with {describe(asked)} each"
    if never:
        return f"asks for {asks}: it needs {'; '.join(never)}"
    if lacks:
        return f"asks for {asks}: it needs {'; '.join(lacks)}"
    return f"asks for {asks}: the resources are free, the workers start"


class WaitingWatch:
    """Looks at the cluster, in a thread of its own, while a group waits to be placed and started."""

    def __init__(self, announcer: Announcer, cluster: Callable[[], tuple[Resources, Resources]]) -> None:
        self._announcer = announcer
        self._cluster = cluster
        self._over = threading.Event()

    def begin(self, asked: Resources, workers: int) -> None:
        self._over.clear()
        threading.Thread(target=self._look, args=(dict(asked), workers), name="milepost-waiting", daemon=True).start()

    def end(self) -> None:
        self._over.set()

    def _look(self, asked: dict[str, float], workers: int) -> None:
        said = ""
        while not self._over.wait(LOOK_SECONDS):
            try:
                total, free = self._cluster()
            except Exception as error:
                log.warning("cluster.unreadable", extra={"error": repr(error)})
                continue
            message = why_waiting(asked, workers, total, free)
            if message != said and not self._over.is_set():
                said = message
                self._announcer.observe("worker_group.waiting", message)


class GroupEvents(ControllerCallback, WorkerGroupCallback):  # type: ignore[misc]
    """Hears of decisions about the worker group and of its changes, and tells the driver."""

    def __init__(self, announcer: Announcer, cluster: Callable[[], tuple[Resources, Resources]]) -> None:
        self._announcer = announcer
        self._waiting = WaitingWatch(announcer, cluster)
        self._sizes: list[int] = []
        self._began = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        return GroupEvents, (self._announcer, self._waiting._cluster)

    # --- of the controller

    @_harmless
    def before_controller_execute_resize_decision(self, resize_decision: Any) -> None:
        """Ray Train has decided how large the group is to be."""
        size, each = resize_decision.num_workers, describe(resize_decision.resources_per_worker)
        if self._sizes:
            message = f"from {self._sizes[-1]} to {size} workers with {each} each"
            self._announcer.observe("worker_group.resizing", message)
        else:
            self._announcer.observe("worker_group.scheduling", f"asks for {size} workers with {each} each")
        self._sizes.append(size)

    @_harmless
    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Ray Train's controller went on to another state."""
        name = type(current_state).__name__
        if name == "PreemptingState":
            info = current_state.preemption_info
            ranks = ", ".join(map(str, getattr(info, "preempted_ranks", ())))
            self._announcer.observe("worker_group.preempted", f"the host of rank {ranks or '?'} is being taken away")
            for rank in getattr(info, "preempted_ranks", ()):
                self._announcer.unready(rank, "its host is being taken away")
        elif name == "ErroredState":
            self._waiting.end()
            self._announcer.observe("worker_group.failed", one_line(current_state.training_failed_error))

    @_harmless
    def before_controller_execute_failure_decision(self, failure_decision: Any) -> None:
        """Ray Train has decided what follows a failure: with us always that it ends, and the scheduler decides."""
        self._announcer.observe("worker_group.failing", f"Ray Train decides: {failure_decision.name.lower()}")

    # --- of the worker group

    @_harmless
    def before_worker_group_start(self, worker_group_context: Any) -> None:
        """The group is about to be placed."""
        self._began = time.monotonic()
        self._waiting.begin(worker_group_context.resources_per_worker, worker_group_context.num_workers)

    @_harmless
    def after_worker_group_start(self, worker_group: Any) -> None:
        """Every worker is there."""
        self._waiting.end()
        places = [
            f"rank {worker.distributed_context.world_rank} on {worker.metadata.hostname}"
            + (f" with GPU {', '.join(map(str, worker.metadata.gpu_ids))}" if worker.metadata.gpu_ids else "")
            for worker in worker_group.get_workers()
        ]
        message = f"{len(places)} workers after {time.monotonic() - self._began:.1f} s: {'; '.join(places)}"
        self._announcer.observe("worker_group.started", message)

    @_harmless
    def before_worker_group_shutdown(self, worker_group: Any) -> None:
        """The group is about to end."""
        self._waiting.end()
        self._announcer.observe("worker_group.ending", f"{len(worker_group.get_workers())} workers")

    @_harmless
    def before_worker_group_abort(self, worker_group_context: Any) -> None:
        """The group is given up."""
        self._waiting.end()
        self._announcer.observe("worker_group.aborted", f"{worker_group_context.num_workers} workers")


def one_line(error: BaseException | None) -> str:
    """Say of an error of Ray Train what people need: the cause behind its wrappers, in one line."""
    inner = getattr(error, "controller_failure", None) or error
    failures = getattr(error, "worker_failures", None)
    if failures:
        rank, inner = sorted(failures.items())[0]
        return f"rank {rank}: {_first_lines(inner)}"
    return _first_lines(inner)


def _first_lines(error: BaseException | None) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)}"[:500] if lines else type(error).__name__
