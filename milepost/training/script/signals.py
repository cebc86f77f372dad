"""Signals that end a process: a run says so first, then what would have happened without it happens.

Only those whose default action is to end the process are taken, and only while a run is open. The main thread may be in
a call that does not return for long; Python's handlers wait for it. So a thread of our own does the work: it is woken by
the byte that Python's C handler writes at once (`signal.set_wakeup_fd`). Whoever puts a handler of his own in the place of
ours is left alone, also when he calls ours from it. A child that is forked off has the default actions back before any
signal reaches it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

# SIGINT is an exception in Python, and SIGKILL nobody can take.
ENDING = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)

OnSignal = Callable[[signal.Signals], None]


def die_of(number: int) -> NoReturn:
    """End this process by the default action of a signal. May be called from any thread; it does not return."""
    restore_default(number)
    os.kill(os.getpid(), number)
    while True:
        # Another thread may be the one that gets it, a moment later.
        time.sleep(1.0)


def restore_default(number: int) -> None:
    """Give a signal its default action. May be called from any thread, which `signal.signal` may not."""
    change = ctypes.CDLL(None).signal
    change.argtypes, change.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    change(number, None)


class EndingSignals:
    """The signals of this process that are taken. There is one: `ending_signals`."""

    def __init__(self) -> None:
        self._on_signal: OnSignal | None = None
        self._taken: tuple[signal.Signals, ...] = ()
        self._pipe: tuple[int, int] | None = None
        # One has come: the thread ends the process as soon as the run has said so.
        self._dying = False
        # Of the thread that forks: the signals it had blocked before.
        self._forking = threading.local()

    def attach(self, on_signal: OnSignal) -> None:
        """Have a function called when a signal is about to end this process.

        It is called in a thread of its own, once, and then the process ends. From another thread than the main one, and
        in the first process of a container, where signals without a handler do nothing, nothing is taken.
        """
        if not _in_main_thread() or os.getpid() == 1:
            return
        self._on_signal = on_signal
        free = tuple(number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL)
        self._taken = tuple(number for number in self._taken if self._is_ours(number)) + free
        if self._pipe is None and self._taken:
            self._open_pipe()
        for number in free:
            signal.signal(number, self._handle)

    def _open_pipe(self) -> None:
        reading, writing = self._pipe = os.pipe()
        os.set_blocking(writing, False)
        threading.Thread(target=self._watch, args=(reading,), name="milepost-signals", daemon=True).start()
        previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        if previous != -1:
            # Of an event loop. Its signals are noticed when the main thread comes to it.
            signal.set_wakeup_fd(previous)

    def yield_to_signal(self) -> None:
        """Let a signal that has come end the process, rather than what the main thread does next."""
        while self._dying:
            time.sleep(0.05)

    def detach(self) -> None:
        """Give the signals back: from now on they do what they did before."""
        self._on_signal = None
        if not _in_main_thread():
            # Python lets only the main thread change them. Until `attach`, each does what its default action does.
            return
        for number in self._taken:
            if self._is_ours(number):
                signal.signal(number, signal.SIG_DFL)
        self._close_pipe()
        self._taken = ()

    def _close_pipe(self) -> None:
        if self._pipe is None:
            return
        writing = self._pipe[1]
        self._pipe = None
        current = signal.set_wakeup_fd(-1)
        if current not in (-1, writing):
            signal.set_wakeup_fd(current)
        # The thread then reads the end of it, and closes its own side.
        os.close(writing)

    def _is_ours(self, number: int) -> bool:
        return signal.getsignal(number) == self._handle

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Somebody who has a handler of his own, and calls the one before, decides by himself what the signal does.
        if not self._is_ours(number):
            return
        if self._pipe is None or self._on_signal is None:
            die_of(number)
        else:
            self._dying = True
            with suppress(BlockingIOError):
                os.write(self._pipe[1], bytes((number,)))

    def _watch(self, reading: int) -> None:
        while data := os.read(reading, 1):
            number = data[0]
            if number in self._taken and self._is_ours(number):
                self._end(signal.Signals(number))
        os.close(reading)

    def _end(self, number: signal.Signals) -> None:
        self._dying = True
        # A second one is not made to wait.
        restore_default(number)
        try:
            if self._on_signal is not None:
                self._on_signal(number)
        finally:
            die_of(number)

    # --- forks

    def before_fork(self) -> None:
        """Hold the signals back, so that none reaches the child while it still has our handler."""
        self._forking.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, self._taken)

    def after_fork_in_parent(self) -> None:
        """Let the signals through again."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._forking.blocked)

    def after_fork_in_child(self) -> None:
        """Give the signals back in a child, which has no thread of ours."""
        if self._pipe is not None:
            os.close(self._pipe[0])
        self.detach()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._forking.blocked)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


ending_signals = EndingSignals()
os.register_at_fork(
    before=ending_signals.before_fork,
    after_in_parent=ending_signals.after_fork_in_parent,
    after_in_child=ending_signals.after_fork_in_child,
)
