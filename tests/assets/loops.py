"""Small training loops for tests of what can happen to one."""

import logging
import os
import random
import sys
import time
from pathlib import Path

import torch


class Walk:
    """A model that any change of order or of random numbers shows in."""

    def __init__(self):
        torch.manual_seed(7)
        random.seed(7)
        self.value = torch.zeros(4)

    def step(self, batch, rate=0.9):
        noise = torch.rand(4) + random.random()
        self.value = rate * self.value + batch.float().mean() * noise
        return self.value.sum()

    def state(self):
        return {"value": self.value.clone()}


def loader(size=32, batch=2):
    data = torch.arange(size)
    return torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True)


def _run(trial, epochs=3, batches=None, step_seconds=0.0, after_step=lambda step: None, evaluate=None, rate=None):
    walk = Walk()
    state = trial.restore()
    if state is not None:
        walk.value = state["value"]
    if evaluate is not None:
        trial.evaluate_every(8, lambda: evaluate(walk))
    trial.plan(total_steps=epochs * 16, steps_per_epoch=16, epochs=epochs)
    for _ in trial.epochs(epochs):
        for batch in trial.batches(batches or loader()):
            loss = walk.step(batch) if rate is None else walk.step(batch, rate.value)
            time.sleep(step_seconds)
            trial.log({"train/loss": loss})
            after_step(trial.step)
            trial.maybe_snapshot(walk.state)


def plain(trial, step_seconds=0.0):
    def say(step):
        if step % 8 == 0:
            trial.samples("eval/samples", [{"prompt": "p", "completion": f"at step {step}", "reward": step}])

    _run(trial, step_seconds=step_seconds, after_step=say)


def steered(trial, step_seconds=0.0, epochs=3, rate=0.9):
    rate = trial.steerable("rate", rate, minimum=0.0, maximum=1.0)
    _run(trial, epochs, step_seconds=step_seconds, rate=rate)


class SlowLoader:
    """Blocks for a minute before a batch, once: the second attempt has the data at once."""

    def __init__(self, flag, at):
        self.loader, self.flag, self.at = loader(), Path(flag), at

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for index, batch in enumerate(self.loader):
            if index == self.at and not self.flag.exists():
                self.flag.touch()
                time.sleep(60)
            yield batch


def data_wait(trial, flag):
    _run(trial, batches=SlowLoader(flag, 9))


def slow_evaluation(trial, flag):
    def evaluate(walk):
        with trial.evaluation(20) as evaluation:
            total = 0.0
            for batch in evaluation.batches(list(range(20))):
                total += float(torch.rand(1)) + batch
                if trial.step == 24 and not Path(flag).exists() and batch == 3:
                    Path(flag).touch()
                    for _ in evaluation.batches(iter(lambda: time.sleep(0.05), 1)):
                        pass
            evaluation.log({"eval/score": total})

    _run(trial, evaluate=evaluate)


def slow_snapshot(trial, flag):
    walk = Walk()
    state = trial.restore()
    if state is not None:
        walk.value = state["value"]

    def give():
        if trial.step >= 20 and not Path(flag).exists():
            Path(flag).touch()
            time.sleep(3)
        return walk.state()

    for _ in trial.epochs(3):
        for batch in trial.batches(loader()):
            time.sleep(0.05)
            trial.log({"train/loss": walk.step(batch)})
            trial.maybe_snapshot(give)


def forgets(trial):
    for _ in range(3):
        trial.log({"train/loss": 1.0})


def fails(trial):
    def after(step):
        if step == 5:
            raise RuntimeError("the loss went away")

    _run(trial, after_step=after)


def needs_module(trial):
    import no_such_module_anywhere  # noqa: F401


def needs_parameter(trial):
    trial.parameters["missing"]


def killed(trial):
    def after(step):
        if step == 6:
            print("last words", flush=True)
            os.kill(os.getpid(), 9)

    _run(trial, after_step=after)


def exits(trial):
    _run(trial, after_step=lambda step: os._exit(3) if step == 4 else None)


def out_of_memory(trial):
    trial.log({"train/loss": 1.0})
    raise MemoryError("no more")


