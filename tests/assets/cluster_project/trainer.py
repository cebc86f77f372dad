"""A user's project with a file named like one of our packages: a few numbers, trained step by step."""

import os
import time

from model import Model


def train(trial, steps=60, step_seconds=0.1):
    import torch

    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    trial.plan(total_steps=steps)
    state = trial.restore()
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    print(f"the secret is {os.environ.get('PASSWORD', 'not here')}")
    for _ in trial.epochs(1):
        for _ in trial.batches(list(range(steps))):
            loss = model(torch.randn(4, 3)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            time.sleep(step_seconds)
            trial.log({"train/loss": loss})
            trial.maybe_snapshot(lambda: {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
