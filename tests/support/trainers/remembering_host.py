"""A host of trials that keeps what it is told, in place of a process that records it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from milepost.api.training.v1.training_pb2 import AttemptLaunch, InstanceReport
from milepost.training.loop.host import NullHost, Rank
from milepost.training.telemetry.buffer import StepBuffer


class RememberingHost(NullHost):
    """Keeps facts, reports, points, lines and problems."""

    def __init__(self, rank: Rank | None = None, launch: AttemptLaunch | None = None) -> None:
        super().__init__(launch or AttemptLaunch(attempt=1), rank or Rank(led=False))
        self.facts: list[Any] = []
        self.sent: list[InstanceReport] = []
        self.warned: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.rows = self.buffer = StepBuffer(self.warn)

    def report(self, payload: Message) -> None:
        if self.rank.rank == 0:
            self.facts.append(payload)

    def report_own(self, payload: Message) -> None:
        self.facts.append(payload)

    def send(self, report: InstanceReport) -> None:
        self.sent.append(report)

    def warn(self, problem: str, text: str) -> None:
        self.warned.append((problem, text))

    def say(self, what: str, values: Mapping[str, float]) -> None:
        self.lines.append(what)

    @property
    def said(self) -> dict[str, str]:
        """Each problem, with what is said of it: the first text."""
        return dict(reversed(self.warned))

    def points(self) -> dict[str, list[tuple[int, float]]]:
        """Take the points that were logged, by series."""
        found: dict[str, list[tuple[int, float]]] = {}
        for group in self.buffer.take():
            for key, values in zip(group.keys, group.values, strict=True):
                found.setdefault(key, []).extend(zip(group.steps, values, strict=True))
        return {key: sorted(values) for key, values in found.items()}
