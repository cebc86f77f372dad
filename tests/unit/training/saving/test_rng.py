"""Random states in a snapshot."""

from __future__ import annotations

import random

import torch

from milepost.training.saving import rng
from milepost.training.saving.rng import RandomCapture


def test_random_states_come_back_however_they_were_drawn_from() -> None:
    capture = RandomCapture()
    random.gauss(0, 1)
    torch.rand(3)
    state = rng.from_plain(rng.to_plain(capture.capture()))
    first = (random.random(), random.gauss(0, 1), torch.rand(2).tolist())
    capture.capture()
    rng.restore(state)
    assert (random.random(), random.gauss(0, 1), torch.rand(2).tolist()) == first
