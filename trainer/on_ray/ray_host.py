"""`python -m trainer.on_ray.ray_host`: the process that drives Ray for one attempt. Started by the driver, never by hand.

It is apart from the driver because Ray ends processes that lose its daemons, and the driver must live to append what
happened. It starts a Ray instance on the loopback interface, or joins the cluster that `RAY_ADDRESS` names, and runs
Ray Train's controller over the worker group. It never starts a group anew: retries are the scheduler's.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.training.v1.training_pb2 import AttemptLaunch, GroupEnded
from milepost.installation.json_logs import JsonFormatter
from milepost.training.process.rank import RankStart, run_rank
from milepost.training.process.worker import DRIVER_VARIABLE, LAUNCH_VARIABLE, TOKEN_VARIABLE, die_with_parent
from trainer.addresses import is_on_loopback
from trainer.on_ray.announcer import Announcer

log = logging.getLogger(__name__)

# The folder of the instance that this process starts; empty when it joins one.
FOLDER_VARIABLE = "MILEPOST_RAY_FOLDER"
# The folder in which the user's relative paths start.
WORK_VARIABLE = "MILEPOST_WORK_FOLDER"
GROUP_START_SECONDS = 300
OBJECT_STORE_BYTES = 100 << 20
DAEMON_POLL_SECONDS = 0.2
END_SECONDS = 5.0
# Exit status when the group is over, however: what happened was said.
ENDED = 0

NOT_STARTED: tuple[str, ...] = ("start_monitor", "start_log_monitor", "start_api_server")
# What Ray is told, unless somebody has said otherwise.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(GROUP_START_SECONDS),
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    # On a busy machine a worker takes long to import Ray.
    "RAY_worker_register_timeout_seconds": str(GROUP_START_SECONDS),
    "RAY_DEDUP_LOGS": "0",
}
# With it Ray listens on the loopback interface only, and looks for others there only.
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True, slots=True)
class Work:
    """What this process was told."""

    launch: AttemptLaunch
    start: RankStart
    # None: join.
    folder: Path | None


def read_work(environment: Mapping[str, str]) -> Work:
    """Read what the driver has put into the environment."""
    launch = json_format.Parse(
        Path(environment[LAUNCH_VARIABLE]).read_text(), AttemptLaunch(), ignore_unknown_fields=True
    )
    names = launch.configuration.environment
    start = RankStart(
        launch=launch.SerializeToString(),
        driver=environment[DRIVER_VARIABLE],
        token=environment[TOKEN_VARIABLE],
        # On another host the workers do not inherit it.
        environment={name: environment[name] for name in names if name in environment},
        credentials=Path(launch.nats_credentials_file).read_text() if launch.nats_credentials_file else "",
        folder=environment.get(WORK_VARIABLE, ""),
    )
    folder = environment.get(FOLDER_VARIABLE)
    return Work(launch, start, Path(folder) if folder else None)


def settings_for(cluster: str) -> dict[str, str]:
    """Return what Ray is told before it is imported.

    Args:
        cluster: `host:port` of the cluster that is joined; empty: none is.
    """
    return {**SETTINGS, **ON_LOOPBACK} if is_on_loopback(cluster) else dict(SETTINGS)


def resources_per_worker(launch: AttemptLaunch) -> dict[str, float]:
    """Give the resources of one worker in Ray's words."""
    asked = launch.configuration.resources
    found = {"CPU": asked.cpus_per_worker, "GPU": asked.gpus_per_worker}
    if asked.memory_gigabytes_per_worker:
        found["memory"] = asked.memory_gigabytes_per_worker * 1e9
    return {name: amount for name, amount in found.items() if amount}


def protect(folder: Path, environment: dict[str, str]) -> None:
    """Have the instance ask for a token that only this user can read."""
    token = folder / "token"
    descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    environment["RAY_AUTH_MODE"] = "token"
    environment["RAY_AUTH_TOKEN_PATH"] = str(token)


