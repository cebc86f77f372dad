"""Shapes of training runs, simulated: what happens when, what the sender would tell of it, and how long was really left."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from milepost.api.event.v1 import trial_events_pb2 as facts
from services.trials.readmodel.progress import estimate_trial
from tests.support.trainers.trial_history import History, committed

# The sender cuts a batch this often.
FLUSH_SECONDS = 1.0
# Estimates are judged between these shares of the steps.
JUDGED_FROM, JUDGED_TO = 0.2, 0.95
EVALUATION_BATCHES = 20


@dataclass(frozen=True)
class Action:
    """Something the loop does: `step`, `evaluation`, `snapshot`, `epoch`, `pause`, `crash`, `plan`.

    `value`: of a crash the step that is restored, of a plan the new total.
    """

    kind: str
    seconds: float = 0.0
    value: int = 0


@dataclass(frozen=True)
class Shape:
    """A kind of run. `plan`: what the training code declares at the start."""

    name: str
    plan: dict[str, int]
    actions: Callable[[random.Random], Iterator[Action]]


@dataclass
class Judged:
    """Estimates of one run and what was really left, in seconds, at the same moments."""

    total: float = 0.0
    ours: list[float] = field(default_factory=list)
    tqdm: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    within: list[bool] = field(default_factory=list)
    # Moments at which there was no estimate.
    silent: int = 0

    def errors(self, estimates: list[float]) -> list[float]:
        """How far the end was missed, in percent of the time that was really left."""
        return [100 * abs(estimate - left) / left for estimate, left in zip(estimates, self.left, strict=True)]


class TqdmBar:
    """A real tqdm bar around a training loop, with its defaults, on a time that is told to it.

    `initial`: the step that a resumed loop goes on from, at the time `start`.
    """

    def __init__(self, total: int, start: float = 0.0, initial: int = 0) -> None:
        self._now = self._start = start
        tqdm.monitor_interval = 0
        self._bar = tqdm(total=total, initial=initial, file=io.StringIO())
        self._bar._time = lambda: self._now
        self._bar.start_t = self._bar.last_print_t = start

    def update(self, time: float) -> None:
        self._now = time
        self._bar.update()

    def set_total(self, total: int) -> None:
        self._bar.total = total

    def remaining(self, steps: int) -> float:
        """What its display would say, in seconds."""
        rate = self._bar.format_dict["rate"] or (self._bar.n - self._bar.initial) / (self._now - self._start)
        return steps / rate if rate else math.inf


class Run:
    """Plays a shape through the views as the real sender and driver would, and asks for estimates on the way."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self._actions = list(shape.actions(random.Random(seed)))
        self._end = sum(action.seconds for action in self._actions)
        self._plan: dict[str, Any] = dict(shape.plan)
        self._history = History().requested().running(**self._plan)
        self._attempt = 1
        self._step = 0
        self._next_flush = FLUSH_SECONDS
        self._busy = 0.0
        self._epoch = 0
        self._samples = 32
        self._phase: dict[str, Any] = {}
        self._told: tuple[object, ...] = ()
        # Judging every second of a long run says no more.
        self._judge_seconds = max(FLUSH_SECONDS, self._end / 500)
        self._next_judged = 0.0
        self._crashes = sum(action.kind == "crash" for action in self._actions)
        self._tqdm = TqdmBar(self._plan["total_steps"])
        self.judged = Judged(self._end)

    def play(self) -> Judged:
        play = {
            "step": self._play_step,
            "evaluation": self._play_evaluation,
            "snapshot": self._play_snapshot,
            "epoch": self._play_epoch,
            "pause": self._play_pause,
            "crash": self._play_crash,
            "plan": self._play_plan,
        }
        for action in self._actions:
            play[action.kind](action)
        return self.judged

    def _pass(self, seconds: float) -> None:
        """Let time pass; the sender flushes on its way."""
        end = self._history.seconds + seconds
        while self._next_flush <= end:
            self._history.at(self._next_flush)
            self._flush()
            self._next_flush += FLUSH_SECONDS
            self._judge()
        self._history.at(end)

    def _flush(self) -> None:
        """Tell the position, unless nothing has moved: then the sender is silent."""
        told = (self._step, self._epoch, *self._phase.values())
        if told == self._told:
            return
        self._told = told
        headers: dict[str, Any] = {"busy_ms": round(self._busy * 1000), "samples": self._samples, "epoch": self._epoch}
        headers |= self._phase
        self._busy = 0.0
        self._history.batch(self._step, attempt=self._attempt, **headers)

    def _judge(self) -> None:
        """Compare what is estimated with what is really left. What a crash will cost cannot be known before it."""
        total = self._plan["total_steps"]
        if not JUDGED_FROM <= self._step / total <= JUDGED_TO or self._attempt <= self._crashes:
            return
        if self._history.seconds < self._next_judged:
            return
        self._next_judged = self._history.seconds + self._judge_seconds
        view = self._history.view()
        rest = estimate_trial(view, self._history.views.position_of(view), self._history.nanoseconds)
        if rest is None:
            self.judged.silent += 1
            return
        left = self._end - self._history.seconds
        self.judged.ours.append(rest.seconds)
        self.judged.within.append(rest.low <= left <= rest.high)
        self.judged.tqdm.append(self._tqdm.remaining(total - self._step))
        self.judged.left.append(left)

    def _play_step(self, action: Action) -> None:
        self._pass(action.seconds)
        self._step += 1
        self._tqdm.update(self._history.seconds)

    def _play_evaluation(self, action: Action) -> None:
        started = facts.EvaluationStarted(step=self._step, batch_count=EVALUATION_BATCHES)
        self._history.attempt(self._attempt, started)
        for batch in range(EVALUATION_BATCHES):
            self._phase = {"phase": "evaluating", "eval_batch": batch, "eval_batches": EVALUATION_BATCHES}
            self._pass(action.seconds / EVALUATION_BATCHES)
        self._phase = {}
        self._busy += action.seconds
        ended = facts.EvaluationCompleted(step=self._step, duration_seconds=action.seconds)
        self._history.attempt(self._attempt, ended)

    def _play_snapshot(self, action: Action) -> None:
        self._history.attempt(self._attempt, facts.SnapshotStarted(step=self._step))
        self._phase = {"phase": "snapshotting"}
        self._pass(action.seconds)
        self._phase = {}
        self._busy += action.seconds
        self._history.attempt(self._attempt, committed(self._step, self._attempt))

    def _play_epoch(self, action: Action) -> None:
        self._history.attempt(self._attempt, facts.EpochCompleted(epoch=action.value, step=self._step))
        self._epoch = action.value + 1

    def _play_pause(self, action: Action) -> None:
        self._pass(action.seconds)

    def _play_crash(self, action: Action) -> None:
        self._history.control(facts.AttemptFenced(attempt=self._attempt, last_step=self._step))
        self._history.control(facts.RetryScheduled(attempt=self._attempt, retry=1))
        self._history.after(action.seconds)
        self._attempt += 1
        self._history.running(self._attempt, committed(action.value, self._attempt - 1), **self._plan)
        self._step = action.value
        self._next_flush = self._history.seconds + FLUSH_SECONDS
        self._busy = 0.0

    def _play_plan(self, action: Action) -> None:
        self._plan["total_steps"] = action.value
        self._samples *= 2
        self._history.attempt(self._attempt, facts.PlanDeclared(**self._plan))
        self._tqdm.set_total(action.value)


