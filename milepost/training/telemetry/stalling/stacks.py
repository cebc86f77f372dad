"""What the threads of this process are doing, for a training that makes no progress.

Nothing here waits for a disk: where a file system hangs, the thread that says so must not hang with it. So frames are
named by file and line, and their source is not read.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import sysconfig
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain.stalls import Group

# Of all threads of all ranks together; see `max_text_bytes`.
ALL_RANKS_BYTES = 512 << 10
MAX_TEXT_BYTES = 24 << 10
MIN_TEXT_BYTES = 1 << 10
MAX_GROUPS = 16
# Outermost frames are left out beyond it: a recursion has thousands.
MAX_FRAMES = 60
OWN_THREADS = "milepost-"

# Calls within which a thread loads or saves, whatever is called in turn: a data set is the user's code.
_STORAGE = (
    "milepost/training/saving/",
    "milepost/snapshots",
    "milepost/storage",
    "torch/serialization.py",
    "torch/distributed/checkpoint/",
)
_DATA = ("torch/utils/data/",)
# Calls that wait for other ranks, unless they call code of the user.
_COLLECTIVE = ("torch/distributed/", "torch/nn/parallel/distributed.py")
# Where gradients of all ranks are put together by code that is no Python.
_BACKWARD = ("torch/autograd/",)


@dataclass(frozen=True, slots=True)
class Frame:
    """One call. `path` is short: below the folder of its library, or below the working folder."""

    path: str
    line: int
    function: str
    # Of the user, not of Python, a library or Milepost.
    own: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line} in {self.function}"


def max_text_bytes(world_size: int) -> int:
    """Return how much one of so many ranks says, at most."""
    return min(MAX_TEXT_BYTES, max(MIN_TEXT_BYTES, ALL_RANKS_BYTES // max(1, world_size)))


def record(loop_thread: threading.Thread | None, world_size: int = 1) -> facts.StacksRecorded:
    """Return what all threads are doing, first that of the loop; attempt, rank and step are left to the caller.

    Args:
        loop_thread: the one that trains. None: the main thread.
        world_size: how many ranks say the same.
    """
    trains = loop_thread or threading.main_thread()
    frames = sys._current_frames()
    groups = process_groups()
    own = stack(frames.get(trains.ident or 0))
    where = place(own, in_group=_is_in_group(), asleep_on_disk=kernel_state(trains) == "D")
    return facts.StacksRecorded(
        place=where,
        frame=str(_telling(own)) if own else "",
        text=_text(trains, frames, max_text_bytes(world_size)),
        groups=[
            facts.CollectiveState(
                group=group.name, enqueued=group.enqueued, completed=group.completed, operation=group.operation
            )
            for group in groups
        ],
    )


def stack(frame: FrameType | None) -> list[Frame]:
    """Return the calls from the outermost to the innermost."""
    found: list[Frame] = []
    while frame is not None:
        path, own = _short(frame.f_code.co_filename)
        found.append(Frame(path, frame.f_lineno, frame.f_code.co_name, own))
        frame = frame.f_back
    found.reverse()
    return found


def place(frames: Sequence[Frame], *, in_group: bool, asleep_on_disk: bool = False) -> facts.StackPlace:
    """Return what a thread waits for, as far as its calls tell.

    Args:
        frames: from the outermost to the innermost.
        in_group: other ranks take part in its backward pass.
        asleep_on_disk: the kernel says that it waits for a disk.
    """
    libraries = [frame.path for frame in reversed(frames) if not frame.own]
    for path in libraries:
        if path.startswith(_STORAGE):
            return facts.STACK_PLACE_STORAGE
        if path.startswith(_DATA):
            return facts.STACK_PLACE_DATA_LOADER
    waits = (*_COLLECTIVE, *_BACKWARD) if in_group else _COLLECTIVE
    for frame in itertools.takewhile(lambda frame: not frame.own, reversed(frames)):
        if frame.path.startswith(waits):
            return facts.STACK_PLACE_COLLECTIVE
    return facts.STACK_PLACE_STORAGE if asleep_on_disk else facts.STACK_PLACE_CODE


def kernel_state(thread: threading.Thread) -> str:
    """Return the state of a thread as the kernel names it: `R` runs, `S` sleeps, `D` waits for a disk. Empty: unknown."""
    with suppress(OSError):
        text = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
        # The name of a thread may have any character, a bracket too.
        return text.rpartition(")")[2].split()[0]
    return ""


def process_groups(*, operations: bool = True) -> list[Group]:
    """Return how far this rank has come in each process group; nothing where PyTorch does not tell.

    Args:
        operations: with what the last collective is, which takes longer.
    """
    module = sys.modules.get("torch._C._distributed_c10d")
    dump = getattr(module, "_dump_fr_trace_json", None)
    if dump is None or not _is_in_group():
        return []
    return parse_groups(dump(operations, False))


def parse_groups(text: str | bytes) -> list[Group]:
    """Read a trace of the flight recorder of PyTorch 2.13 (`torch._C._distributed_c10d._dump_fr_trace_json`)."""
    try:
        trace = json.loads(text)
        status = trace["pg_status"]
        operations = {
            (str(entry["pg_id"]), int(entry["collective_seq_id"])): str(entry["profiling_name"])
            for entry in trace.get("entries", ())
            if not entry.get("is_p2p")
        }
        groups = []
        for number, state in sorted(status.items())[:MAX_GROUPS]:
            enqueued, completed = int(state["last_enqueued_collective"]), int(state["last_completed_collective"])
            operation = operations.get((number, enqueued), "").rpartition(":")[2]
            groups.append(Group(number, enqueued, completed, operation[:64]))
        return groups
    except (ValueError, KeyError, TypeError, AttributeError):
        # Another version of PyTorch writes it otherwise; the stacks tell enough.
        return []


def _is_in_group() -> bool:
    distributed = sys.modules.get("torch.distributed")
    return bool(distributed and distributed.is_available() and distributed.is_initialized())


def _telling(frames: Sequence[Frame]) -> Frame:
    """Return the innermost call of the user's code, or the innermost of all."""
    return next((frame for frame in reversed(frames) if frame.own), frames[-1])


