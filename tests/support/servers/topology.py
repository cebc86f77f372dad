"""The production topology of deploy/ as processes of this machine, from the same files: settings and NATS nodes.

Three NATS nodes with routes, one ClickHouse, two of each service, with TLS, tokens and users of the NATS servers. Names of
hosts become 127.0.0.1 with ports that are free, and folders of the image become folders of the test; nothing else differs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from milepost.eventlog.nats.credentials import open_authority, write_service_credentials
from milepost.eventlog.nats.server import nats_server_binary
from milepost.installation.endpoints import Endpoints
from milepost.security.tokens import Role, TokenStore, Verifier, make_private_directory
from services.health import serving, target_from
from tests.integration.security.certificates import make_certificates
from tests.support.servers.clickhouse_server import running_clickhouse
from tests.support.servers.ports import free_ports
from tests.support.servers.processes import Program
from tests.support.servers.servers import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent.parent
DEPLOY = ROOT / "deploy"
START_SECONDS = 120.0
SERVICES = ("runtime", "trials", "metrics", "rules", "mlflow", "gateway")
SESSION_VARIABLE = "MILEPOST_TEST_SESSION"
CLICKHOUSE_PASSWORD = "word+of/clickhouse="
NODES = 3
# As compose has them: a run of an MLflow client is recorded by one process.
REPLICAS = {name: 1 if name in ("mlflow", "rules") else 2 for name in SERVICES}


@dataclass
class Process(Program):
    """A program with its command, environment and log."""

    command: list[str]
    environment: dict[str, str]
    log_path: Path

    def start(self) -> None:
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class NatsNode(Process):
    """One node of the cluster, with the configuration that deploy/ gives it."""

    def __init__(self, index: int, folder: Path, ports: list[tuple[int, int, int]], authorization: Path) -> None:
        self.port, self.monitoring_port, cluster_port = ports[index]
        text = (DEPLOY / "nats" / "nats.conf").read_text()
        text = text.replace("0.0.0.0:4222", f"127.0.0.1:{self.port}")
        text = text.replace("0.0.0.0:8222", f"127.0.0.1:{self.monitoring_port}")
        text = text.replace("0.0.0.0:6222", f"127.0.0.1:{cluster_port}")
        for other, (_, _, port) in enumerate(ports):
            text = text.replace(f"nats-{other}:6222", f"127.0.0.1:{port}")
        folder.mkdir(parents=True)
        # A file that is included is looked for beside the one that includes it.
        text = text.replace("store_dir: /data", f'store_dir: "{folder / "data"}"')
        shutil.copyfile(authorization, folder / "authorization.conf")
        (folder / "nats.conf").write_text(text)
        environment = {"PATH": os.environ["PATH"], "NODE": f"nats-{index}", "MAX_FILE_STORE": "20GB"}
        environment |= {name: os.environ[name] for name in (SESSION_VARIABLE, "TMPDIR") if name in os.environ}
        super().__init__([str(nats_server_binary()), "-c", str(folder / "nats.conf")], environment, folder / "log")

    @property
    def is_healthy(self) -> bool:
        """Whether it serves and has caught up with the others."""
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.monitoring_port}/healthz", timeout=2) as a,
        ):
            return bool(a.status == 200)
        return False


class Service(Process):
    """One replica of a service, with the settings that compose gives it."""

    def __init__(self, name: str, environment: dict[str, str], log_path: Path) -> None:
        super().__init__([sys.executable, "-P", "-m", f"services.{name}"], environment, log_path)
        self.name = name

    def is_healthy(self, standby: bool = True) -> bool:
        """What the health check of the image says."""
        assert self.is_running, self.log_path.read_text()[-4000:]
        return serving(target_from(self.environment), standby)

    def metrics(self) -> str:
        """What Prometheus gets."""
        assert self.is_running, f"{self.name} has ended: {self.log_path.read_text()[-4000:]}"
        url = f"http://{self.environment['MILEPOST_MONITORING_LISTEN']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())


@dataclass
class Topology:
    """Everything that runs, and how a client reaches it."""

    nodes: list[NatsNode]
    services: dict[str, list[Service]]
    endpoints: Endpoints
    client_environment: dict[str, str]
    folder: Path

    def leader(self, name: str) -> Service:
        """The replica that took the lease last."""
        wait_until(lambda: self._leader(name) is not None, f"a {name} service leads", START_SECONDS)
        found = self._leader(name)
        assert found is not None
        return found

    def _leader(self, name: str) -> Service | None:
        for service in self.services[name]:
            if not service.is_running:
                continue
            lines = [line for line in service.log_path.read_text().splitlines() if '"lease.' in line]
            own = [line for line in lines if f'"pid": {service.pid},' in line or '"lease.lost"' in line]
            if own and '"lease.acquired"' in own[-1]:
                return service
        return None

    def trainers(self) -> list[psutil.Process]:
        """Processes that train for it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                if any(word in ("trainer", "milepost.training.process.worker") for word in words):
                    text = " ".join([*words, process.environ().get("MILEPOST_ATTEMPT_DIRECTORY", "")])
                    if str(self.folder) in text:
                        found.append(process)
        return found


def environment_files(name: str) -> dict[str, str]:
    """The variables that compose gives a service, as they are in deploy/env/."""
    variables = {}
    for path in (DEPLOY / "env" / "common.env", DEPLOY / "env" / f"{name}.env"):
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                key, _, value = line.partition("=")
                variables[key] = value
    return variables


