"""How much of its time a rank waits for the others: looked at a few times a second, beside the loop.

Of ranks that go in step all take equally long for a step, so their step times do not tell which of them holds up the
others. But that one finds the others there at each collective, and they wait for it. A look costs 0.2 ms and asks nothing
of the loop, of a device, or of a clock of another host.
"""

from __future__ import annotations

import random

from milepost.training.telemetry.stalling.stacks import process_groups

# On average; never in step with the loop.
LOOK_SECONDS = 0.25


class WaitingLooks:
    """Counts looks, and those at which a collective was not done that this rank has asked for."""

    def __init__(self) -> None:
        self.looks = 0
        self.waiting = 0
        self._chance = random.Random()

    def look(self) -> None:
        """Look once. Without a process group, or where PyTorch keeps no flight recorder, it counts nothing."""
        groups = process_groups(operations=False)
        if groups:
            self.looks += 1
            self.waiting += any(group.waits for group in groups)

    def pause(self) -> float:
        """Return how long to wait for the next look, in seconds."""
        return self._chance.uniform(0.5, 1.5) * LOOK_SECONDS
