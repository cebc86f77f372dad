"""The sampler as this service speaks to it: a process of its own, so that nothing waits for what it computes.

It is started by the first question, and again by the next one where it has died. What it was told before it is told again
then, so its answer is the same.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.configuration.words import SAMPLERS
from milepost.domain.search import Earlier, Entry, Promoted, Pruned, Reached, Reported, Suggested, objectives_of
from milepost.errors import Unavailable

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "services.runtime.searching.process")
# Entries of a history in one question: others get their turn in between.
ENTRIES_AT_ONCE = 200
# How long one answer may take; a Gaussian process of a thousand points takes seconds.
ANSWER_SECONDS = 300.0
# How long it may take to leave.
LEAVE_SECONDS = 5.0
# The longest answer: a hundred parameters of 16,384 characters.
MAX_ANSWER_BYTES = 16 << 20

_WORDS = {number: word for word, number in SAMPLERS.items()}


class SamplerFailed(Unavailable):
    """The sampler has died, or could not choose."""

    reason = "SAMPLER_FAILED"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a sampler has chosen.

    Attributes:
        parameters: JSON scalars as text, by name.
        version: of the library that chose it.
        differing: trials of the history for which it would have chosen otherwise.
    """

    parameters: dict[str, str]
    version: str
    differing: tuple[int, ...]


def definition_of(search: config.Search) -> dict[str, Any]:
    """Write what a sampler has to know of a search."""
    return {
        "kind": _WORDS[search.kind],
        "seed": search.seed,
        "maximize": [one.mode == config.METRIC_MODE_MAX for one in objectives_of(search)],
        "population_size": search.population_size,
        "space": {name: _dimension(search.space[name]) for name in sorted(search.space)},
        "points": [dict(sorted(point.parameters.items())) for point in search.points],
    }


def _dimension(dimension: config.SearchDimension) -> dict[str, Any]:
    when = {other: list(condition.values) for other, condition in sorted(dimension.when.items())}
    if dimension.values:
        return {"values": list(dimension.values), "when": when}
    return {
        "when": when,
        "minimum": dimension.minimum,
        "maximum": dimension.maximum,
        "log_scale": dimension.log_scale,
        "integer": dimension.integer,
    }


class Sampler:
    """Asks for the next points of searches, one question at a time."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        # How many entries of each history the process has.
        self._known: dict[str, int] = {}

    @property
    def process_id(self) -> int | None:
        """Of the process that answers; None: there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def propose(self, name: str, definition: dict[str, Any], history: Sequence[Entry]) -> Proposal:
        """Ask for the point that follows a history. The same question has the same answer.

        Raises:
            SamplerFailed: the process could not be started, has died, or could not choose. It may be asked again.
        """
        after = min(self._known.get(name, 0), len(history))
        while True:
            entries = [_entry(entry) for entry in history[after : after + ENTRIES_AT_ONCE]]
            last = after + len(entries) == len(history)
            question = {"study": name, "definition": definition, "after": after, "entries": entries, "propose": last}
            answer = await self._ask(question)
            if "has" in answer:
                # It was started anew, or the log has gone on otherwise.
                after = min(int(answer["has"]), len(history))
                continue
            after += len(entries)
            self._known[name] = after
            if last:
                return Proposal(answer["parameters"], answer["version"], tuple(answer["differing"]))

    async def importances(
        self, name: str, definition: dict[str, Any], points: Sequence[tuple[dict[str, str], float]]
    ) -> tuple[list[tuple[str, float]], str]:
        """Ask how much of some values follows from each parameter. Returns shares, the largest first, and by what method.

        Raises:
            SamplerFailed: as `propose`.
        """
        answer = await self._ask({"study": name, "definition": definition, "importances": points})
        return [(parameter, float(share)) for parameter, share in answer["shares"]], answer["method"]

    async def forget(self, name: str) -> None:
        """Forget a search that has ended; the last one ends the process."""
        if self._known.pop(name, None) is None or self.process_id is None:
            return
        if not self._known:
            await self.close()
            return
        with suppress(SamplerFailed):
            await self._ask({"study": name, "forget": True})

    async def close(self) -> None:
        """End the process, if there is one."""
        async with self._turn:
            await self._end()

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await self._exchange(question)
            except (OSError, ValueError, TimeoutError) as error:
                await self._end()
                raise SamplerFailed(f"the sampler: {error or 'it did not answer in time'}") from error
            except asyncio.CancelledError:
                # Its answer would be taken for that to the next question.
                await self._end()
                raise
        if "error" in answer:
            self._known.pop(question["study"], None)
            raise SamplerFailed(f"the sampler could not choose: {answer['error']}")
        return answer

    async def _exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.returncode is not None:
            process = await self._start()
        assert process.stdin is not None and process.stdout is not None, "both are pipes"
        process.stdin.write(json.dumps(question).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise OSError(f"process {process.pid} has died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, limit=MAX_ANSWER_BYTES, env=_environment()
        )
        log.info("sampler.started", extra={"pid": self._process.pid})
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        self._known.clear()
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None, "it is a pipe"
        process.stdin.close()
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await process.wait()
        except (TimeoutError, asyncio.CancelledError):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _entry(entry: Entry) -> list[Any]:
    match entry:
        case Suggested(trial, parameters):
            return ["suggested", trial, dict(parameters)]
        case Reported(trial, values, violations):
            return ["reported", trial, list(values), list(violations)]
        case Reached(trial, _, step, value):
            return ["reached", trial, step, value]
        case Pruned(trial=trial):
            return ["pruned", trial]
        case Promoted():
            raise ValueError("no sampler is told of trials that begin with the weights of others")
        case Earlier(_, trial, parameters, values, violations):
            return ["earlier", trial, dict(parameters), list(values), list(violations)]


def _environment() -> dict[str, str]:
    """One thread: a search is small, and the cores are for training. The same number of threads gives the same sums."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
