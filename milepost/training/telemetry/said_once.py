"""Problems that training code is told of, each of them once."""

from __future__ import annotations

import logging


class Warnings:
    """Says each problem once, in one line."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._log = logging.getLogger("milepost")

    def has_said(self, problem: str) -> bool:
        return problem in self._said

    def say(self, problem: str, message: str) -> None:
        if problem not in self._said:
            self._said.add(problem)
            self._log.warning("%s", message)