def takes_memory(trial, gigabytes):
    """Logs one step, and then asks for memory as a model that is too large does."""
    trial.log({"train/loss": 1.0})
    torch.zeros(int(gigabytes * 1e9), dtype=torch.uint8)
    trial.log({"train/loss": 0.5})


def bad_state(trial):
    trial.log({"train/loss": 1.0})
    trial.snapshot(lambda: {"model": Walk()})


def odd_values(trial):
    nan = float("nan")
    trial.log({"train/loss": 1.0, "a b": 2, "text": "no number"})
    trial.log({"train/loss": nan})
    trial.log({"train/loss": float("inf"), "big": 10**400})
    trial.log({"train/loss": torch.tensor(-float("inf")), "matrix": torch.ones(2, 2)})
    trial.log({"train/loss": 5.0}, step=10)
    trial.log({"late": 3.0}, step=2)
    trial.log({"partial": 1.0}, commit=False)
    trial.log({"train/loss": 6.0})


def talks(trial):
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    print("to stdout")
    print("to stderr", file=sys.stderr)
    logging.getLogger("mine").info("by logging")
    logging.getLogger("mine").error("with\nlines")
    for percent in range(0, 101, 10):
        print(f"\r{percent} %", end="", file=sys.stderr)
    print(file=sys.stderr)
    trial.log({"train/loss": 1.0})
    print("after step 1")


def grows(trial, steps):
    for step in range(steps):
        trial.log({"train/loss": float(step), "train/learning_rate": 0.1})


def accumulates(trial, per_step=4):
    """One step for four batches, and one for those that are left over; the last batch is smaller than the others."""
    batches = loader(size=19)
    trial.plan(total_steps=6, steps_per_epoch=3, epochs=2, batches_per_epoch=len(batches))
    for _ in trial.epochs(2):
        losses = []
        for number, batch in enumerate(trial.batches(batches), 1):
            losses.append(batch.float().mean())
            if number % per_step == 0 or number == len(batches):
                trial.log({"train/loss": torch.stack(losses).mean(), "batches": len(losses)})
                losses = []


def watched(trial):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.05)
    trial.watch(optimizer)
    for step in range(1, 5):
        loss = model(torch.ones(3) * step).square().sum()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        if step % 2:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        optimizer.step()
        trial.log({"train/loss": loss, "own/norm": norm})


def heavy(trial, megabytes=4, steps=100_000, step_seconds=0.05):
    """Saves so many megabytes in each snapshot."""
    state = trial.restore() or {"weights": torch.zeros(megabytes << 18)}
    for _ in range(trial.step, steps):
        time.sleep(step_seconds)
        trial.log({"train/loss": 1.0 / (trial.step + 1)})
        trial.maybe_snapshot(lambda: state)


def dies_saving(trial, point):
    """Is killed at one point of writing its second snapshot, in its first attempt only."""
    if trial.attempt == 1:
        _arm(trial, point)
    _run(trial, step_seconds=0.02)


def _arm(trial, point):
    from milepost.training.saving import snapshots

    def deadly(function, before):
        def call(*arguments, **options):
            spared = trial.step < 15
            result = function(*arguments, **options) if spared or not before else None
            if not spared:
                if point == "driver":
                    os.kill(os.getppid(), 9)
                os.kill(os.getpid(), 9)
            return result

        return call

    draft = snapshots.SnapshotDraft
    targets = {
        "created": (draft, "save_state", True),
        "state": (draft, "save_state", False),
        "rank": (draft, "save_rank", False),
        "synced": (snapshots, "_sync", False),
        "before rename": (draft, "_rename", True),
        "after rename": (draft, "_rename", False),
        "driver": (draft, "_rename", False),
    }
    owner, name, before = targets[point]
    setattr(owner, name, deadly(getattr(owner, name), before))


def hangs(trial):
    """Does a hundred quick steps, and then nothing, as a deadlock does."""
    for _ in range(100):
        time.sleep(0.05)
        trial.log({"train/loss": 1.0})
    time.sleep(3_600)


