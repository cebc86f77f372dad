"""Real runs, played again from `recorded/*.jsonl` (see `record_runs.py`), with estimates asked for on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from milepost.api.event.v1 import runtime_events_pb2 as runtime_facts
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.eventlog import attempt_subject, control_subject, runtime_subject
from services.trials.readmodel.progress import estimate_trial, step_of
from services.trials.readmodel.view import Key
from tests.benchmarks.parts.run_shapes import FLUSH_SECONDS, JUDGED_FROM, JUDGED_TO, Judged, TqdmBar
from tests.support.trainers.trial_history import RUNTIME, START, History

FOLDER = Path(__file__).parent / "recorded"


def recordings() -> list[Path]:
    return sorted(FOLDER.glob("*.jsonl"))


class Recording:
    """One recorded run of one trial. Times are seconds since its request."""

    def __init__(self, path: Path) -> None:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.told = [line for line in lines if line[0] != "steps"]
        self.end = next(line[1] for line in lines if line[4:5] == ["TrialCompleted"])
        starts = [(line[1], line[5].get("restored_step", 0)) for line in lines if line[4:5] == ["AttemptStarted"]]
        # When each attempt began and the step it went on from, by its number.
        self.starts = {number: (at, int(step)) for number, (at, step) in enumerate(starts, 1)}
        self.total = int(next(line[5]["total_steps"] for line in lines if line[4:5] == ["PlanDeclared"]))
        times = {(line[2], line[3] + index): at for line in lines if line[0] == "steps" for index, at in _steps(line)}
        last = max(self.starts)
        # Of the attempt that went to the end: when each step was done.
        self.steps = sorted(at for (attempt, _), at in times.items() if attempt == last)

    def play(self) -> Judged:
        """Play it through the views, and compare what is estimated each second with what was really left.

        What an interruption will cost cannot be known before it: judged is the attempt that went to the end.
        """
        judged = Judged(self.end)
        history = History().runtime(runtime_facts.RuntimeRequested(runtime_id=RUNTIME, trial_count=1))
        last = max(self.starts)
        begun, restored = self.starts[last]
        bar = TqdmBar(self.total, begun, restored)
        steps, done = iter(self.steps), restored
        next_step = next(steps, None)
        sequence = 0
        for moment, line in self._moments():
            if line is not None:
                sequence += 1
                _tell(history, sequence, line)
                continue
            history.at(moment)
            while next_step is not None and next_step <= moment:
                bar.update(next_step)
                done += 1
                next_step = next(steps, None)
            if moment > begun:
                self._judge(judged, history, moment, bar, done)
        return judged

    def _moments(self) -> Iterator[tuple[float, Any]]:
        """Yield what was told, in time, and between it every second at which the estimate is looked at."""
        look = FLUSH_SECONDS
        for line in self.told:
            while look < line[1]:
                yield look, None
                look += FLUSH_SECONDS
            yield line[1], line

    def _judge(self, judged: Judged, history: History, moment: float, bar: TqdmBar, done: int) -> None:
        view = history.views.trials.get(Key(RUNTIME, 1))
        if view is None:
            return
        position = history.views.position_of(view)
        if not JUDGED_FROM <= step_of(view, position) / self.total <= JUDGED_TO:
            return
        rest = estimate_trial(view, position, history.nanoseconds)
        if rest is None:
            judged.silent += 1
            return
        left = self.end - moment
        judged.ours.append(rest.seconds)
        judged.within.append(rest.low <= left <= rest.high)
        judged.tqdm.append(bar.remaining(self.total - done))
        judged.left.append(left)


def _steps(line: list[Any]) -> Iterator[tuple[int, float]]:
    return ((index, milliseconds / 1_000) for index, milliseconds in enumerate(line[4]))


def _tell(history: History, sequence: int, line: list[Any]) -> None:
    history.at(line[1])
    if line[0] == "batch":
        _, _, trial, attempt, told = line
        headers = {f"mp-{name}": text for name, text in told.items()}
        headers["mp-time"] = str(round(START.timestamp() * 1_000) + int(told["time"]))
        history.views.apply_telemetry(sequence, history.nanoseconds, Key(RUNTIME, trial), attempt, headers)
        return
    _, _, trial, attempt, name, fields, ahead = line
    message: Message = getattr(runtime_facts if trial is None else facts, name)()
    payload = ParseDict(fields, message)
    if isinstance(payload, facts.TrialCreated):
        payload.runtime_id = RUNTIME
    history.clock_ahead = ahead
    if trial is None:
        subject = runtime_subject(RUNTIME)
    else:
        subject = control_subject(RUNTIME, trial) if attempt is None else attempt_subject(RUNTIME, trial, attempt)
    history.event(subject, payload)