def start_ray(work: Work) -> None:
    """Start an instance of our own, or join the cluster of this environment."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if work.folder is None:
        ray.init(address=work.launch.ray_address or "auto", **quiet)
        return
    leave_out_services()
    workers, each = work.launch.configuration.resources.workers, resources_per_worker(work.launch)
    memory = each.get("memory")
    ray.init(
        address="local",
        num_cpus=max(1, math.ceil(workers * each.get("CPU", 0.0))),
        num_gpus=len(work.launch.gpus),
        _memory=math.ceil(workers * memory) if memory else None,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        _temp_dir=str(work.folder),
        **quiet,
    )


def leave_out_services() -> None:
    """Start an instance without autoscaler, dashboard and log monitor: Python processes that nobody would ask here.

    Where a version of Ray starts them in another way, they are started.
    """
    from ray._private.node import Node

    for name in NOT_STARTED:
        if hasattr(Node, name):
            setattr(Node, name, lambda node, *arguments, **named: None)


def watch_daemons(ended: Any) -> None:
    """Call a function, in a thread, when a daemon of our own instance is gone: Ray itself may take a minute for it."""
    import ray

    node = ray._private.worker._global_node
    watched = {name: [info.process for info in node.all_processes.get(name, [])] for name in ("gcs_server", "raylet")}

    def look() -> None:
        while True:
            for name, processes in watched.items():
                for process in processes:
                    code = process.poll()
                    if code is not None:
                        ended(name, code)
                        return
            time.sleep(DAEMON_POLL_SECONDS)

    threading.Thread(target=look, name="milepost-daemons", daemon=True).start()


def cluster() -> tuple[dict[str, float], dict[str, float]]:
    """Return what the cluster has, and what of it is free."""
    import ray

    return ray.cluster_resources(), ray.available_resources()


def train(work: Work, announcer: Announcer) -> None:
    """Run the worker group to its end.

    Raises:
        Exception: of Ray Train; the group could not be started, or one of its workers failed.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from trainer.on_ray.callbacks import GroupEvents
    from trainer.on_ray.lean_trainer import LEAN, LeanTrainer
    from trainer.on_ray.rendezvous import OneHostConfig

    each = resources_per_worker(work.launch)
    kind = LeanTrainer if LEAN else TorchTrainer
    trainer = kind(
        functools.partial(run_rank, work.start),
        torch_config=OneHostConfig(backend="nccl" if each.get("GPU") else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=work.launch.configuration.resources.workers,
            use_gpu="GPU" in each,
            resources_per_worker=each,
        ),
        run_config=RunConfig(
            name="milepost",
            storage_path=str(Path(work.launch.attempt_directory) / "ray-train"),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            callbacks=[GroupEvents(announcer, cluster)],
        ),
    )
    trainer.fit()


def main() -> int:
    die_with_parent(int(os.environ["MILEPOST_DRIVER_PROCESS"]))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter("ray-host"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    work = read_work(os.environ)
    announcer = Announcer(work.start.driver, work.start.token, work.launch.attempt)
    address = "" if work.folder is not None else work.launch.ray_address or os.environ.get("RAY_ADDRESS", "")
    for name, value in settings_for(address).items():
        os.environ.setdefault(name, value)
    # Whoever can read a process's environment sees it; the workers get it by another way.
    os.environ.pop(TOKEN_VARIABLE)
    started = False

    def end(cause: common.ExitCause, detail: str) -> None:
        announcer.end(GroupEnded(cause=cause, detail=detail), END_SECONDS)
        os._exit(ENDED)

    try:
        if work.folder is not None:
            protect(work.folder, os.environ)  # type: ignore[arg-type]
        importing = threading.Thread(target=_import_ray_train, daemon=True)
        importing.start()
        start_ray(work)
        if work.folder is not None:
            watch_daemons(lambda name, code: end(common.EXIT_CAUSE_SIGNAL, _daemon_died(name, code)))
        started = True
        importing.join()
        train(work, announcer)
    except Exception as error:
        from trainer.on_ray.callbacks import one_line

        log.warning("group.failed", exc_info=error)
        end(_cause_of(error, started), one_line(error))
    end(common.EXIT_CAUSE_FINISHED, "")
    return ENDED


def _import_ray_train() -> None:
    """Import beside the start of the daemons, which mostly waits."""
    import ray.train.torch  # noqa: F401


def _daemon_died(name: str, code: int) -> str:
    from trainer.exits import signal_name

    how = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with exit status {code}"
    return f"Ray's {'GCS' if name == 'gcs_server' else name} {how}"


def _cause_of(error: Exception, started: bool) -> common.ExitCause:
    """Type what Ray Train raised. What the entrypoint did, its ranks have said themselves."""
    inner = getattr(error, "controller_failure", None) or error
    names = {type(inner).__name__} | {type(e).__name__ for e in getattr(error, "worker_failures", {}).values()}
    if "OutOfMemoryError" in names or "out of memory" in str(error).lower():
        return common.EXIT_CAUSE_OUT_OF_MEMORY
    if not started or any("Startup" in name or "InsufficientClusterResources" in name for name in names):
        return common.EXIT_CAUSE_LAUNCH_FAILED
    return common.EXIT_CAUSE_SIGNAL


if __name__ == "__main__":
    sys.exit(main())
