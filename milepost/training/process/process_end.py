"""How this process ends: the error, or the exit status, that its shell will see.

Python tells nobody the exit status before it is gone. What is known shortly before:

* An error that nothing caught is `sys.last_value` by then, whoever has replaced `sys.excepthook`.
* The outermost frame of the main thread shows by its last instruction whether it returned. Then the status is 0.
* `sys.exit` and `exit` are replaced while a run is open, and the last that they raised is remembered. If nobody caught it,
  which its traceback shows, it is how the process ends. Otherwise some code has raised `SystemExit` by itself, and the
  status is not known in here (see `last_word`).
* A process of `multiprocessing` catches everything in a frame of its own, and knows the status there.
* `os._exit` is replaced too: nothing else would run after it.

What ends a process from outside, or in C code, is seen by nobody in it.
"""

from __future__ import annotations

import atexit
import builtins
import dis
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from milepost.training.loop.stop import Stopped
from milepost.training.user_code.forks import rest_in_children

# Errors that tell a loop of its end.
_EXHAUSTED = (StopIteration, StopAsyncIteration)
_DETAIL_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process, or what is recorded of it, ends."""

    # The exit status as a shell sees it, 128 + n after signal n. None: it is not known in this process.
    status: int | None = 0
    # What it has to do with the end, whatever the status.
    error: BaseException | None = None
    # The signal that ends it.
    signal: int = 0
    # Nothing is waited for: no other thread, no user code, no snapshot that takes long.
    at_once: bool = False

    @property
    def failed(self) -> bool:
        """Whether the process says, by its exit status, that it did not do what it should."""
        return self.status != 0

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it: by Ctrl-C, or by a stop that was asked for."""
        if not self.failed:
            return False
        return self.status == 128 + signal.SIGINT or any(map(_interrupts, chain(self.error)))

    @property
    def cause(self) -> BaseException | None:
        """The error that made it end, looked for behind the `SystemExit` that says so."""
        return next((error for error in chain(self.error) if not isinstance(error, SystemExit)), None)

    def words(self) -> str:
        """Say in one line what ended it."""
        if self.signal:
            return f"the process was ended by {signal.Signals(self.signal).name}"
        if self.error is not None and not isinstance(self.error, SystemExit):
            return describe_error(self.error)
        code = self.error.code if self.error is not None else None
        text = "" if code is None or isinstance(code, int) else f": {code}"
        after = f" after {describe_error(self.cause)}" if self.cause is not None else ""
        return f"exit status {self.status}{text}{after}"[:_DETAIL_CHARACTERS]


def end_by_signal(number: int) -> Ending:
    """Return how a process ends that a signal ends."""
    return Ending(128 + number, signal=number, at_once=True)


def ending_of(error: BaseException | None) -> Ending:
    """Return how a process ends that nothing keeps from ending by an error. None: it returns."""
    if error is None or isinstance(error, _EXHAUSTED):
        return Ending()
    return Ending(status_of(error) if isinstance(error, SystemExit) else 1, error)


def status_of(left: SystemExit) -> int:
    """Return the exit status that the shell sees."""
    if left.code is None:
        return 0
    return left.code & 0xFF if isinstance(left.code, int) else 1


def _interrupts(error: BaseException) -> bool:
    """Return whether somebody has had enough, by an error that is no failure."""
    asyncio = sys.modules.get("asyncio")
    cancelled = asyncio is not None and isinstance(error, asyncio.CancelledError)
    return cancelled or isinstance(error, KeyboardInterrupt | Stopped)


def describe_error(error: BaseException) -> str:
    """Say what was raised and where in the user's code, in one line."""
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "/milepost/training/" not in f.filename and "/ray/" not in f.filename
    ]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"[:_DETAIL_CHARACTERS]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Go through an error and those that it was raised from, or while handling."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


