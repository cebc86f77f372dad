"""Given what happened, when a command comes, then this follows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from milepost.domain import runtime, trial
from milepost.domain.decider import Fact, fold

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def stamp(seconds: float = 0.0) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(at(seconds))
    return timestamp


def of_attempt(payload: Message) -> Fact:
    """A fact on the subject of the attempt that it names."""
    return Fact(payload, payload.attempt)  # type: ignore[attr-defined]


class Given:
    """A chain that happened, for one of the two deciders."""

    def __init__(self, decider: Any, *facts: Message | Fact) -> None:
        self._decider = decider
        self.state = fold(decider.evolve, decider.initial, [f if isinstance(f, Fact) else Fact(f) for f in facts])

    def when(self, *commands: object) -> list[Message]:
        """Decide commands one after the other; returns what they bring about and moves on."""
        decided: list[Message] = []
        for command in commands:
            payloads = self._decider.decide(self.state, command)
            attempt = command.attempt if isinstance(command, trial.Record) else None
            for payload in payloads:
                self.state = self._decider.evolve(self.state, Fact(payload, attempt))
            decided += payloads
        return decided


def given_runtime(*facts: Message | Fact) -> Given:
    return Given(runtime, *facts)


def given_trial(*facts: Message | Fact) -> Given:
    return Given(trial, *facts)


def names(payloads: list[Message]) -> list[str]:
    return [type(payload).__name__ for payload in payloads]
