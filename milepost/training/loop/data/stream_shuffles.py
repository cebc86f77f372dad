"""Streams of Hugging Face Datasets that are shuffled in a buffer.

Such a stream has a state of its own, but not of what is in the buffer: a resume fills a new one, so the examples that were
waiting are lost and all others come in another order. Read again from the start they come as before, if the shuffle was
given a seed. Found by the names of classes, so that nothing is imported here.
"""

from __future__ import annotations

import hashlib
from typing import Any

_BUFFER = "BufferShuffledExamplesIterable"
_DEEPEST = 100


def shuffle_buffers(loader: Any) -> list[Any]:
    """Find the shuffle buffers of a stream, or of the one that a loader reads."""
    found: list[Any] = []
    waiting = [getattr(getattr(loader, "dataset", loader), "_ex_iterable", None)]
    for _ in range(_DEEPEST):
        if not waiting:
            break
        one = waiting.pop()
        if one is None:
            continue
        if type(one).__name__ == _BUFFER:
            found.append(one)
        waiting += [getattr(one, "ex_iterable", None), *(getattr(one, "ex_iterables", None) or ())]
    return found


def buffered_examples(loader: Any) -> int:
    """Return how many examples the buffers of a stream hold at most."""
    return sum(int(buffer.buffer_size) for buffer in shuffle_buffers(loader))


def order_of(loader: Any) -> str:
    """Return a digest of what the order of a shuffled stream comes from; empty: there is none."""
    states = [repr(buffer.generator.bit_generator.state) for buffer in shuffle_buffers(loader)]
    return hashlib.sha256("\n".join(states).encode()).hexdigest()[:16] if states else ""
