"""A loop that is in the middle of its steps until a file appears, and needs nothing but Python."""

import time
from pathlib import Path

STEPS = 40


def train(trial, flag):
    trial.plan(STEPS)
    for step in range(STEPS):
        while step == STEPS // 2 and not Path(flag).exists():
            time.sleep(0.05)
        trial.log({"train/loss": 1.0 / (step + 1)})
