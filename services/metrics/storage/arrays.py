"""Between numpy and Arrow by handing buffers over: nothing is copied, and pandas, which pyarrow's own ways of doing it
load, stays out of the process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

_TYPES = {
    "i1": pa.int8(),
    "i4": pa.int32(),
    "i8": pa.int64(),
    "u1": pa.uint8(),
    "u4": pa.uint32(),
    "u8": pa.uint64(),
    "f8": pa.float64(),
}


def numbers(column: np.ndarray) -> pa.Array:
    """Hand a column of numbers to Arrow."""
    contiguous = np.ascontiguousarray(column)
    return pa.Array.from_buffers(_TYPES[contiguous.dtype.str[1:]], len(contiguous), [None, pa.py_buffer(contiguous)])


def flags(column: np.ndarray) -> pa.Array:
    """Hand a column of booleans to Arrow."""
    packed = np.packbits(column, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(column), [None, pa.py_buffer(packed)])


def texts(column: Sequence[str]) -> pa.Array:
    """Hand a column of texts to Arrow. What is not Unicode (lone surrogates) becomes question marks."""
    encoded = [text.encode(errors="replace") for text in column]
    offsets: np.ndarray = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return pa.Array.from_buffers(
        pa.large_string(), len(encoded), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )


def named(indices: np.ndarray, names: Sequence[str]) -> pa.DictionaryArray:
    """Make a column of few different texts out of their numbers."""
    return pa.DictionaryArray.from_arrays(numbers(indices.astype(np.int32, copy=False)), texts(names))


def as_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Take a column of numbers, none of them null, from Arrow."""
    name = next(name for name, arrow_type in _TYPES.items() if arrow_type == column.type)
    if not len(column):
        return np.zeros(0, name)
    joined = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    return np.frombuffer(joined.buffers()[1], name, joined.offset + len(joined))[joined.offset :]