def floods(trial, lines, seconds):
    """Print very many lines; every 100,000th has a word of its own."""
    trial.log({"train/loss": 1.0})
    began = time.monotonic()
    for number in range(lines):
        if number % 1000 == 0:
            time.sleep(max(0.0, began + seconds * number / lines - time.monotonic()))
        word = f"needle-{number // 100_000}" if number % 100_000 == 77 else "loss"
        sys.stdout.write(f"line {number:07d} {word} 0.{number % 997:03d} tokens/s\n")
    trial.log({"train/loss": 0.5})


def ddp(trial, step_seconds=0.0, batch=8, examples=64, epochs=6, sharded=False, trouble="", flag=""):
    """A data-parallel loop; where there is one rank, the same loop without the parallelism.

    Args:
        trouble: what goes wrong: `raises` and `disk` on rank 1 only, `data` on all, while `flag` is not there.
    """
    # Half as much again as torch itself: the other loops do without.
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    module = torch.nn.parallel.DistributedDataParallel(model) if trial.world_size > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    rate = trial.steerable("learning_rate", 0.05, minimum=0.0, maximum=1.0)
    generator = torch.Generator().manual_seed(3)
    data = torch.utils.data.TensorDataset(torch.randn(examples, 4, generator=generator))
    loader = trial.shard(torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True), seed=5)
    random.seed(100 + trial.rank)
    if trouble == "disk" and trial.rank == 1:
        _fill_disk_once()
    if trouble == "data":
        loader = Blocking(loader, Path(flag), 12)

    def give():
        if sharded:
            parts = get_state_dict(model, optimizer)
            return {"model": parts[0], "optimizer": parts[1]}
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}

    state = trial.restore(into=give)
    if state is not None and sharded:
        set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    elif state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    print(f"rank {trial.rank} of {trial.world_size} begins after step {trial.step}", flush=True)
    trial.plan(total_steps=epochs * len(loader), steps_per_epoch=len(loader), epochs=epochs)
    for _ in trial.epochs(epochs):
        for (x,) in trial.batches(loader):
            optimizer.param_groups[0]["lr"] = rate.value
            loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            time.sleep(step_seconds)
            trial.log({"train/loss": loss})
            if trouble == "raises" and trial.rank == 1 and trial.step == 7:
                raise RuntimeError("the loss went away")
            trial.maybe_snapshot(give, sharded=sharded)


class Blocking:
    """Blocks before one batch of the run, until a file is there."""

    def __init__(self, loader, flag, at):
        self.loader, self.flag, self.at, self.given = loader, flag, at, 0
        self.batch_sampler = loader.batch_sampler

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader:
            while self.given == self.at and not self.flag.exists():
                time.sleep(0.02)
            self.given += 1
            yield batch


def _fill_disk_once():
    from milepost.training.saving import snapshots

    save = snapshots.SnapshotDraft.save_rank

    def fail(*arguments):
        snapshots.SnapshotDraft.save_rank = save
        raise OSError(28, "No space left on device")

    snapshots.SnapshotDraft.save_rank = fail


def device_values(trial, steps=50):
    """Logs tensors of a GPU in a loop that may not wait for it."""
    values = torch.arange(steps, device="cuda", dtype=torch.float32)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    for step in range(steps):
        value = values[step] * 2
        trial.log({"train/loss": value, "train/grad_norm": value + 1})
        value.add_(1000)
    torch.cuda.set_sync_debug_mode("default")


def diverges(trial, at, steps):
    """Fit a line; from a step on the learning rate is too high, and the loss grows with each step."""
    torch.manual_seed(0)
    weight = torch.zeros(8, requires_grad=True)
    trial.plan(total_steps=steps)
    for step in range(1, steps + 1):
        x = torch.randn(64, 8)
        loss = (x @ weight - x.sum(1)).square().mean() + 1.0
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight -= gradient * (0.01 if step < at - 1 else 3.0)
        trial.log({"train/loss": loss})
        if step == at + 5:
            trial.alert("Diverges", f"the loss is {loss:.3g}", "error")
        time.sleep(0.05)
