"""A Slurm for tests: munged, slurmctld and some slurmd on this host, in a folder and on ports of their own. Needs root."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.support.servers.servers import wait_until

START_SECONDS = 60.0
STOP_SECONDS = 20.0
COMMAND_SECONDS = 60.0
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
_SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

_CONFIGURATION = """
ClusterName=milepost
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout={node_seconds}
InactiveLimit=0
KillWait=10
MinJobAge={remembered_seconds}
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
GresTypes=gpu
NodeName=DEFAULT CPUs={cpus} RealMemory=4000 Gres=gpu:1
NodeName=n[1-{nodes}] NodeHostName={host} NodeAddr=127.0.0.1 Port=[{first_port}-{last_port}]
PartitionName=main Nodes=ALL Default=YES MaxTime=60 DefaultTime=30 State=UP PriorityTier=1 GraceTime=20 OverTimeLimit=0
PartitionName=urgent Nodes=ALL MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=down Nodes=ALL State=DOWN
"""


def missing() -> str:
    """Say why there can be no Slurm here. Empty: there can."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=_SEARCHED) is None]
    if lacking:
        return f"Slurm is not installed (apt install slurm-wlm munge): no {', '.join(lacking)}"
    return "" if os.geteuid() == 0 else "Slurm's daemons for several nodes on one host need root"


def need_slurm() -> None:
    """Skip a test where there can be no Slurm."""
    reason = missing()
    if reason:
        pytest.skip(reason)