def noisy(random_: random.Random, seconds: float, share: float = 0.1) -> float:
    return seconds * random_.lognormvariate(0.0, share)


@dataclass(frozen=True)
class Every:
    """Something that comes every so many steps and takes so many seconds."""

    steps: int
    seconds: float


def steps(
    random_: random.Random,
    first: int,
    last: int,
    step_seconds: Callable[[int], float],
    evaluation: Every | None = None,
    snapshot: Every | None = None,
    noise: float = 0.1,
) -> Iterator[Action]:
    """Do the steps first..last with what comes between them."""
    for step in range(first, last + 1):
        yield Action("step", noisy(random_, step_seconds(step), noise))
        if evaluation is not None and step % evaluation.steps == 0:
            yield Action("evaluation", noisy(random_, evaluation.seconds))
        if snapshot is not None and step % snapshot.steps == 0:
            yield Action("snapshot", noisy(random_, snapshot.seconds))


def constant(random_: random.Random) -> Iterator[Action]:
    return steps(random_, 1, 10_000, lambda step: 0.05, Every(500, 3.0), Every(1_000, 0.5))


def warm_up(random_: random.Random) -> Iterator[Action]:
    """Compilation in the first step, autotuning after it, caches that fill over a tenth of the run."""

    def seconds(step: int) -> float:
        if step == 1:
            return 45.0
        return 0.5 if step < 50 else 0.1 if step < 600 else 0.06

    return steps(random_, 1, 6_000, seconds, Every(500, 2.0))


