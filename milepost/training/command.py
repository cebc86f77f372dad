"""Any command as a run: what it prints, what it uses of its machine, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.training.external import ExternalRun, open_run
from milepost.training.lines import LineFolder
from milepost.training.worker import quiet_libraries

# The clock of a command that has no steps: one tick, shown as a step.
TICK_SECONDS = 1.0
# After a stop was asked for, before the command is killed.
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1
_CHUNK = 1 << 16
# Status of a shell for a command that is not found.
NOT_FOUND = 127


class CommandRun:
    """One command, recorded. Steps are seconds: it has no others that could be known."""

    def __init__(
        self, command: Sequence[str], name: str, labels: Mapping[str, str], data_dir: str | Path | None
    ) -> None:
        quiet_libraries()
        self._command = list(command)
        configuration = {"name": (name or Path(command[0]).name)[:100], "labels": dict(labels)}
        self._run: ExternalRun = open_run(configuration, data_dir=data_dir)
        self._run.trial.declare({"command": " ".join(self._command)})
        self._run.trial.should_stop()
        # Asked of us, not of the command: it gets the same signal.
        self._signalled = 0

    @property
    def page(self) -> str:
        """Where the run is shown."""
        return self._run.trial.page

    def execute(self) -> int:
        """Run the command to its end and say how it ended. Returns its exit status, 128 + n after signal n."""
        try:
            process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        except OSError as error:
            self._run.ended_by(common.EXIT_CAUSE_LAUNCH_FAILED, f"{self._command[0]}: {error.strerror}")
            self._run.finish()
            print(f"milepost: {self._command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
            return NOT_FOUND
        self._run.measure(process.pid)
        self._run.trial.advance(0)
        previous = {number: signal.signal(number, self._forward(process)) for number in (signal.SIGINT, signal.SIGTERM)}
        streams = (
            (process.stdout, sys.stdout, telemetry.LOG_STREAM_STDOUT),
            (process.stderr, sys.stderr, telemetry.LOG_STREAM_STDERR),
        )
        copiers = [threading.Thread(target=self._copy, args=stream, daemon=True) for stream in streams]
        for copier in copiers:
            copier.start()
        try:
            status = self._wait(process)
            for copier in copiers:
                # A child of the command may keep its output open for ever.
                copier.join(5.0)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        self._conclude(status)
        return status if status >= 0 else 128 - status

    def _forward(self, process: subprocess.Popen[bytes]) -> Any:
        def forward(number: int, frame: Any) -> None:
            self._signalled = number
            # Ctrl-C in a terminal reaches the command by itself.
            if number != signal.SIGINT or not sys.stdin.isatty():
                process.send_signal(number)

        return forward

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end; count seconds, and pass on a stop."""
        started, told = time.monotonic(), 0.0
        while True:
            try:
                return process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            self._run.trial.advance(int((now - started) / TICK_SECONDS))
            if not told and self._run.trial.should_stop():
                told = now
                process.terminate()
            elif told and now - told > STOP_SECONDS:
                process.kill()

    def _copy(self, source: IO[bytes], target: Any, kind: telemetry.LogStream) -> None:
        """Pass output on as it comes, and record its lines."""
        folder = LineFolder()
        descriptor = source.fileno()
        while chunk := os.read(descriptor, _CHUNK):
            target.buffer.write(chunk)
            target.flush()
            self._record(folder.feed(chunk), kind)
        self._record(folder.end(), kind)

    def _record(self, lines: Sequence[str], kind: telemetry.LogStream) -> None:
        for text in lines:
            self._run.log_line(
                LogLine(
                    time_ms=time.time_ns() // 1_000_000,
                    level=telemetry.LOG_LEVEL_UNSPECIFIED,
                    stream=kind,
                    step=self._run.trial.step,
                    text=text,
                )
            )

    def _conclude(self, status: int) -> None:
        exited = facts.InstanceExited(attempt=self._run.trial.attempt)
        stopped = self._run.trial.left_for_stop or self._signalled == signal.SIGINT
        if status < 0:
            exited.signal, exited.cause = -status, common.EXIT_CAUSE_SIGNAL
            exited.detail = f"ended by {signal.Signals(-status).name}"
        elif status:
            exited.exit_code, exited.cause = status, common.EXIT_CAUSE_EXCEPTION
            exited.detail = f"exit status {status}"
        if stopped:
            self._run.trial.left_for_stop = True
            self._run.stopped_by_user()
        elif status:
            self._run.ended_by(exited.cause, exited.detail, exited)
        self._run.finish()
