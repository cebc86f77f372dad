"""Hands out what is free: to the queue of each launcher, and to searches that take whatever is free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from milepost import configuration as configurations
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.domain import runtime, trial
from milepost.errors import MilepostError
from milepost.eventlog import EventLogError
from services.runtime.decisions import Cause, Decisions
from services.runtime.launchers import Launcher
from services.runtime.policies import placement, sharing
from services.runtime.readmodel.view import RuntimeView
from services.runtime.readmodel.views import Views
from services.runtime.scheduling.causes import behind

log = logging.getLogger(__name__)

# After an error that is not the decision's own, for example a log that does not answer.
PAUSE_SECONDS = 1.0


class Placing:
    """Gives whoever waits what is free, when asked, and knows which searches are to give something back."""

    def __init__(
        self,
        views: Views,
        decisions: Decisions,
        launchers: Mapping[config.Launcher, Launcher],
        mark: Callable[[str], None],
    ) -> None:
        """`mark` asks for the next step of a runtime."""
        self._views = views
        self._decisions = decisions
        self._launchers = launchers
        self._mark = mark
        self._due = asyncio.Event()
        # By launcher: searches that are to give resources back as their trials end, with what they may have, and why.
        # Found again from what is, at each look.
        self._to_give_back: dict[config.Launcher, dict[str, sharing.Adjusted]] = {}
        # Launchers on which there is a search that takes what is free.
        self._adapting: set[config.Launcher] = set()

    def ask(self) -> None:
        """Have it looked again what is free, soon."""
        self._due.set()

    def tick(self) -> None:
        """Look again where others than runtimes of ours may have left, and whoever waited may wait no more."""
        if self._adapting:
            self._due.set()

    def forget(self) -> None:
        """Forget what was found: somebody else leads."""
        self._to_give_back.clear()
        self._adapting.clear()

    def to_give_back(self, view: RuntimeView) -> sharing.Adjusted | None:
        """Return what a search may have, if that is less than it has."""
        kept = self._to_give_back.get(_launcher_of(view), {})
        return kept.get(view.runtime_id) if _adapts_now(view) else None

    async def run(self) -> None:
        """Hand out what is free whenever it was asked for, for ever."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                for kind, launcher in self._launchers.items():
                    await self._place(kind, launcher)
            except (MilepostError, EventLogError) as error:
                log.warning("scheduler.placement_failed", extra={"error": str(error)})
                await asyncio.sleep(PAUSE_SECONDS)
                self._due.set()

    async def _place(self, kind: config.Launcher, launcher: Launcher) -> None:
        of_kind = [v for v in self._views.active() if v.state.configuration is not None and _launcher_of(v) == kind]
        queue = [_candidate(v) for v in of_kind if v.state.phase is runtime.Phase.QUEUED and v.state.stop is None]
        adapting = [v for v in of_kind if _adapts_now(v)]
        if adapting or any(one.adapts for one in queue):
            self._adapting.add(kind)
        else:
            self._adapting.discard(kind)
        decided = self._decide(of_kind, queue, adapting, launcher) if queue or adapting else ()
        self._keep(kind, [one for one in decided if isinstance(one, sharing.Adjusted) and one.gained is None])
        for one in decided:
            await self._carry_out(one)

    def _decide(
        self,
        of_kind: list[RuntimeView],
        queue: list[placement.Candidate],
        adapting: list[RuntimeView],
        launcher: Launcher,
    ) -> Sequence[placement.Placement | sharing.Adjusted]:
        capacity, outage = launcher.capacity(), launcher.outage()
        if outage is not None:
            return placement.hold_back(queue, outage.detail) if outage.detail else ()
        if capacity is None:
            return [placement.Allocated(c.runtime_id, runtime.Allocation(0.0, 0.0, (), "", 0.0)) for c in queue]
        if capacity.queues:
            return placement.hand_over(queue, capacity)
        others = [v.state.allocation for v in of_kind if v.state.allocation is not None and not _adapts_now(v)]
        return sharing.share(queue, [_holder(v) for v in adapting], capacity, others)

    def _keep(self, kind: config.Launcher, fewer: list[sharing.Adjusted]) -> None:
        """Have searches give back what they have too much of, each in its own turn: nothing of it may be launched then."""
        before = self._to_give_back.get(kind, {})
        now = self._to_give_back[kind] = {one.runtime_id: one for one in fewer}
        trials_before = {runtime_id: one.trials for runtime_id, one in before.items()}
        trials_now = {runtime_id: one.trials for runtime_id, one in now.items()}
        for runtime_id, _ in trials_before.items() ^ trials_now.items():
            self._mark(runtime_id)

    async def _carry_out(self, one: placement.Placement | sharing.Adjusted) -> None:
        view = self._views.runtimes[one.runtime_id]
        asked = behind(view.last, "RuntimeRequested", "ResumeRequested")
        match one:
            case placement.Allocated():
                await self._decide_runtime(view, runtime.AllocateResources(one.allocation), asked)
            case placement.Waiting():
                await self._decide_runtime(view, runtime.ReportPending(one.reason, one.detail), asked)
            case sharing.Adjusted(gained=gained) if gained is not None and view.state.allocation is not None:
                held = view.state.allocation
                adjust = runtime.AdjustResources(held, sharing.with_more(held, gained), one.trials, one.because)
                changed = behind(view.last, "ResourcesAdjusted", "ResourcesAllocated")
                await self._decide_runtime(view, adjust, changed)

    async def _decide_runtime(self, view: RuntimeView, command: object, cause: Cause) -> None:
        await self._decisions.decide(view.runtime_id, {None: [command]}, cause)


