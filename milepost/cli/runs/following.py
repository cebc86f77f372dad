"""Follow a runtime to its end: what happens to it and how far its trials are."""

from __future__ import annotations

import queue
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TextIO

from milepost import errors
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli import output
from milepost.cli.runs import monitor
from milepost.client import Client, resume_stream

ENDED = (
    runtime_api.RUNTIME_PHASE_ENDED,
    runtime_api.RUNTIME_PHASE_RESTORABLE,
    runtime_api.RUNTIME_PHASE_DELETING,
    runtime_api.RUNTIME_PHASE_DELETED,
)
# After the end of a runtime, how long its trials may take to show their last progress.
SETTLE_SECONDS = 2.0
# Between progress lines: where the output is no terminal, and where a line is renewed in place.
LINE_SECONDS = 5.0
IN_PLACE_SECONDS = 0.2
# Between two readings of the curves of a trial, and the most values read of each.
CURVES_SECONDS = 2.0
CURVE_BUCKETS = 120


# What may have been heard of a runtime.
News = runtime_api.Runtime | trial_api.WatchTrialsResponse | errors.MilepostError


@dataclass
class View:
    """A runtime with its trials by number, as last heard."""

    runtime: runtime_api.Runtime
    trials: dict[int, trial_api.Trial] = field(default_factory=dict)
    # Over all trials. None: not known.
    estimate: trial_api.Estimate | None = None

    @property
    def ended(self) -> bool:
        return self.runtime.phase in ENDED


def follow(client: Client, name: str, timeout: float | None = None, markers: bool = False) -> Iterator[View]:
    """Yield a view after each change until the runtime has ended.

    Progress is best effort: without the trial service the changes of the runtime still come. `markers`: trials come
    with evaluations, snapshots and ends of epochs.

    Raises:
        TimeoutError: the runtime has not ended after `timeout` seconds.
    """
    heard: queue.Queue[News] = queue.Queue(maxsize=1_000)
    deadline = None if timeout is None else time.monotonic() + timeout
    hear_trials = partial(_hear_trials, brief=not markers)
    for listen in (_hear_runtime, hear_trials):
        threading.Thread(target=listen, args=(client, name, heard), daemon=True).start()
    view = View(client.get_runtime(name))
    yield view
    ended_at: float | None = None
    while True:
        now = time.monotonic()
        if deadline is not None and now > deadline:
            raise TimeoutError(f"{name} is still {output.enum_word(view.runtime, 'status')}")
        ended_at = (ended_at or now) if view.ended else None
        if ended_at is not None and (now - ended_at > SETTLE_SECONDS or _settled(view)):
            return
        try:
            news = heard.get(timeout=0.25)
        except queue.Empty:
            continue
        if isinstance(news, errors.MilepostError):
            raise news
        if isinstance(news, runtime_api.Runtime):
            if news.sequence < view.runtime.sequence:
                continue  # older than what was read at first
            view.runtime = news
        else:
            view.trials[news.trial.trial] = news.trial
            view.estimate = news.runtime_estimate if news.HasField("runtime_estimate") else None
        yield view


def _settled(view: View) -> bool:
    running = trial_api.TRIAL_STATUS_RUNNING
    return bool(view.trials) and all(trial.status != running for trial in view.trials.values())


def _hear_runtime(client: Client, name: str, heard: queue.Queue[News]) -> None:
    try:
        for runtime in client.watch_runtime(name):
            heard.put(runtime)
    except errors.MilepostError as error:
        heard.put(error)


def _hear_trials(client: Client, name: str, heard: queue.Queue[News], brief: bool) -> None:
    def connect() -> Iterator[trial_api.WatchTrialsResponse]:
        return client.trials.WatchTrials(trial_api.WatchTrialsRequest(parent=name, brief=brief))

    try:
        for update in resume_stream(connect, client.patience):
            if update.HasField("trial"):
                heard.put(update)
    except errors.MilepostError:
        return


def progress_line(trial: trial_api.Trial) -> str:
    """Say where a trial is: `4,120 / 10,000 · 41.2 %  E0 450/1000  52 steps/s  1 m 53 s left  train/loss 2.31`."""
    progress = trial.progress
    steps = f"{progress.step:,}"
    if progress.HasField("total_steps"):
        steps += f" / {progress.total_steps:,} · {progress.completion_percent:.1f} %"
    parts = [f"trial {trial.trial} {output.trial_status(trial)}", steps, progress.batch_text]
    if trial.throughput.steps_per_second and trial.status == trial_api.TRIAL_STATUS_RUNNING:
        parts.append(f"{trial.throughput.steps_per_second:.1f} steps/s")
    if trial.estimate.HasField("remaining"):
        parts.append(f"{output.duration(trial.estimate.remaining)} left")
    parts += [
        f"{key} {output.number(value)}" for key, value in sorted(trial.last_values.items()) if key == "train/loss"
    ]
    return "  ".join(part for part in parts if part)


