"""How much of what trials came to follows from each parameter: asked of a process of its own, so that no choice waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from milepost.api.config.v1.configuration_pb2 import Search
from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.configuration import has_sampler
from milepost.domain.search import History, Reported
from services.runtime.readmodel.view import RuntimeView
from services.runtime.searching.sampler import Sampler, definition_of

# With fewer values every answer would be chance.
MIN_VALUES = 10
# The newest ones: a tenth of a second of computing.
MAX_VALUES = 2_000
# Searches whose answers are kept.
KEPT = 100
# The process ends when it was not asked for so long.
IDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Importances:
    """Shares by name of a parameter, the largest first; of so many values. `shares` is empty where these are too few."""

    shares: tuple[tuple[str, float], ...] = ()
    method: str = ""
    value_count: int = 0


class ImportanceReader:
    """Computes importances when it is asked, and keeps them until more values are known."""

    def __init__(self, sampler: Sampler | None = None, idle_seconds: float = IDLE_SECONDS) -> None:
        self._sampler = sampler or Sampler()
        self._idle_seconds = idle_seconds
        self._kept: dict[str, Importances] = {}
        self._turn = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def read(self, name: str, search: Search, history: History) -> Importances:
        """Say how much follows from each parameter of a search.

        Raises:
            SamplerFailed: the process could not be started, has died, or could not compute it.
        """
        points = _points(history)
        if len(points) < MIN_VALUES:
            return Importances(value_count=len(points))
        async with self._turn:
            known = self._kept.pop(name, None)
            if known is None or known.value_count != len(points):
                shares, method = await self._sampler.importances(name, definition_of(search), points[-MAX_VALUES:])
                known = Importances(tuple(shares), method, len(points))
                self._close_later()
            # The one that was asked for last goes last.
            self._kept[name] = known
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
            return known

    async def answer(self, view: RuntimeView) -> api.GetImportancesResponse:
        """Say how much follows from each parameter of a runtime: nothing, where it has no sampler.

        Raises:
            SamplerFailed: as `read`.
        """
        configuration, sequence = view.state.configuration, view.sequence
        if configuration is None or not has_sampler(configuration):
            return api.GetImportancesResponse(sequence=sequence)
        found = await self.read(view.runtime_id, configuration.search, view.state.history)
        shares = [api.GetImportancesResponse.Importance(parameter=name, share=share) for name, share in found.shares]
        return api.GetImportancesResponse(
            importances=shares, method=found.method, value_count=found.value_count, sequence=sequence
        )

    async def close(self) -> None:
        """End the process, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
        await self._sampler.close()

    def _close_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._idle_seconds, self._close_now)

    def _close_now(self) -> None:
        self._closing = asyncio.get_running_loop().create_task(self._sampler.close())


def _points(history: History) -> Sequence[tuple[dict[str, str], float]]:
    """List the parameters and values of the trials that have one, in the order in which they came.

    Of several objectives it is the first one's.
    """
    chosen = {one.trial: dict(one.parameters) for one in history.suggestions()}
    return [
        (chosen[one.trial], one.values[0])
        for one in history.entries
        if isinstance(one, Reported) and one.values and one.trial in chosen
    ]
