"""Where runtimes stand in the queue of their launcher: kept in order as the log is folded, and stored nowhere."""

from __future__ import annotations

import bisect
from collections import defaultdict

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.domain import runtime

Key = tuple[int, int, str]


class Queue:
    """The runtimes that wait for resources, priority first, then who came first. One line for each launcher."""

    def __init__(self) -> None:
        self._lines: defaultdict[config.Launcher, list[Key]] = defaultdict(list)
        self._known: dict[str, tuple[config.Launcher, Key]] = {}

    def update(self, runtime_id: str, state: runtime.Runtime, began: int) -> None:
        """Take in what is known of a runtime now. `began`: the sequence of its request, or of its last resume."""
        known, now = self._known.get(runtime_id), _place_of(runtime_id, state, began)
        if known == now:
            return
        if known is not None:
            line = self._lines[known[0]]
            del line[bisect.bisect_left(line, known[1])]
            del self._known[runtime_id]
        if now is not None:
            bisect.insort(self._lines[now[0]], now[1])
            self._known[runtime_id] = now

    def position(self, runtime_id: str) -> int:
        """Say where a runtime stands, 1 for the next one; 0: it does not wait."""
        known = self._known.get(runtime_id)
        return bisect.bisect_left(self._lines[known[0]], known[1]) + 1 if known is not None else 0


def _place_of(runtime_id: str, state: runtime.Runtime, began: int) -> tuple[config.Launcher, Key] | None:
    if state.phase is not runtime.Phase.QUEUED or state.stop is not None or state.configuration is None:
        return None
    return state.configuration.launcher, (-state.configuration.priority, began, runtime_id)
