"""One rank of a worker group: what Ray Train runs in each of its workers.

The function is named, not shipped: a worker imports `milepost`, and with it nothing of the services or the driver.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from milepost import code_archive
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.security.tokens import write_private
from milepost.training.loop.host import Rank
from milepost.training.process.console import LogPipe, divert_handlers
from milepost.training.process.streams import OutputStreams
from milepost.training.process.worker import Instance, quiet_libraries


class RankFailed(Exception):
    """The entrypoint failed on this rank. The driver knows already why; this ends the worker group."""


@dataclass(frozen=True, slots=True)
class RankStart:
    """What every rank is told. Holds the secrets of its environment, so it is never logged."""

    # A serialized `AttemptLaunch`.
    launch: bytes
    # Where the driver listens, and what it asks for.
    driver: str
    token: str = field(repr=False)
    environment: dict[str, str] = field(repr=False)
    # For NATS; empty: none are needed.
    credentials: str = field(repr=False, default="")
    # Where relative paths of the user's code start.
    folder: str = ""


def run_rank(start: RankStart) -> None:
    """Run the entrypoint as one rank of the group that Ray Train has made.

    Raises:
        RankFailed: it did not succeed.
    """
    from ray import train as ray_train

    context = ray_train.get_context()
    run_as(Rank(context.get_world_rank(), context.get_world_size()), start, devices())


def run_as(rank: Rank, start: RankStart, own_devices: list[str]) -> None:
    """Run the entrypoint as this rank, in a process group that is there already.

    Raises:
        RankFailed: it did not succeed.
    """
    _take_environment(start.environment)
    launch = AttemptLaunch.FromString(start.launch)
    bring_here(launch, start.credentials)
    folder = next((place for place in (launch.code_directory, start.folder) if Path(place or "-").is_dir()), None)
    if folder is not None:
        os.chdir(folder)
    streams = OutputStreams(start.driver, start.token, rank.rank)
    pipe = LogPipe(streams.records)
    divert_handlers(pipe)
    quiet_libraries()
    instance = Instance(launch, rank, start.driver, start.token, pipe, own_devices)
    instance.start()
    outcome = instance.run()
    instance.finish(outcome)
    streams.close()
    if outcome.outcome == facts.ATTEMPT_OUTCOME_FAILED:
        raise RankFailed(outcome.detail)


def bring_here(launch: AttemptLaunch, credentials: str) -> None:
    """Make what the driver has in files of its host, where this is another one."""
    here = Path(launch.attempt_directory)
    here.mkdir(parents=True, exist_ok=True)
    if credentials and not Path(launch.nats_credentials_file).exists():
        launch.nats_credentials_file = str(here / "nats.creds")
        write_private(here / "nats.creds", credentials.encode())
    if launch.configuration.HasField("code") and not Path(launch.code_directory).is_dir():
        launch.code_directory = str(code_archive.fetch(launch.configuration.code, here / "code"))


def _take_environment(environment: dict[str, str]) -> None:
    """Set what the configuration gives. PyTorch has read its number of threads by now; it is told again."""
    os.environ.update(environment)
    threads = environment.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > 0:
        import torch

        torch.set_num_threads(int(threads))


def devices() -> list[str]:
    """Name what Ray has given to this worker: GPUs by their number on this host, or the CPU."""
    import ray

    numbers = [str(number) for number in ray.get_runtime_context().get_accelerator_ids().get("GPU", [])]
    return [f"cuda:{number}{_model(number)}" for number in numbers] or ["cpu"]


def _model(number: str) -> str:
    """Name the model of a GPU, of which this process may see several; empty where it cannot be told."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    index = visible.index(number) if number in visible else -1
    if index < 0 or not torch.cuda.is_available() or index >= torch.cuda.device_count():
        return ""
    return f" {torch.cuda.get_device_name(index)}"
