"""A class that trains: argparse, loaders, a sampler that is told its epoch, validation, early stopping."""

import argparse
import os
import pathlib
import random
import time

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, random_split


class Noisy(Dataset):
    """Points of a line; each is drawn with noise of Python's own generator when it is read."""

    def __len__(self):
        return 96

    def __getitem__(self, index):
        x = torch.tensor([index / 96.0, 1.0])
        return x, 3 * x[:1] - 1 + 0.1 * random.gauss(0, 1)


class EpochSampler(Sampler):
    """An order that depends on the epoch alone, as that of a distributed sampler does."""

    def __init__(self, size, seed):
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.size

    def __iter__(self):
        order = list(range(self.size))
        random.Random(f"{self.seed} {self.epoch}").shuffle(order)
        return iter(order)


class Trainer:
    def __init__(self, args):
        self.args = args
        random.seed(args.seed)
        torch.manual_seed(args.seed)
        training, validation = random_split(Noisy(), [64, 32])
        self.sampler = EpochSampler(64, args.seed)
        self.loader = DataLoader(training, batch_size=args.batch_size, sampler=self.sampler)
        self.validation = DataLoader(validation, batch_size=16, shuffle=True)
        self.model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=args.lr, momentum=0.9)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 10, gamma=0.7)
        self.step, self.first_epoch = 0, 1
        self.best, self.bad_epochs = float("inf"), 0

    def training_step(self, x, y):
        loss = torch.nn.functional.mse_loss(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        print(f"step {self.step}: loss {loss.item()!r}")
        time.sleep(self.args.pause)
        return loss

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        total = sum(torch.nn.functional.mse_loss(self.model(x), y).item() for x, y in self.validation)
        self.model.train()
        return total / len(self.validation)

    def fit(self):
        for epoch in range(self.first_epoch, self.args.epochs + 1):
            self.sampler.set_epoch(epoch)
            for x, y in self.loader:
                self.training_step(x, y)
            score = self.validate()
            self.bad_epochs = 0 if score < self.best else self.bad_epochs + 1
            self.best = min(self.best, score)
            if self.bad_epochs > self.args.patience:
                break
        print("weights", sum(p.double().sum().item() for p in self.model.parameters()), "best", self.best)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--layers", type=int, nargs="+", default=[8])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--pause", type=float, default=float(os.environ.get("PAUSE", "0")))
    Trainer(parser.parse_args()).fit()
