"""Documents in rows: short ones share one, each of them read as if it were alone."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from milepost.recipes.examples.encoding import Document

# A token with this label is not learnt.
NOT_LEARNT = -100

Row = tuple[Document, ...]


def pack(documents: Sequence[Document], context: int) -> list[Row]:
    """Put documents into rows of at most `context` tokens: the longest first, each where it leaves the least room.

    The same documents give the same rows. None is cut.

    Args:
        documents: none longer than `context`.
    """
    rows: list[list[Document]] = []
    # Rows by the room that they have, and these numbers in order.
    open_rows: dict[int, list[int]] = {}
    rooms: list[int] = []
    for document in sorted(documents, key=lambda one: -len(one.tokens)):
        length = len(document.tokens)
        place = bisect_left(rooms, length)
        if place < len(rooms):
            room = rooms[place]
            index = open_rows[room].pop()
            if not open_rows[room]:
                del open_rows[room], rooms[place]
        else:
            room, index = context, len(rows)
            rows.append([])
        rows[index].append(document)
        if room > length:
            if room - length not in open_rows:
                open_rows[room - length] = []
                insort(rooms, room - length)
            open_rows[room - length].append(index)
    return [tuple(row) for row in rows]


class Rows(Dataset[Row]):
    """Rows by their index."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]


def collate(rows: Sequence[Row], padding: int) -> dict[str, Tensor]:
    """Make a batch of rows, as wide as the longest of them.

    A model is given no attention mask: that `position_ids` begin again at 0 says where the next document begins, also
    the padding, which counts as one.

    Args:
        padding: the token that fills rows up.

    Returns:
        `tokens`, `labels` and `position_ids`, each (rows, width), and `real`: the number of tokens that are no padding,
        by row.
    """
    width = max(sum(len(document.tokens) for document in row) for row in rows)
    tokens = torch.full((len(rows), width), padding)
    labels = torch.full((len(rows), width), NOT_LEARNT)
    places = torch.zeros((len(rows), width), dtype=torch.long)
    real = torch.zeros(len(rows), dtype=torch.long)
    for index, row in enumerate(rows):
        begin = 0
        for document in row:
            end = begin + len(document.tokens)
            tokens[index, begin:end] = torch.tensor(document.tokens)
            places[index, begin:end] = torch.arange(end - begin)
            learnt = torch.tensor(document.learnt)
            labels[index, begin:end] = torch.where(learnt, tokens[index, begin:end], NOT_LEARNT)
            begin = end
        places[index, begin:] = torch.arange(width - begin)
        real[index] = begin
    return {"tokens": tokens, "labels": labels, "position_ids": places, "real": real}
