"""The loop of `loops.py:ddp` under nothing but Ray Train, as a script: what a user would write without Milepost."""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def train(config):
    import torch
    from ray import train as ray_train
    from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    module = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    data = TensorDataset(torch.randn(64, 4, generator=torch.Generator().manual_seed(3)))
    loader = DataLoader(data, batch_size=4, sampler=DistributedSampler(data))
    for step, (x,) in enumerate(loader, start=1):
        loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 1:
            rank = ray_train.get_context().get_world_rank()
            Path(config["folder"], f"first-{rank}").write_text(str(time.time()))


def main():
    folder, workers = sys.argv[1], int(sys.argv[2])
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
    TorchTrainer(
        train,
        train_loop_config={"folder": folder},
        scaling_config=ScalingConfig(num_workers=workers),
        run_config=RunConfig(name="bare", storage_path=f"{folder}/ray-train"),
    ).fit()


if __name__ == "__main__":
    main()
