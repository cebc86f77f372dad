"""A user's file with the name of one of our packages."""

from protos import LEARNING_RATE
from services import make_model


def train(trial, steps=5):
    import torch

    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    trial.plan(total_steps=steps)
    for _ in range(steps):
        loss = model(torch.ones(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trial.log({"train/loss": loss})
