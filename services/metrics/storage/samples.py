"""Rows beside values on their way into one insert, and how much of them a runtime may have."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from milepost.api.telemetry.v1.telemetry_pb2 import Row
from services.metrics.storage import arrays

if TYPE_CHECKING:
    from services.metrics.storage.batches import Batch

# Of a runtime whose configuration does not say.
DEFAULT_QUOTA_BYTES = 2_048 * 1_000_000
# Of a row: what its columns have besides texts and numbers of its own.
ROW_BYTES = 100


@dataclass(slots=True)
class SampleUsage:
    """How many bytes of rows a runtime has stored."""

    bytes: int = 0


def admit(usage: SampleUsage, rows: Sequence[Row], quota_bytes: int) -> tuple[list[Row], int]:
    """Take rows until the quota is used up. Returns them, and how many bytes they have."""
    taken: list[Row] = []
    size = 0
    for row in rows:
        needed = row.ByteSize() + ROW_BYTES
        if usage.bytes + size + needed <= quota_bytes:
            taken.append(row)
            size += needed
    usage.bytes += size
    return taken, size


def prompt_id(prompt: str) -> int:
    """Return what tells a prompt from others; 0: it is empty."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big") if prompt else 0


class SamplesBlock:
    """Rows of many messages."""

    def __init__(self, stream_id: int) -> None:
        self._stream_id = stream_id
        # Each message with its rows that are stored, their bytes, and how many the quota left out.
        self._messages: list[tuple[Batch, list[Row], int, int]] = []
        self.rows = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def last_sequence(self) -> int:
        return self._messages[-1][0].sequence

    def add(self, batch: Batch, rows: list[Row], size: int, over_quota: int) -> None:
        """Add a message with those of its rows that are stored."""
        self._messages.append((batch, rows, size, over_quota))
        self.rows += len(rows) + 1
        self.bytes += size

    def between(self, first: int, last: int) -> SamplesBlock:
        """Return the messages at positions first..last."""
        found = SamplesBlock(self._stream_id)
        for batch, rows, size, over_quota in self._messages:
            if first <= batch.sequence <= last:
                found.add(batch, rows, size, over_quota)
        return found

    def table(self) -> pa.Table:
        """The rows: all that were logged, then one row per message."""
        messages = self._messages
        rows = [row for _, of_message, _, _ in messages for row in of_message]
        count, empty = len(messages), Row()
        repeats = np.concatenate(
            [np.array([len(of_message) for _, of_message, _, _ in messages], np.int64), np.ones(count, np.int64)]
        )
        batches = [batch for batch, _, _, _ in messages]
        everything = [*rows, *([empty] * count)]

        def spread(values: list[int], dtype: type) -> np.ndarray:
            column = np.array(values, dtype)
            return np.repeat(np.concatenate([column, column]), repeats)

        def named(texts: list[str]) -> pa.DictionaryArray:
            names = list(dict.fromkeys(texts))
            index = {name: place for place, name in enumerate(names)}
            return arrays.named(spread([index[text] for text in texts], np.int32), names)

        def names_of(texts: list[str]) -> pa.DictionaryArray:
            names = list(dict.fromkeys(texts))
            index = {name: place for place, name in enumerate(names)}
            return arrays.named(np.array([index[text] for text in texts], np.int32), names)

        def of_rows(values: list[int], dtype: type) -> np.ndarray:
            return np.concatenate([np.array(values, dtype), np.zeros(count, dtype)])

        def of_messages(values: list[int]) -> np.ndarray:
            return np.concatenate([np.zeros(len(rows), np.int64), np.array(values, np.int64)])

        columns: dict[str, np.ndarray | pa.Array] = {
            "runtime": named([b.sender.runtime_id for b in batches]),
            "trial": spread([b.sender.trial for b in batches], np.uint32),
            "kind": np.concatenate([np.zeros(len(rows), np.int8), np.ones(count, np.int8)]),
            "key": names_of([row.key for row in everything]),
            "step": np.array([row.step for row in rows] + [b.number for b in batches], np.int64),
            "attempt": spread([b.sender.attempt for b in batches], np.uint32),
            "stream_id": np.full(len(everything), self._stream_id, np.uint64),
            "log_seq": spread([b.sequence for b in batches], np.uint64),
            "place": of_rows([place for _, of, _, _ in messages for place in range(len(of))], np.uint32),
            "log_time_ms": spread([b.time_ms for b in batches], np.int64),
            "source": named([b.sender.source for b in batches]),
            "number": spread([b.number for b in batches], np.uint64),
            "time_ms": of_rows([row.time_ms for row in rows], np.int64),
            "form": of_rows([row.form for row in rows], np.uint8),
            "prompt": arrays.texts([row.prompt for row in everything]),
            "prompt_id": of_rows([prompt_id(row.prompt) for row in rows], np.uint64),
            "completion": arrays.texts([row.completion for row in everything]),
            "score_names": pa.array(
                [[score.name for score in row.scores] for row in everything], pa.list_(pa.string())
            ),
            "score_values": pa.array(
                [[score.value for score in row.scores] for row in everything], pa.list_(pa.float64())
            ),
            "group_name": arrays.texts([row.group for row in everything]),
            "tags": pa.array([list(row.tags) for row in everything], pa.list_(pa.string())),
            "content": arrays.texts([row.content for row in everything]),
            "edges": pa.array([list(row.edges) for row in everything], pa.list_(pa.float64())),
            "counts": pa.array([list(row.counts) for row in everything], pa.list_(pa.float64())),
            "media_sha256": names_of([row.media_sha256 for row in everything]),
            "media_type": names_of([row.media_type for row in everything]),
            "media_bytes": of_rows([row.media_bytes for row in rows], np.int64),
            "items": of_messages([batch.row_count for batch in batches]),
            "bytes": of_messages([size for _, _, size, _ in messages]),
            "over_quota": of_messages([over for _, _, _, over in messages]),
        }
        handed = [c if isinstance(c, pa.Array) else arrays.numbers(c) for c in columns.values()]
        return pa.Table.from_arrays(handed, names=list(columns))
