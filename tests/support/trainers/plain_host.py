"""In place of `trainer.on_ray.ray_host`: starts the ranks as plain processes that meet over gloo. Seconds less than with Ray.

`python -m tests.support.trainers.plain_host` drives an attempt whose worker group is made in this way; so everything
but Ray is real.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.training.v1.training_pb2 import GroupEnded
from milepost.training.loop.host import Rank
from milepost.training.process.rank import run_as
from milepost.training.process.worker import die_with_parent
from tests.support.servers.ports import free_ports
from trainer.on_ray.announcer import Announcer
from trainer.on_ray.ray_host import read_work

RANK = "MILEPOST_TEST_RANK"
PORT = "MILEPOST_TEST_PORT"


def drive() -> None:
    """Be the driver, with this module in the place of the one that drives Ray."""
    from trainer.__main__ import main
    from trainer.on_ray import ray_group

    ray_group.HOST_MODULE = "tests.support.trainers.plain_host"
    sys.exit(main())


def start_ranks() -> None:
    die_with_parent(int(os.environ["MILEPOST_DRIVER_PROCESS"]))
    work = read_work(os.environ)
    announcer = Announcer(work.start.driver, work.start.token, work.launch.attempt)
    workers = work.launch.configuration.resources.workers
    announcer.observe("worker_group.scheduling", f"asks for {workers} plain processes")
    (port,) = free_ports(1)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.support.trainers.plain_host"],
            env={**os.environ, RANK: str(rank), PORT: str(port), "MILEPOST_DRIVER_PROCESS": str(os.getpid())},
        )
        for rank in range(workers)
    ]
    while any(rank.poll() is None for rank in ranks):
        time.sleep(0.02)
    announcer.end(GroupEnded(cause=common.EXIT_CAUSE_FINISHED), 5.0)


def be_a_rank(rank: int) -> None:
    import torch.distributed

    die_with_parent(int(os.environ["MILEPOST_DRIVER_PROCESS"]))
    work = read_work(os.environ)
    workers = work.launch.configuration.resources.workers
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{os.environ[PORT]}", rank=rank, world_size=workers
    )
    run_as(Rank(rank, workers), work.start, ["cpu"])


if __name__ == "__main__":
    if "--launch" in sys.argv:
        drive()
    elif RANK in os.environ:
        be_a_rank(int(os.environ[RANK]))
    else:
        start_ranks()
