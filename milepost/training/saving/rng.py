"""The random number generators of a process: Python's, NumPy's, PyTorch's on the CPU and on every GPU.

`capture` costs a few microseconds and may be called before every batch. Reading the whole state of Python's and of
NumPy's generator takes 90 us, so their raw memory is compared with that of the last capture first.
"""

from __future__ import annotations

import ctypes
import random
import sys
from dataclasses import dataclass
from typing import Any

_MERSENNE_WORDS = 624
# `struct {PyObject head; int index; uint32_t state[624];}` of CPython, `struct {uint32_t key[624]; int pos;}` of NumPy.
_PYTHON_OFFSET = object.__basicsize__
_PYTHON_BYTES = 4 * (_MERSENNE_WORDS + 1)
_NUMPY_BYTES = 4 * (_MERSENNE_WORDS + 1)


@dataclass(frozen=True, slots=True)
class RandomState:
    """States of all generators at one moment. What is not installed or not used is None."""

    python: tuple[Any, ...]
    numpy: tuple[Any, ...] | None
    torch: Any | None
    # One tensor per device; empty where CUDA was never used.
    cuda: tuple[Any, ...] = ()


class RandomCapture:
    """Captures states, cheaply where nothing was drawn since the last capture."""

    def __init__(self) -> None:
        self._python_bytes = b""
        self._python: tuple[Any, ...] = ()
        self._numpy_bytes = b""
        self._numpy: tuple[Any, ...] | None = None
        self._peek_python = _python_can_be_peeked()

    def capture(self) -> RandomState:
        return RandomState(self._capture_python(), self._capture_numpy(), _capture_torch(), _capture_cuda())

    def _capture_python(self) -> tuple[Any, ...]:
        if not self._peek_python:
            return random.getstate()
        seen = _python_memory()
        gauss = random._inst.gauss_next  # type: ignore[attr-defined]
        if seen != self._python_bytes or not self._python or gauss != self._python[2]:
            self._python, self._python_bytes = random.getstate(), seen
        return self._python

    def _capture_numpy(self) -> tuple[Any, ...] | None:
        numpy = sys.modules.get("numpy")
        generator = getattr(getattr(getattr(numpy, "random", None), "mtrand", None), "_rand", None)
        if numpy is None or generator is None:
            return None
        bits = generator._bit_generator
        if type(bits).__name__ != "MT19937":
            return numpy.random.get_state()
        seen = ctypes.string_at(bits.ctypes.state_address, _NUMPY_BYTES)
        # A second Gaussian number may be waiting, which can be used up without a trace in the memory that is compared.
        if seen != self._numpy_bytes or self._numpy is None or self._numpy[3]:
            self._numpy, self._numpy_bytes = numpy.random.get_state(), seen
        return self._numpy


def _python_memory() -> bytes:
    return ctypes.string_at(id(random._inst) + _PYTHON_OFFSET, _PYTHON_BYTES)  # type: ignore[attr-defined]


def _python_can_be_peeked() -> bool:
    """Check that the memory holds what `getstate` says: another interpreter may lay it out differently."""
    if sys.implementation.name != "cpython":
        return False
    words = (ctypes.c_uint32 * (_MERSENNE_WORDS + 1)).from_buffer_copy(_python_memory())
    return (*words[1:], words[0]) == random.getstate()[1]


def _capture_torch() -> Any | None:
    torch = sys.modules.get("torch")
    return torch.get_rng_state() if torch is not None else None


def _capture_cuda() -> tuple[Any, ...]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return ()
    return tuple(torch.cuda.get_rng_state_all())


def restore(state: RandomState) -> None:
    """Put every generator back into a captured state."""
    random.setstate(state.python)
    if state.numpy is not None:
        import numpy as np

        np.random.set_state(state.numpy)
    if state.torch is not None:
        import torch

        torch.set_rng_state(state.torch)
        for device, cuda_state in enumerate(state.cuda):
            if device < torch.cuda.device_count():
                torch.cuda.set_rng_state(cuda_state, device)


def to_plain(state: RandomState) -> dict[str, Any]:
    """Give a state as tensors and plain values, which `torch.load(weights_only=True)` takes."""
    import torch

    plain: dict[str, Any] = {"python": [state.python[0], list(state.python[1]), state.python[2]]}
    if state.numpy is not None:
        name, key, position, has_gauss, gauss = state.numpy
        plain["numpy"] = [
            str(name),
            torch.tensor(key.tolist(), dtype=torch.int64),
            int(position),
            int(has_gauss),
            float(gauss),
        ]
    plain["torch"] = state.torch
    plain["cuda"] = list(state.cuda)
    return plain


def from_plain(plain: dict[str, Any]) -> RandomState:
    """The reverse of `to_plain`."""
    version, internal, gauss = plain["python"]
    numpy_state = None
    if "numpy" in plain:
        import numpy as np

        name, key, position, has_gauss, value = plain["numpy"]
        numpy_state = (name, np.array(key.tolist(), dtype=np.uint32), position, has_gauss, value)
    return RandomState((version, tuple(internal), gauss), numpy_state, plain["torch"], tuple(plain["cuda"]))