@dataclass
class SlurmCluster:
    """Some nodes on this host. Each has `cpus` CPUs, 4,000 MB and a GPU that is none, and there are three partitions."""

    directory: Path
    nodes: int = 2
    cpus: int = 2
    # For how long slurmctld knows a job that is over.
    remembered_seconds: int = 300
    # After which a node that does not answer is down.
    node_seconds: int = 10
    _ports: list[int] = field(default_factory=list)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def configuration(self) -> Path:
        return self.directory / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """What its commands need to find it."""
        return {"SLURM_CONF": str(self.configuration)}

    def start(self) -> SlurmCluster:
        """Start it and wait until all nodes are idle."""
        self.directory.mkdir(parents=True, exist_ok=True)
        # Munge asks for a way that nobody else can write to.
        self.directory.chmod(0o755)
        (self.directory / "state").mkdir(exist_ok=True)
        self._ports = _consecutive_ports(self.nodes + 1)
        key = self.directory / "munge.key"
        key.touch(mode=0o400)
        with suppress(PermissionError):
            key.write_bytes(secrets.token_bytes(128))
        host = socket.gethostname()
        self.configuration.write_text(
            _CONFIGURATION.format(
                host=host,
                folder=self.directory,
                nodes=self.nodes,
                cpus=self.cpus,
                controller_port=self._ports[0],
                first_port=self._ports[1],
                last_port=self._ports[-1],
                remembered_seconds=self.remembered_seconds,
                node_seconds=self.node_seconds,
            )
        )
        # The GPU is a file that is none: it is counted and handed out like one.
        (self.directory / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        paths = {name: self.directory / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        self._spawn(
            "munged", "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={paths['socket']}",
            f"--pid-file={paths['pid']}", f"--log-file={paths['log']}", f"--seed-file={paths['seed']}",
        )  # fmt: skip
        wait_until(paths["socket"].exists, "munged listens", START_SECONDS)
        self.start_controller()
        for number in range(1, self.nodes + 1):
            self.start_node(number)
        wait_until(self._idle, f"all nodes are idle; see {self.directory}", START_SECONDS)
        return self

    def start_controller(self) -> None:
        """Start slurmctld, the first or after its death."""
        self._spawn("slurmctld", "slurmctld", "-D")
        wait_until(self._controller_answers, "slurmctld answers", START_SECONDS)

    def _controller_answers(self) -> bool:
        dead = self._processes["slurmctld"].poll() is not None
        assert not dead, (self.directory / "slurmctld.out").read_text()
        return self.try_run("scontrol", "ping").returncode == 0

    def start_node(self, number: int) -> None:
        """Start the slurmd of a node."""
        self._spawn(f"slurmd-{number}", "slurmd", "-D", "-N", f"n{number}")

    def kill(self, name: str) -> None:
        """Kill a daemon: `slurmctld`, or `slurmd-<number>` with everything its node runs."""
        process = self._processes.pop(name)
        family = [process.pid] if name == "slurmctld" else self._of_node(name.rpartition("-")[2], process.pid)
        # At one instant, as with a node: nobody of it tells what became of the others.
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for pid in family:
                with suppress(psutil.NoSuchProcess):
                    act(psutil.Process(pid))
        process.wait()

    def _of_node(self, number: str, pid: int) -> list[int]:
        """List a slurmd, its slurmstepds, which are no children of its and have no environment to see, and what they run."""
        found = {pid}
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if process.environ().get("SLURMD_NODENAME") == f"n{number}":
                    found |= {process.pid, *(step.pid for step in _steps_above(process))}
        return list(found)

    def processes(self) -> list[psutil.Process]:
        """List what belongs to it now, jobs included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("SLURM_CONF") == str(self.configuration):
                    found.append(process)
        return found

    def try_run(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands."""
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            env={**os.environ, "PATH": _SEARCHED, **self.environment},
        )

    def run(self, *command: str, text: str = "") -> str:
        """Run one of Slurm's commands, which must succeed. Returns what it printed."""
        done = self.try_run(*command, text=text)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def job_ids(self, name: str = "") -> list[str]:
        """List the ids of the jobs that it knows, of one name or all."""
        named = [f"--name={name}"] if name else []
        return self.run("squeue", "--noheader", "--states=all", "--format=%A", *named).split()

    def job(self, job_id: str) -> dict[str, str]:
        """Return what it says of a job."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job_id)
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def _idle(self) -> bool:
        states = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T").split()
        return len(states) == self.nodes and set(states) == {"idle"}

    def _spawn(self, name: str, program: str, *arguments: str) -> None:
        path = shutil.which(program, path=_SEARCHED)
        assert path is not None
        with (self.directory / f"{name}.out").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env={"PATH": _SEARCHED, "HOME": "/root", **self.environment},
                start_new_session=True,
            )

    def stop(self) -> None:
        """End everything that it started."""
        # A slurmstepd has no environment to see, and is known by what it runs only as long as that is there.
        steps = {step.pid: step for process in self.processes() for step in _steps_above(process)}
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(STOP_SECONDS)
        for _ in range(3):
            left = [*(p for p in self.processes() if p.pid != os.getpid()), *steps.values()]
            for one in left:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            psutil.wait_procs(left, STOP_SECONDS)
        self._processes.clear()


def _steps_above(process: psutil.Process) -> list[psutil.Process]:
    """List the slurmstepds that a process was started by."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return [parent for parent in process.parents() if parent.name().startswith("slurmstepd")]
    return []


@contextmanager
def running_slurm(nodes: int = 2, cpus: int = 2, remembered_seconds: int = 300) -> Iterator[SlurmCluster]:
    """A Slurm for the length of a block."""
    # The folders of pytest have names too long for sockets.
    cluster = SlurmCluster(Path(tempfile.mkdtemp(prefix="s-")), nodes, cpus, remembered_seconds)
    try:
        yield cluster.start()
    finally:
        cluster.stop()
        shutil.rmtree(cluster.directory, ignore_errors=True)


def _consecutive_ports(count: int) -> list[int]:
    """Find ports beside each other that nobody listens at, below those that the kernel hands out."""
    for _ in range(50):
        first = 20_000 + secrets.randbelow(10_000)
        ports = list(range(first, first + count))
        if all(_is_free(port) for port in ports):
            return ports
    raise AssertionError("no free ports were found")


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        with suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return True
    return False


if __name__ == "__main__":
    with running_slurm(int(sys.argv[1]) if len(sys.argv) > 1 else 2) as shown:
        print(shown.configuration, flush=True)
        sys.stdin.read()
