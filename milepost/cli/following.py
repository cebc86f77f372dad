"""Follow a runtime to its end: what happens to it and how far its trials are."""

from __future__ import annotations

import queue
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import click

from milepost import errors
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli import output
from milepost.client import Client, resume_stream

ENDED = (runtime_api.RUNTIME_PHASE_ENDED, runtime_api.RUNTIME_PHASE_DELETING, runtime_api.RUNTIME_PHASE_DELETED)
# After the end of a runtime, how long its trials may take to show their last progress.
SETTLE_SECONDS = 2.0
# Between progress lines: where the output is no terminal, and where a line is renewed in place.
LINE_SECONDS = 5.0
IN_PLACE_SECONDS = 0.2


@dataclass
class View:
    """A runtime with its trials by number, as last heard."""

    runtime: runtime_api.Runtime
    trials: dict[int, trial_api.Trial] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.runtime.phase in ENDED


def follow(client: Client, name: str, timeout: float | None = None) -> Iterator[View]:
    """Yield a view after each change until the runtime has ended.

    Progress is best effort: without the trial service the changes of the runtime still come.

    Raises:
        TimeoutError: the runtime has not ended after `timeout` seconds.
    """
    heard: queue.Queue[runtime_api.Runtime | trial_api.Trial | errors.MilepostError] = queue.Queue(maxsize=1_000)
    deadline = None if timeout is None else time.monotonic() + timeout
    for listen in (_hear_runtime, _hear_trials):
        threading.Thread(target=listen, args=(client, name, heard), daemon=True, name=listen.__name__).start()
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
            view.trials[news.trial] = news
        yield view


def _settled(view: View) -> bool:
    running = trial_api.TRIAL_STATUS_RUNNING
    return bool(view.trials) and all(trial.status != running for trial in view.trials.values())


def _hear_runtime(client: Client, name: str, heard: queue.Queue[object]) -> None:
    try:
        for runtime in client.watch_runtime(name):
            heard.put(runtime)
    except errors.MilepostError as error:
        heard.put(error)


def _hear_trials(client: Client, name: str, heard: queue.Queue[object]) -> None:
    def connect() -> Iterator[trial_api.WatchTrialsResponse]:
        return client.trials.WatchTrials(trial_api.WatchTrialsRequest(parent=name, brief=True))

    try:
        for update in resume_stream(connect):
            if update.HasField("trial"):
                heard.put(update.trial)
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
        self._in_place = sys.stdout.isatty()
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
            click.echo(f"\r\x1b[K{(self._prefix + line)[:width]}", nl=False)
            self._open = True
        else:
            self._line(line)

    def _line(self, text: str) -> None:
        self.close()
        click.echo(self._prefix + text)

    def close(self) -> None:
        """End a line that is open."""
        if self._open:
            click.echo()
            self._open = False
