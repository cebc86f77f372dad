"""What every decider shares: a fact of the log as a decider sees it, and folding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Fact:
    """An event without its envelope.

    Attributes:
        payload: `SnapshotCommitted` or another member of the closed oneofs.
        attempt: the attempt on whose subject it stands; None on the subjects of the runtime service.
    """

    payload: Message
    attempt: int | None = None


def fold(evolve: Callable[[State, Fact], State], state: State, facts: Iterable[Fact]) -> State:
    """Apply facts in order."""
    for fact in facts:
        state = evolve(state, fact)
    return state
