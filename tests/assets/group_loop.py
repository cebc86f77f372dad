"""A loop of somebody's own under torchrun: data parallel, gradient accumulation, mixed precision, a schedule.

Arguments: precision, steps, seconds to sleep in each step, snapshot folder ("" for none), rank that fails (-1 for none).
"""

import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import milepost

MICRO_BATCHES, MICRO_SIZE, FEATURES = 2, 4, 6


def data(steps: int, ranks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Examples in the order of steps, micro-batches and ranks."""
    generator = torch.Generator().manual_seed(5)
    count = steps * MICRO_BATCHES * ranks * MICRO_SIZE
    inputs = torch.randn(count, FEATURES, generator=generator)
    return inputs, inputs.sum(1, keepdim=True) + 0.1 * torch.randn(count, 1, generator=generator)


def make_model() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(FEATURES, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))


def main(precision: str, steps: int, pause: float, storage: str, failing: int) -> None:
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    trial = milepost.init(
        name="group", total_steps=steps, parameters={"precision": precision}, snapshots={"every_steps": 1000}
    )
    inputs, targets = data(steps, ranks)
    mine = torch.arange(len(inputs)).reshape(-1, ranks, MICRO_SIZE)[:, rank].reshape(-1)
    loader = DataLoader(TensorDataset(inputs[mine], targets[mine]), batch_size=MICRO_SIZE)
    model = DistributedDataParallel(make_model())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, total_iters=steps)
    mixed = precision == "bfloat16"
    scaler = torch.amp.GradScaler("cpu", enabled=mixed)
    trial.watch(optimizer)
    for number, (x, y) in enumerate(trial.track(loader), 1):
        if rank == failing and number == 5:
            raise RuntimeError("this rank gives up")
        model.require_backward_grad_sync = number % MICRO_BATCHES == 0
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = torch.nn.functional.mse_loss(model(x), y)
        trial.accumulate({"train/loss": loss}, examples=len(x))
        scaler.scale(loss / MICRO_BATCHES).backward()
        if number % MICRO_BATCHES == 0:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            optimizer.zero_grad()
            time.sleep(pause)
            trial.log(trial.mean())
            if storage:
                trial.maybe_snapshot(model.state_dict)
    print(f"rank {rank} did {trial.step} steps", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
