"""A small model as an entrypoint of Milepost, and as a script of its own that says when its first step is done."""

import time

import torch
from torch.utils.data import DataLoader, TensorDataset


def make():
    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 1))
    inputs = torch.randn(4096, 64)
    loader = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=32, shuffle=True)
    return model, torch.optim.AdamW(model.parameters(), lr=0.01), loader


def update(model, optimizer, inputs, targets):
    loss = torch.nn.functional.mse_loss(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def train(trial, step_seconds=0.05):
    model, optimizer, loader = make()
    state = trial.restore()
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    trial.plan(total_steps=len(loader), steps_per_epoch=len(loader), epochs=1)
    for _ in trial.epochs(1):
        for inputs, targets in trial.batches(loader):
            trial.log({"train/loss": update(model, optimizer, inputs, targets)})
            trial.maybe_snapshot(lambda: {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
            time.sleep(step_seconds)


if __name__ == "__main__":
    made, stepper, batches = make()
    update(made, stepper, *next(iter(batches)))
    print("first step", flush=True)