def status_line(runtime: runtime_api.Runtime) -> str:
    """Say what a runtime is doing and why."""
    words = [output.enum_word(runtime, "status"), output.enum_word(runtime, "phase")]
    return f"{runtime.runtime_id} {' '.join(words)}" + (f": {runtime.reason}" if runtime.reason else "")


class ProgressPrinter:
    """Shows a run in progress: changes of the runtime as lines, progress in place on a terminal."""

    def __init__(self, quiet: bool = False, prefix: str = "") -> None:
        self._quiet = quiet
        self._prefix = prefix
        self._status = ""
        self._printed_at: dict[int, float] = {}
        self._printed: dict[int, str] = {}
        self._in_place = output.draws_over(sys.stdout)
        self._open = False

    def show(self, view: View) -> None:
        if self._quiet:
            return
        status = status_line(view.runtime)
        if status != self._status:
            self._status = status
            self._line(status)
        for trial in view.trials.values():
            self._progress(trial)

    def _progress(self, trial: trial_api.Trial) -> None:
        line, now = progress_line(trial), time.monotonic()
        ended = trial.status != trial_api.TRIAL_STATUS_RUNNING
        if line == self._printed.get(trial.trial):
            return
        pause = IN_PLACE_SECONDS if self._in_place else LINE_SECONDS
        if not ended and now - self._printed_at.get(trial.trial, -LINE_SECONDS) < pause:
            return
        self._printed[trial.trial], self._printed_at[trial.trial] = line, now
        if self._in_place and not ended:
            width = shutil.get_terminal_size().columns - 1
            output.draw_line(self._prefix + line, width)
            self._open = True
        else:
            self._line(line)

    def _line(self, text: str) -> None:
        self.close()
        output.show(self._prefix + text)

    def close(self) -> None:
        """End a line that is open."""
        if self._open:
            output.show()
            self._open = False


class Monitor:
    """Draws a run in a terminal, in place. Curves are read beside it, so a slow answer holds up nothing."""

    def __init__(self, client: Client, stream: TextIO = sys.stdout) -> None:
        self._client = client
        self._stream = stream
        self._screen = monitor.Screen(stream)
        self._glyphs = monitor.glyphs_for(stream.encoding)
        self._drawn_at = 0.0
        self._view: View | None = None
        self._curves: dict[str, list[float]] = {}
        self._reading: threading.Thread | None = None
        self._read_at = 0.0
        self._read_of = ""

    def show(self, view: View) -> None:
        """Draw what is now, but not more often than an eye can follow."""
        self._view = view
        now = time.monotonic()
        trial = monitor.chosen_trial(view.trials)
        if trial is not None:
            self._read_curves(trial.name, now)
        if view.ended or now - self._drawn_at >= IN_PLACE_SECONDS:
            self._drawn_at = now
            self._draw(view)

    def close(self) -> None:
        """Leave the last picture, with the curves to their ends."""
        if self._reading is not None:
            self._reading.join(SETTLE_SECONDS)
        if self._view is not None:
            trial = monitor.chosen_trial(self._view.trials)
            if trial is not None:
                self._read(trial.name)
            self._draw(self._view)

    def _draw(self, view: View) -> None:
        size = monitor.terminal_size(self._stream)
        picture = monitor.Picture(view.runtime, view.trials, self._curves, view.estimate)
        self._screen.show(monitor.draw(picture, size.columns - 1, self._glyphs), size.lines)

    def _read_curves(self, name: str, now: float) -> None:
        if self._reading is not None and self._reading.is_alive():
            return
        if name != self._read_of:
            self._curves = {}
        elif now - self._read_at < CURVES_SECONDS:
            return
        self._read_at, self._read_of = now, name
        self._reading = threading.Thread(target=self._read, args=(name,), daemon=True)
        self._reading.start()

    def _read(self, name: str) -> None:
        keys = [key for key, _ in monitor.SERIES]
        try:
            answer = self._client.query_series([name], keys, bucket_count=CURVE_BUCKETS)
        except errors.MilepostError:
            return  # a monitor goes on without its curves; the page and `milepost metrics` say what is wrong
        if name == self._read_of:
            self._curves = {series.key: list(series.lasts) for series in answer.series}