def _text(trains: threading.Thread, frames: dict[int, FrameType], max_bytes: int) -> str:
    """Write the stacks of all threads, that of the loop first, within a size."""
    others = [thread for thread in threading.enumerate() if thread is not trains]
    parts: list[str] = []
    for thread in [trains, *others]:
        frame = frames.get(thread.ident or 0)
        if frame is None or thread.name.startswith(OWN_THREADS):
            continue
        state = kernel_state(thread)
        about = ", ".join(
            word for word in ("trains" if thread is trains else "", f"kernel: {state}" if state else "") if word
        )
        parts.append("\n".join([f"{thread.name} ({about}):" if about else f"{thread.name}:", *_lines(stack(frame))]))
    return cut("\n\n".join(parts), max_bytes)


def _lines(frames: Sequence[Frame]) -> Iterable[str]:
    left_out = len(frames) - MAX_FRAMES
    if left_out > 0:
        yield f"  ... {left_out} outer calls"
    for frame in frames[-MAX_FRAMES:]:
        yield f"  {frame}"


def cut(text: str, max_bytes: int) -> str:
    """Return a text within a size; what is left out is said."""
    data = text.encode(errors="replace")
    if len(data) <= max_bytes:
        return data.decode()
    kept = data[: max_bytes - 40].decode(errors="ignore").rpartition("\n")[0]
    return f"{kept}\n... {len(data) - len(kept.encode()):,} bytes left out"


def _short(path: str) -> tuple[str, bool]:
    """Return a path below the folder it is found by, and whether the user wrote it."""
    if path.startswith("<"):
        return path, False
    if path.startswith(f"{_ROOT}milepost/"):
        return path[len(_ROOT) :], False
    for folder in _LIBRARIES:
        if path.startswith(folder):
            return path[len(folder) :], False
    here = _working_folder()
    return (path[len(here) :] if path.startswith(here) else path), True


def _working_folder() -> str:
    try:
        return f"{Path.cwd()}/".replace("//", "/")
    except FileNotFoundError:
        # It was removed.
        return "/"


def _library_folders() -> tuple[str, ...]:
    """Return the folders of libraries, the longest first: that of packages lies within that of Python."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {sysconfig.get_paths()[name].rstrip("/") + "/" for name in names}
    real = {os.path.realpath(folder).rstrip("/") + "/" for folder in folders}
    return tuple(sorted(folders | real, key=len, reverse=True))


_ROOT = str(Path(__file__).resolve().parents[4]) + "/"
_LIBRARIES = _library_folders()
