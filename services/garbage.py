"""The garbage collector and read models: large, long-lived, and without cycles that would have to be found.

A full collection walks all objects there are. With 10,000 trials in the read model it takes 138 ms, in which no call is
answered; with what was built frozen it takes less than one.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Collect no garbage while a read model is built, and leave what was built out of every later collection."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
