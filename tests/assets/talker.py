"""A training loop that says far too much, for as long as it is let."""

import sys
import time

LINE = "the quick brown fox jumps over the lazy dog, again and again and again\n"


def train(trial):
    trial.plan(total_steps=1_000_000)
    ends = time.monotonic() + trial.parameters["seconds"]
    while time.monotonic() < ends:
        sys.stdout.write(LINE * 1_000)
        trial.log({"train/loss": 1.0})