def _translated(text: str, places: Mapping[str, str]) -> str:
    for there, here in places.items():
        text = text.replace(there, here)
    return text


def _make_secrets(folder: Path) -> tuple[Path, str]:
    """What `milepost token keys` and `milepost token create` make, and certificates. Returns the folder and a token."""
    make_private_directory(folder)
    Verifier.of(folder / "tokens.json", folder)
    authority = open_authority(folder)
    write_service_credentials(folder)
    (folder / "clickhouse_password").write_text(f"{CLICKHOUSE_PASSWORD}\n")
    (folder / "nats-authorization.conf").write_text("\n".join(authority.server_configuration()) + "\n")
    _, token = TokenStore(folder / "tokens.json").create("test", Role.ADMIN, created_by="local:test")
    certificates = make_certificates(folder / "certificates")
    shutil.copyfile(certificates.ca, folder / "ca.crt")
    shutil.copyfile(certificates.server.certificate, folder / "tls.crt")
    shutil.copyfile(certificates.server.key, folder / "tls.key")
    return folder, token


class Plan:
    """Where everything of a topology is: ports, folders, secrets."""

    def __init__(self, folder: Path, clickhouse_url: str) -> None:
        self.folder = folder
        self.secrets, self.token = _make_secrets(folder / "secrets")
        ports = iter(free_ports(3 * NODES + 2 * sum(REPLICAS.values())))
        self.node_ports = [(next(ports), next(ports), next(ports)) for _ in range(NODES)]
        self.ports = {name: [next(ports) for _ in range(REPLICAS[name])] for name in SERVICES}
        self.monitoring_ports = {name: [next(ports) for _ in range(REPLICAS[name])] for name in SERVICES}
        self.addresses = {n: "ipv4:" + ",".join(f"127.0.0.1:{p}" for p in own) for n, own in self.ports.items()}
        # Before the gateways stands a proxy elsewhere; here a client takes one of them.
        self.addresses["gateway"] = f"127.0.0.1:{self.ports['gateway'][0]}"
        self._places = {f"nats-{i}:4222": f"127.0.0.1:{port}" for i, (port, _, _) in enumerate(self.node_ports)}
        self._places |= {"http://clickhouse:8123": clickhouse_url, "/run/secrets": str(self.secrets)}

    def node(self, index: int) -> NatsNode:
        authorization = self.secrets / "nats-authorization.conf"
        return NatsNode(index, self.folder / f"nats-{index}", self.node_ports, authorization)

    def service(self, name: str, index: int) -> Service:
        variables = {key: _translated(value, self._places) for key, value in environment_files(name).items()}
        for other, address in self.addresses.items():
            variables[f"MILEPOST_{other.upper()}_ADDRESS"] = address
        variables[f"MILEPOST_{name.upper()}_LISTEN"] = f"127.0.0.1:{self.ports[name][index]}"
        variables["MILEPOST_MONITORING_LISTEN"] = f"127.0.0.1:{self.monitoring_ports[name][index]}"
        # The folder of runs is shared, as the volume is; both runtime services see it under one name.
        data_dir = self.folder / (name if name == "runtime" else f"{name}-{index}")
        data_dir.mkdir(exist_ok=True)
        variables |= {"MILEPOST_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT)}
        # In the place of the Ray cluster.
        variables |= {"MILEPOST_LOCAL_LAUNCHER": "on", "MILEPOST_LOCAL_CPUS": "1"}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MILEPOST_") or k == SESSION_VARIABLE}
        return Service(name, environment | variables, self.folder / f"{name}-{index}.log")

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(
            gateway=f"https://{self.addresses['gateway']}",
            runtime=self.addresses["runtime"],
            trials=self.addresses["trials"],
            metrics=self.addresses["metrics"],
            rules=self.addresses["rules"],
            nats=",".join(f"nats://127.0.0.1:{port}" for port, _, _ in self.node_ports),
            nats_monitoring="",
        )

    @property
    def client_environment(self) -> dict[str, str]:
        return {"MILEPOST_TOKEN": self.token, "MILEPOST_TLS_CA": str(self.secrets / "ca.crt")}


@contextmanager
def running_topology(folder: Path) -> Iterator[Topology]:
    """The whole of it, ready, for the length of a block."""
    with running_clickhouse(folder / "clickhouse", CLICKHOUSE_PASSWORD) as clickhouse:
        plan = Plan(folder, clickhouse.url)
        nodes = [plan.node(index) for index in range(NODES)]
        services = {name: [plan.service(name, index) for index in range(REPLICAS[name])] for name in SERVICES}
        topology = Topology(nodes, services, plan.endpoints, plan.client_environment, plan.folder)
        try:
            for node in nodes:
                node.start()
            wait_until(lambda: all(node.is_healthy for node in nodes), "the NATS nodes are a cluster", START_SECONDS)
            everything = [service for own in services.values() for service in own]
            for service in everything:
                service.start()
            for service in everything:
                wait_until(service.is_healthy, f"{service.log_path.name}: healthy", START_SECONDS)
            yield topology
        finally:
            for process in [*(service for own in services.values() for service in own), *nodes]:
                process.kill()
            for trainer in topology.trainers():
                trainer.kill()