def slow_evaluations(random_: random.Random) -> Iterator[Action]:
    return steps(random_, 1, 3_000, lambda step: 0.1, Every(200, 12.0), Every(1_000, 1.0))


def snapshots(random_: random.Random) -> Iterator[Action]:
    return steps(random_, 1, 4_000, lambda step: 0.08, Every(1_000, 5.0), Every(200, 6.0))


def drift(random_: random.Random) -> Iterator[Action]:
    """The machine gets hot: a fifth slower at the end."""
    return steps(random_, 1, 8_000, lambda step: 0.05 * (1 + 0.2 * step / 8_000), Every(1_000, 4.0))


def stalls(random_: random.Random) -> Iterator[Action]:
    """A file system that hangs twice, and a loader that waits for a shard every 400 steps."""
    hangs = {random_.randrange(1_000, 5_000), random_.randrange(5_000, 10_000)}
    for step in range(1, 12_001):
        yield from steps(random_, step, step, lambda _: 0.06, Every(1_000, 4.0), Every(1_000, 0.5))
        if step % 400 == 0:
            yield Action("pause", noisy(random_, 3.0))
        if step in hangs:
            yield Action("pause", noisy(random_, 15.0, 0.3))


def resume(random_: random.Random) -> Iterator[Action]:
    """Crashes at 45 %, goes on from the snapshot at 40 % after half a minute, a little slower on another machine."""
    yield from steps(random_, 1, 2_700, lambda step: 0.06, Every(500, 3.0), Every(600, 0.5))
    yield Action("crash", 30.0, 2_400)
    yield from steps(random_, 2_401, 6_000, lambda step: 0.065, Every(500, 3.0), Every(600, 0.5))


def batch_size(random_: random.Random) -> Iterator[Action]:
    """Twice the batch from the middle on: slower steps, and half as many of them in the new plan."""
    yield from steps(random_, 1, 3_000, lambda step: 0.05, Every(500, 3.0))
    yield Action("plan", value=4_500)
    yield from steps(random_, 3_001, 4_500, lambda step: 0.095, Every(500, 3.0))


def epochs(random_: random.Random) -> Iterator[Action]:
    """Eight epochs whose loader needs a while to start, with an evaluation at the end of each, which no plan told of."""
    for epoch in range(8):
        yield Action("pause", noisy(random_, 8.0))
        yield from steps(random_, epoch * 700 + 1, epoch * 700 + 700, lambda step: 0.07)
        yield Action("epoch", value=epoch)
        yield Action("evaluation", noisy(random_, 10.0))


def uneven(random_: random.Random) -> Iterator[Action]:
    """Sequences of very different lengths: a step takes between a third and thrice the usual time."""
    return steps(random_, 1, 5_000, lambda step: 0.08, Every(500, 4.0), noise=0.6)


def short(random_: random.Random) -> Iterator[Action]:
    return steps(random_, 1, 300, lambda step: 0.15, Every(50, 1.0))


def slow_steps(random_: random.Random) -> Iterator[Action]:
    return steps(random_, 1, 400, lambda step: 20.0, Every(100, 90.0), Every(50, 15.0))


SHAPES = (
    Shape("constant", {"total_steps": 10_000, "eval_every_steps": 500, "snapshot_every_steps": 1_000}, constant),
    Shape("warm-up", {"total_steps": 6_000, "eval_every_steps": 500}, warm_up),
    Shape(
        "slow evaluations",
        {"total_steps": 3_000, "eval_every_steps": 200, "snapshot_every_steps": 1_000},
        slow_evaluations,
    ),
    Shape("heavy snapshots", {"total_steps": 4_000, "eval_every_steps": 1_000, "snapshot_every_steps": 200}, snapshots),
    Shape("drifting speed", {"total_steps": 8_000, "eval_every_steps": 1_000}, drift),
    Shape("stalls", {"total_steps": 12_000, "eval_every_steps": 1_000, "snapshot_every_steps": 1_000}, stalls),
    Shape("resume", {"total_steps": 6_000, "eval_every_steps": 500, "snapshot_every_steps": 600}, resume),
    Shape("batch size changes", {"total_steps": 6_000, "eval_every_steps": 500}, batch_size),
    Shape("epochs", {"total_steps": 5_600, "steps_per_epoch": 700}, epochs),
    Shape("uneven steps", {"total_steps": 5_000, "eval_every_steps": 500}, uneven),
    Shape("short run", {"total_steps": 300, "eval_every_steps": 50}, short),
    Shape("slow steps", {"total_steps": 400, "eval_every_steps": 100, "snapshot_every_steps": 50}, slow_steps),
)