class ProcessEnd:
    """Hears of the end of this process, and of how it ends. There is one: `process_end`."""

    def __init__(self) -> None:
        self._on_end: Callable[[Ending], None] | None = None
        self._is_busy: Callable[[], bool] = lambda: False
        self._registered = False
        self._main: FrameType | None = None
        self._exit: SystemExit | None = None
        self._cells = Cells()
        self._replaced: list[Replaced] = []

    def attach(self, on_end: Callable[[Ending], None], is_busy: Callable[[], bool] = lambda: False) -> None:
        """Have a function called when the process ends; not after `detach`, and not in a child that is forked off.

        It is called when the main thread is at its end, for a little later no thread may be given work any more, as a
        call to a server needs it. Where another thread works on then, it is called when that has ended too.

        Args:
            is_busy: tells of a thread that may work on though it is one of a pool, which are not looked at.
        """
        self._on_end, self._is_busy = on_end, is_busy
        self._main = _outermost_frame()
        self._replaced = [
            Replaced(sys, "exit", self._remembering),
            Replaced(os, "_exit", self._announcing),
            Replaced(sys, "excepthook", _not_of_stops),
        ]
        if type(quitter := getattr(builtins, "exit", None)).__name__ == "Quitter":
            self._replaced.append(Replaced(type(quitter), "__call__", self._remembering))
        self._cells.attach()
        rest_in_children(self)
        if not self._registered:
            self._registered = True
            atexit.register(self._end_late)
            # It refuses what comes when the main thread is at its end already.
            with suppress(AttributeError, RuntimeError):
                threading._register_atexit(self._end)  # type: ignore[attr-defined]

    def detach(self) -> None:
        """Hear of nothing any more, and give everything back."""
        self._on_end = None
        self._main = self._exit = None
        for one in self._replaced:
            one.give_back()
        self._replaced = []
        self._cells.detach()

    def rest_in_child(self) -> None:
        """Leave a child as it would be without us."""
        self.detach()

    def _remembering(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(plain)
        def leave(*arguments: Any, **keywords: Any) -> Any:
            try:
                return plain(*arguments, **keywords)
            except SystemExit as left:
                if threading.current_thread() is threading.main_thread():
                    self._exit = left
                raise

        return leave

    def _announcing(self, plain: Callable[[int], Any]) -> Callable[[int], Any]:
        @wraps(plain)
        def leave(status: int) -> Any:
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                on_end(Ending(status & 0xFF, at_once=True))
            return plain(status)

        return leave

    def _end(self) -> None:
        """Python calls it when the main thread has nothing more to do, before it waits for other threads."""
        if not _do_threads_work() and not self._is_busy():
            self._say(self.judge())

    def _end_late(self) -> None:
        """Python calls it when all threads have ended that keep it from ending."""
        self._say(self.judge())

    def _say(self, ending: Ending) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(ending)
            if isinstance(ending.error, KeyboardInterrupt):
                _end_by_interrupt()
        # What was remembered keeps frames alive.
        self.detach()

    def judge(self) -> Ending:
        """Tell how the process ends, once its main thread is at its end."""
        ending = self._judge_process()
        if not ending.status and self._cells.error is not None:
            # A notebook ends with status 0 whatever has happened in it, or with one that is not known here.
            return Ending(1, self._cells.error)
        return ending

    def _judge_process(self) -> Ending:
        status = _status_of_child()
        if status is not None:
            known = self._exit if self._exit is not None and status_of(self._exit) == status else None
            return Ending(status, known)
        if self._main is None or _returned(self._main):
            return Ending()
        error = _uncaught()
        if error is not None and error.__traceback__ is not None and error.__traceback__.tb_frame is self._main:
            return ending_of(error)
        return ending_of(self._exit) if self._exit is not None and _passed_all(self._exit) else Ending(None)


class Replaced:
    """A function that stands in the place of another one, until it is given back."""

    def __init__(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        self._owner = owner
        self._name = name
        self._plain = getattr(owner, name)
        self._ours = make(self._plain)
        setattr(owner, name, self._ours)

    def give_back(self) -> None:
        """Put back the one that was there, unless somebody else has replaced ours meanwhile."""
        if getattr(self._owner, self._name) is self._ours:
            setattr(self._owner, self._name, self._plain)


class Cells:
    """The cells of a notebook, or of IPython: an error ends a cell, and the process goes on."""

    def __init__(self) -> None:
        self._shell: Any = None
        self._before: BaseException | None = None
        # What ended the last cell.
        self.error: BaseException | None = None

    def attach(self) -> None:
        """Follow the cells from the one on that runs now. Elsewhere than in IPython it does nothing."""
        ipython = sys.modules.get("IPython")
        self._shell = ipython.get_ipython() if ipython is not None else None
        self._before, self.error = _uncaught(), None
        if self._shell is not None:
            self._shell.events.register("pre_run_cell", self._begin)
            self._shell.events.register("post_run_cell", self._finish)

    def detach(self) -> None:
        """Follow them no longer."""
        if self._shell is not None:
            self._shell.events.unregister("pre_run_cell", self._begin)
            self._shell.events.unregister("post_run_cell", self._finish)
        self._shell = self._before = self.error = None

    def _begin(self, *about: Any) -> None:
        self._before = _uncaught()

    def _finish(self, result: Any = None) -> None:
        if _says_only_to_leave(result):
            return
        # IPython notes what it shows, also for programs that a cell runs by `%run`.
        shown = _uncaught()
        self.error = shown if shown is not self._before else None


def _says_only_to_leave(result: Any) -> bool:
    """Return whether a cell of IPython does nothing but to end it."""
    cell = str(getattr(getattr(result, "info", None), "raw_cell", ""))
    return cell.strip().removesuffix("()") in ("exit", "quit")


def _not_of_stops(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Show every error but `Stopped`, which somebody has asked for."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        return None if isinstance(error, Stopped) else plain(kind, error, trace)

    return show


def _uncaught() -> BaseException | None:
    """Return the error that Python, or IPython, has shown last."""
    return getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)


def _outermost_frame() -> FrameType | None:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame


def _do_threads_work() -> bool:
    """Return whether the process goes on when its main thread is at its end. Threads of pools wait to be told to end."""
    pools: set[threading.Thread] = set()
    for name, threads in (("thread", "_threads_queues"), ("process", "_threads_wakeups")):
        if (module := sys.modules.get(f"concurrent.futures.{name}")) is not None:
            pools.update(getattr(module, threads))
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    return any(thread not in pools for thread in others)


def _returned(frame: FrameType) -> bool:
    """Return whether a frame that is left was left by a return."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN")


def _end_by_interrupt() -> None:
    """Have Python end this process by SIGINT, as it does after a KeyboardInterrupt that nothing caught.

    It forgets that at the next text that is run as code, such as any `dataclass`. One that raises reminds it.
    """
    with suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")


def _passed_all(left: SystemExit) -> bool:
    """Return whether nobody has caught an error: the frame that it came to last did nothing more than to pass it on.

    A frame that catches it is put at the head of its traceback. In Python 3.11 one that does not is not.
    """
    trace = left.__traceback__
    if trace is None:
        return False
    code, last = trace.tb_frame.f_code.co_code, trace.tb_frame.f_lasti
    operation, argument = dis.opname[code[last]], code[last + 1]
    return last == trace.tb_lasti or operation == "RERAISE" or (operation, argument) == ("RAISE_VARARGS", 0)


def _status_of_child() -> int | None:
    """Return the exit status of a process of `multiprocessing` that is about to end. None: this is none."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is None:
        return None
    ending = processes.BaseProcess._bootstrap.__code__
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not ending:
        frame = frame.f_back
    return frame.f_locals.get("exitcode") if frame is not None else None


process_end = ProcessEnd()