def _launcher_of(view: RuntimeView) -> config.Launcher:
    return view.state.configuration.launcher if view.state.configuration is not None else config.LAUNCHER_LOCAL


def _candidate(view: RuntimeView) -> placement.Candidate:
    configuration = view.state.configuration
    assert configuration is not None
    over = (
        trial.Completed if view.state.phase is runtime.Phase.QUEUED else trial.Completed | trial.Stopped | trial.Failed
    )
    unfinished = sum(1 for one in view.trials.values() if not isinstance(one.state.situation, over))
    if configurations.has_sampler(configuration) and view.state.history.ended is None:
        unfinished += configuration.search.max_trials - view.state.history.suggested_count
    wanted = placement.slots_wanted(configuration, max(unfinished, 1))
    return placement.Candidate(
        view.runtime_id,
        configuration.priority,
        view.began,
        placement.need_of(configuration),
        wanted,
        configurations.adapts(configuration),
    )


def _adapts_now(view: RuntimeView) -> bool:
    """Return whether a runtime is a search that holds what was free, and may hold more or less of it."""
    state = view.state
    if state.configuration is None or state.allocation is None or not configurations.adapts(state.configuration):
        return False
    return state.in_progress and state.stop is None


def _holder(view: RuntimeView) -> sharing.Holder:
    assert view.state.allocation is not None, "it holds resources"
    return sharing.Holder(_candidate(view), view.state.allocation)


def gpus_in_use(view: RuntimeView) -> set[int]:
    """Return the GPUs that attempts of a runtime have."""
    active = (view.trials[number].state.active for number in view.running | view.starting)
    return {gpu for one in active if one is not None for gpu in one.launch.gpus}


def free_gpus(view: RuntimeView) -> tuple[int, ...]:
    """Choose GPUs for the next attempt among those that the runtime holds and no other attempt uses."""
    allocation, configuration = view.state.allocation, view.state.configuration
    if allocation is None or configuration is None:
        return ()
    used = gpus_in_use(view)
    free = [gpu for gpu in allocation.gpus if gpu not in used]
    return tuple(free[: placement.need_of(configuration).gpus])
