"""Any command as a run: what it prints, what it uses of its machine, and how it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry
from milepost.api.telemetry.v1.telemetry_pb2 import LogLine
from milepost.api.training.v1.training_pb2 import Finished
from milepost.security.redaction import Redactor
from milepost.training.output.screen import TICK_SECONDS, Line, Screen
from milepost.training.process.process_end import Ending, end_by_signal
from milepost.training.process.worker import quiet_libraries
from milepost.training.script.attempt.outcome import outcome_of
from milepost.training.script.command_name import name_of
from milepost.training.script.external_run import ExternalRun
from milepost.training.script.opening import open_run

# The clock of a command that has no steps: so long is one, shown as a step.
COUNTED_SECONDS = 1.0
# After a stop was asked for, before the command is killed.
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1
_CHUNK = 1 << 16
# Statuses of a shell for a command that is there and cannot be run, and for one that is not found.
CANNOT_RUN = 126
NOT_FOUND = 127
# Handed on to the command. Of a key of the terminal, of its end, and of `fg` the command hears by itself.
_HANDED_ON = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
    signal.SIGCONT,
)
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
_FROM_TERMINAL = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT)


def status_of_refusal(program: str, error: OSError) -> int:
    """Return the status of a shell for a program that could not be started."""
    # Of a script whose interpreter is missing the error is the same as of one that is not there.
    is_there = "/" in program and os.path.lexists(program)
    return NOT_FOUND if isinstance(error, FileNotFoundError) and not is_there else CANNOT_RUN


class Terminal:
    """The terminal that this process was started from, if there is one."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        with suppress(OSError):
            self._descriptor = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)

    def has_told_the_group(self) -> bool:
        """Return whether a signal of a terminal that has come just now came to all processes of this group."""
        if self._descriptor is None:
            return False
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            # It is gone, which is what it tells.
            return True


def _stop_until_continued(handler: Any) -> None:
    """Stop this process as its shell expects it."""
    signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)


class CommandRun:
    """One command, recorded. Steps are seconds: it has no others that could be known."""

    def __init__(
        self,
        command: Sequence[str],
        name: str = "",
        labels: Mapping[str, str] | None = None,
        data_dir: str | Path | None = None,
        not_secret: Sequence[str] = (),
    ) -> None:
        quiet_libraries()
        self._command = list(command)
        fields = {"name": name or name_of(command), "labels": labels, "not_secret": not_secret}
        self._run: ExternalRun = open_run(fields, data_dir=data_dir)
        redactor = Redactor(not_secret)
        self._run.trial.declare({"command": " ".join(redactor.command(self._command))})
        if redactor.found:
            self._say(redactor.said)
        self._run.trial.should_stop()
        # Asked of us, not of the command: it gets the same signal.
        self._signalled = 0
        self._lost = False

    @property
    def page(self) -> str:
        """Where the run is shown."""
        return self._run.trial.page

    def _say(self, text: str) -> None:
        """Say something on the terminal and in the log."""
        print(f"milepost: {text}", file=sys.stderr)  # noqa: T201
        self._record([(time.time(), text)], telemetry.LOG_STREAM_MILEPOST)

    def execute(self) -> int:
        """Run the command to its end and say how it ended. Returns its exit status, -n after signal n."""
        try:
            process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        except OSError as error:
            return self._conclude_without(error)
        self._run.measure(process.pid)
        self._run.trial.advance(0)
        previous = self._hand_on_signals(process)
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
        return status

    def _conclude_without(self, error: OSError) -> int:
        """End the run of a command that could not be started. Returns the status of a shell."""
        text = f"{self._command[0]}: {error.strerror}"
        self._run.ended_by(
            Finished(
                outcome=facts.ATTEMPT_OUTCOME_FAILED,
                cause=common.EXIT_CAUSE_LAUNCH_FAILED,
                detail=text,
            )
        )
        self._run.finish()
        print(f"milepost: {text}", file=sys.stderr)  # noqa: T201
        return status_of_refusal(self._command[0], error)

    def _hand_on_signals(self, process: subprocess.Popen[bytes]) -> dict[signal.Signals, Any]:
        """Hand on what this process is sent. Returns the handlers that were there before."""
        terminal = Terminal()

        def hand_on(number: int, frame: Any) -> None:
            if number in _ENDING:
                self._signalled = number
            if number not in _FROM_TERMINAL or not terminal.has_told_the_group():
                process.send_signal(number)
            if number == signal.SIGTSTP:
                _stop_until_continued(hand_on)

        # What is ignored, as by `nohup`, the command ignores too; and a broken pipe is no end of a run.
        handlers = {number: hand_on for number in _HANDED_ON if signal.getsignal(number) != signal.SIG_IGN}
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return {**previous, signal.SIGPIPE: signal.signal(signal.SIGPIPE, signal.SIG_IGN)}

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end; count seconds, and pass on a stop."""
        started, told = time.monotonic(), 0.0
        while True:
            try:
                return process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            self._run.trial.advance(int((now - started) / COUNTED_SECONDS))
            if not told and self._run.trial.should_stop():
                told = now
                process.terminate()
            elif told and now - told > STOP_SECONDS:
                process.kill()

    def _copy(self, source: IO[bytes], target: Any, kind: telemetry.LogStream) -> None:
        """Pass output on as it comes, and record its lines."""
        screen = Screen()
        descriptor = source.fileno()
        readable = select.poll()
        readable.register(descriptor, select.POLLIN)
        while True:
            if readable.poll(1000 * TICK_SECONDS):
                chunk = os.read(descriptor, _CHUNK)
                if not chunk:
                    break
                try:
                    target.buffer.write(chunk)
                    target.flush()
                except BrokenPipeError:
                    # As if it wrote there itself.
                    source.close()
                    break
                except OSError as error:
                    self._say_lost(error)
                self._record(screen.feed(chunk, time.time()), kind)
            self._record(screen.tick(time.time()), kind)
        self._record(screen.end(time.time()), kind)

    def _say_lost(self, error: OSError) -> None:
        """Say once, in the log, that output goes no further: to a full disk, or to a terminal that is gone."""
        if not self._lost:
            self._lost = True
            text = f"what the command prints cannot be passed on ({error.strerror}); it is recorded here"
            self._record([(time.time(), text)], telemetry.LOG_STREAM_MILEPOST)

    def _record(self, lines: Sequence[Line], kind: telemetry.LogStream) -> None:
        for seconds, text in lines:
            self._run.log_line(
                LogLine(
                    time_ms=int(seconds * 1000),
                    level=telemetry.LOG_LEVEL_UNSPECIFIED,
                    stream=kind,
                    step=self._run.trial.step,
                    text=text,
                )
            )

    def _conclude(self, status: int) -> None:
        ending = end_by_signal(-status) if status < 0 else Ending(status)
        if self._run.left_for_stop or self._signalled == signal.SIGINT:
            self._run.stopped_by_user()
        else:
            self._run.ended_by(outcome_of(ending))
        self._run.finish()
