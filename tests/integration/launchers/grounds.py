"""Where the contract of launchers is tried: a host, a Ray cluster, a Slurm, each with what others can do to its jobs."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psutil

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.installation.settings import collect
from milepost.names import AttemptKey
from services.access.guard import open_access
from services.runtime.launchers.jobs import job_id
from services.runtime.launchers.ray import RayOptions
from services.runtime.launchers.slurm import SlurmOptions
from tests.integration.runtime.harness import trainers_below
from tests.support.clusters.slurm_cluster import SlurmCluster, running_slurm
from tests.support.servers.ray_cluster import RayCluster, running_cluster

ROOT = Path(__file__).resolve().parents[3]
# What each of them has, or is said to have.
CPUS = 2


class Ground(Protocol):
    """A kind of launcher, and what it runs on."""

    kind: config.Launcher

    @property
    def name(self) -> str: ...

    def options(self, data_dir: Path) -> dict[str, Any]:
        """Return what a runtime service is told of it."""
        ...

    def processes(self, data_dir: Path, module: str) -> list[psutil.Process]:
        """List the processes of attempts that run a module."""
        ...

    def end_from_outside(self, data_dir: Path, key: AttemptKey) -> None:
        """End what runs of an attempt as somebody else would who may."""
        ...


def _running(processes: list[psutil.Process], module: str) -> list[psutil.Process]:
    found = []
    for process in processes:
        try:
            words = process.cmdline()
            if module in words and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


class Host:
    """Processes of this host."""

    kind = config.LAUNCHER_LOCAL
    name = "local"

    def options(self, data_dir: Path) -> dict[str, Any]:
        return {"trainer_command": ()}

    def processes(self, data_dir: Path, module: str) -> list[psutil.Process]:
        return _running([psutil.Process(pid) for pid in trainers_below(data_dir) if psutil.pid_exists(pid)], module)

    def end_from_outside(self, data_dir: Path, key: AttemptKey) -> None:
        for module in ("trainer", "milepost.training.process.worker"):
            for process in self.processes(data_dir, module):
                process.kill()


def _cluster_options(data_dir: Path) -> dict[str, Any]:
    settings = collect({"data_dir": str(data_dir), "runtime_listen": "127.0.0.1:0"}, {})
    return {"keys_dir": data_dir / "keys", "open_access": partial(open_access, settings, "runtime")}


class Ray:
    """Jobs of a Ray cluster."""

    kind = config.LAUNCHER_RAY
    name = "ray"

    def __init__(self, cluster: RayCluster) -> None:
        self.cluster = cluster

    def options(self, data_dir: Path) -> dict[str, Any]:
        work = str(data_dir.parent / "node")
        ray = RayOptions(self.cluster.address, self.cluster.token_file, python=sys.executable, work_dir=work)
        return {"ray": ray, **_cluster_options(data_dir)}

    def processes(self, data_dir: Path, module: str) -> list[psutil.Process]:
        # Ray's shell names the module too.
        return [p for p in _running(self.cluster.processes(), module) if p.cmdline()[0] != "/bin/sh"]

    def end_from_outside(self, data_dir: Path, key: AttemptKey) -> None:
        headers = {"Authorization": f"Bearer {self.cluster.token_file.read_text()}"}
        address = f"{self.cluster.address}/api/jobs/{job_id(key)}/stop"
        urllib.request.urlopen(urllib.request.Request(address, b"", headers, method="POST"), timeout=20).close()


class Slurm:
    """Batch jobs of a Slurm."""

    kind = config.LAUNCHER_SLURM
    name = "slurm"

    def __init__(self, cluster: SlurmCluster) -> None:
        self.cluster = cluster

    def options(self, data_dir: Path) -> dict[str, Any]:
        return {"slurm": slurm_options(self.cluster, data_dir.parent / "node"), **_cluster_options(data_dir)}

    def processes(self, data_dir: Path, module: str) -> list[psutil.Process]:
        return _running(self.cluster.processes(), module)

    def end_from_outside(self, data_dir: Path, key: AttemptKey) -> None:
        self.cluster.run("scancel", f"--name={job_id(key)}")


def slurm_options(cluster: SlurmCluster, work_dir: Path, **more: Any) -> SlurmOptions:
    """Return how a Slurm of tests is used: its nodes have the packages of this checkout."""
    setup = cluster.directory / "setup.sh"
    setup.write_text(f"export PYTHONPATH={ROOT} OMP_NUM_THREADS=1\n")
    given = {"python": sys.executable, "work_dir": str(work_dir), "setup": str(setup), **more}
    return SlurmOptions(**given)


@contextmanager
def ground(name: str) -> Iterator[Ground]:
    """Make one for the length of a block."""
    if name == "ray":
        with running_cluster(CPUS) as cluster:
            yield Ray(cluster)
    elif name == "slurm":
        with running_slurm(nodes=1, cpus=CPUS) as slurm:
            # The service hands it on to Slurm's commands.
            os.environ.update(slurm.environment)
            try:
                yield Slurm(slurm)
            finally:
                del os.environ["SLURM_CONF"]
    else:
        yield Host()
