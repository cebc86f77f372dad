"""How what an instance reports gets to whoever appends the events of its attempt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from milepost.api.training.v1.training_pb2 import InstanceInstruction, InstanceReport


class Channel(Protocol):
    """How an instance's reports get to whoever appends the events of its attempt."""

    async def run(self, on_instruction: Callable[[InstanceInstruction], None]) -> None:
        """Receive instructions until cancelled, or until the other side is gone for good."""
        ...

    async def send(self, report: InstanceReport) -> None: ...

    async def close(self, seconds: float) -> None:
        """Wait until the other side has every report."""
        ...
