"""A user's project for every launcher: it counts, step by step, and needs no library."""

import os
import sys
import time


def train(trial, steps=100_000, step_seconds=0.05, fail_at=0, how="raise"):
    trial.plan(total_steps=steps)
    state = trial.restore() or {"total": 0}
    print(f"begins with {state['total']}", flush=True)
    for _ in trial.epochs(1):
        for number in trial.batches(list(range(steps))):
            state["total"] += number
            time.sleep(step_seconds)
            if fail_at and trial.step + 1 >= fail_at and how == "raise":
                raise RuntimeError("as it was told to")
            if fail_at and trial.step + 1 >= fail_at:
                sys.stdout.flush()
                os.kill(os.getpid(), 9)
            trial.log({"train/total": state["total"]})
            trial.maybe_snapshot(lambda: dict(state))
