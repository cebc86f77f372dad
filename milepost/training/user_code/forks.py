"""Keeps a run to the process that began it: in a child that is forked off nothing of it acts.

A child gets a copy of everything, but none of the threads: locks may be held for ever, and files and connections are
those of its parent. So each part of a run that acts says here how it comes to rest in a child.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Protocol


class Resting(Protocol):
    """A part of a run."""

    def rest_in_child(self) -> None:
        """Stop acting, in a child that was just forked off: send, write, unlink and wait for nothing any more."""
        ...


_parts: weakref.WeakSet[Resting] = weakref.WeakSet()


def rest_in_children(part: Resting) -> None:
    """Have a part come to rest in every child, for as long as it is there."""
    _parts.add(part)


def _rest() -> None:
    for part in list(_parts):
        part.rest_in_child()
    _parts.clear()


class SharedOnce:
    """Something to be done once, whichever of a process and its children comes to it first."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, 1)

    def is_first(self) -> bool:
        """Return True at the first call. Calls at the very same time may both be the first."""
        first = self._page[0] == 0
        self._page[0] = 1
        return first


os.register_at_fork(after_in_child=_rest)
