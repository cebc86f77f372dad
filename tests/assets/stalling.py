"""A data-parallel loop in which rank 1 stands still at some steps, each time for another reason, and goes on."""

import time

import torch
import torch.distributed as dist

# The usual time of a step is known by then.
LAST = 50


class Data(torch.utils.data.Dataset):
    """The example behind the last step takes long, where that is planted."""

    def __init__(self, pause):
        self.pause, self.read = pause, 0

    def __len__(self):
        return 2 * LAST

    def __getitem__(self, index):
        self.read += 1
        if self.read == LAST + 1:
            read_slowly(self.pause)
        return torch.full((4,), float(index))


def read_slowly(seconds):
    time.sleep(seconds)


class Slow:
    """A part of a snapshot that takes long to be written."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __reduce__(self):
        time.sleep(self.seconds)
        return (float, (self.seconds,))


def augment(seconds):
    time.sleep(seconds)


def uneven(trial, slow=-1, seconds=30.0, step_seconds=0.04):
    """Train for a time in which one rank takes half as long again for a step; -1: none does."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    model = torch.nn.parallel.DistributedDataParallel(
        torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 1))
    )
    began, over = time.monotonic(), torch.zeros(1)
    while not over:
        time.sleep(step_seconds * (1.5 if trial.rank == slow else 1.0))
        model(torch.ones(8, 64)).sum().backward()
        trial.log({"train/loss": 1.0})
        over = torch.tensor([float(time.monotonic() - began > seconds)])
        dist.all_reduce(over)


def train(trial, planted="", pause=8.0, steps=60, step_seconds=0.1):
    """Plant `code`, `data`, `storage`, `crossed` or nothing, behind step 50."""
    torch.manual_seed(7)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
    other = dist.new_group([0, 1])
    late = trial.rank == 1
    loader = torch.utils.data.DataLoader(Data(pause if late and planted == "data" else 0.0))
    trial.plan(total_steps=steps)
    batches = iter(loader)
    for step in range(1, steps + 1):
        x = next(batches, None)
        if x is None:
            batches = iter(loader)
            x = next(batches)
        if step == LAST + 1 and planted == "crossed":
            # Each waits for the other one, in a group of its own; the test ends it.
            dist.all_reduce(torch.ones(1), group=other if late else None)
        model(x).sum().backward()
        time.sleep(step_seconds)
        trial.log({"train/loss": 1.0 / step})
        if step == LAST and late and planted == "code":
            augment(pause)
        if step == LAST and late and planted == "storage":
            torch.save({"state": Slow(pause)}, "/dev/null")
