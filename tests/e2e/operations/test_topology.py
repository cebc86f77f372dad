"""The production topology while its parts are killed: nothing that was acknowledged is lost, and training goes on."""

from __future__ import annotations

import itertools
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from milepost import errors
from milepost.api.audit.v1 import audit_service_pb2 as audit_api
from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli.runs.following import ENDED
from milepost.client import Client
from services.mlflow.names import runtime_id_of
from tests.e2e.runs import PACED_STEPS, paced
from tests.e2e.stack import until
from tests.support.servers.topology import SERVICES, Topology, running_topology

pytestmark = pytest.mark.timeout(600)

STEP_SECONDS = 1.0


@pytest.fixture
def topology(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Topology]:
    with running_topology(tmp_path) as running:
        for name, value in running.client_environment.items():
            monkeypatch.setenv(name, value)
        yield running


class Commander(threading.Thread):
    """Starts runtimes that wait in the queue, and stops every second one, as fast as they are acknowledged."""

    def __init__(self, topology: Topology) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, bool] = {}
        self._topology = topology
        self._finished = threading.Event()

    def run(self) -> None:
        with Client(self._topology.endpoints) as client:
            while not self._finished.is_set():
                # Tried until it is acknowledged; the request id makes of all tries one.
                started = self._persistently(
                    lambda request=runtime_api.StartRuntimeRequest(  # type: ignore[misc]
                        configuration_text=paced("waits", 0.0), request_id=str(uuid.uuid4())
                    ): client.runtimes.StartRuntime(request)
                )
                if started is None:
                    return
                name = started.runtime.name
                self.acknowledged[name] = False
                if len(self.acknowledged) % 2 == 0:
                    stopped = self._persistently(lambda name=name: client.stop_runtime(name))  # type: ignore[misc]
                    self.acknowledged[name] = stopped is not None
                self._finished.wait(0.2)

    def _persistently(self, call):  # type: ignore[no-untyped-def]
        while True:
            try:
                return call()
            except (errors.Unavailable, errors.DeadlineExceeded, errors.Aborted):
                if self._finished.wait(0.2):
                    return None

    def finish(self) -> None:
        self._finished.set()
        self.join(120)
        assert not self.is_alive()


class Logging(threading.Thread):
    """A client of MLflow that logs one step after the other, each by another gateway, until it is acknowledged."""

    def __init__(self, topology: Topology) -> None:
        super().__init__(daemon=True)
        self.steps = 0
        self._finished = threading.Event()
        shown = topology.client_environment
        trusted = ssl.create_default_context(cafile=shown["MILEPOST_TLS_CA"])
        self._gateways = [
            httpx.Client(
                base_url=f"https://{gateway.environment['MILEPOST_GATEWAY_LISTEN']}/mlflow/api/2.0/mlflow",
                headers={"authorization": f"Bearer {shown['MILEPOST_TOKEN']}"},
                verify=trusted,
                timeout=60,
            )
            for gateway in topology.services["gateway"]
        ]
        self._turns = itertools.cycle(self._gateways)
        self._run_id = self._tell("runs/create", experiment_id="0", run_name="logs")["run"]["info"]["run_id"]

    @property
    def trial(self) -> str:
        return f"runtimes/{runtime_id_of(self._run_id)}/trials/1"

    def run(self) -> None:
        while not self._finished.is_set():
            step = self.steps + 1
            point = {"key": "loss", "value": 1.0 / step, "timestamp": 1_700_000_000_000 + step, "step": step}
            self._tell("runs/log-metric", run_id=self._run_id, **point)
            self.steps = step
            self._finished.wait(0.1)

    def _tell(self, path: str, **body: Any) -> Any:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                answer = next(self._turns).post(path, json=body)
            except httpx.TransportError:
                continue
            finally:
                time.sleep(0.05)
            if answer.status_code != 503:
                assert answer.status_code == 200, answer.text
                return answer.json()
        raise AssertionError(f"{path} was not acknowledged")

    def finish(self) -> None:
        self._finished.set()
        self.join(150)
        assert not self.is_alive() and self.steps
        self._tell("runs/update", run_id=self._run_id, status="FINISHED")
        for gateway in self._gateways:
            gateway.close()


def test_parts_killed_one_after_the_other_lose_nothing_and_training_does_not_notice(topology: Topology) -> None:
    """The scheduler's leader, each NATS node, the writer of metrics, what records for MLflow, a gateway and a trial service."""
    with Client(topology.endpoints) as client:
        trained = client.start_runtime(paced("trains", STEP_SECONDS))
        wait_for_step(client, trained.name, 2)
        commander, logging = Commander(topology), Logging(topology)
        commander.start()
        logging.start()
        try:
            kill_the_scheduler(topology)
            kill_each_node(topology, commander)
            kill_services(topology)
        finally:
            commander.finish()
            logging.finish()
        ended = wait_for_end(client, trained.name)
        assert ended.status == runtime_api.RUNTIME_STATUS_COMPLETED, ended.reason
        assert_metrics_are_told(topology)
        assert_trained_once(client, trained.name)
        assert_logged_once(client, logging)
        assert_acknowledged(client, commander.acknowledged)
        verify_log(client)


def kill_the_scheduler(topology: Topology) -> None:
    killed = topology.leader("runtime")
    killed.kill()
    until(lambda: topology.leader("runtime") is not killed, "another one schedules", 60)
    killed.start()
    until(killed.is_healthy, "it stands by")


def kill_each_node(topology: Topology, commander: Commander) -> None:
    """Two of three are enough for commands; the third catches up before the next one goes."""
    for index, node in enumerate(topology.nodes):
        before = len(commander.acknowledged)
        node.kill()
        until(lambda before=before: len(commander.acknowledged) > before + 1, f"commands without nats-{index}")  # type: ignore[misc]
        node.start()
        until(lambda node=node: node.is_healthy, f"nats-{index} has caught up")  # type: ignore[misc]


def kill_services(topology: Topology) -> None:
    killed = [topology.leader("metrics"), *(topology.services[name][-1] for name in ("trials", "mlflow", "gateway"))]
    for service in killed:
        service.kill()
        service.start()
    for service in killed:
        until(service.is_healthy, f"{service.name} is back")


def wait_for_step(client: Client, name: str, step: int) -> None:
    def reached() -> bool:
        trial = client.trials.GetTrial(trial_api.GetTrialRequest(name=f"{name}/trials/1")).trial
        return bool(trial.progress.step >= step)

    until(reached, f"{name} is at step {step}")


def wait_for_end(client: Client, name: str) -> runtime_api.Runtime:
    def ended() -> runtime_api.Runtime | None:
        runtime = client.get_runtime(name)
        return runtime if runtime.phase in ENDED else None

    return until(ended, f"{name} ends")


def assert_trained_once(client: Client, name: str) -> None:
    """One attempt, and every step stored once."""
    attempts = client.trials.ListAttempts(trial_api.ListAttemptsRequest(parent=f"{name}/trials/1")).attempts
    assert len(attempts) == 1
    request = metric_api.GetCompletenessRequest(parent=name)

    def stored() -> bool:
        answer = client.metrics.GetCompleteness(request)
        return answer.sent_points > 0 and answer.sent_points == answer.stored_points and not answer.gap_count

    until(stored, "sent = stored")
    (series,) = client.query_series([f"{name}/trials/1"], ["train/loss"], bucket_count=1_000).series
    assert list(series.first_steps) == list(range(1, PACED_STEPS + 1))


def assert_logged_once(client: Client, logging: Logging) -> None:
    """What a client of MLflow was told is recorded is there, each step once."""

    request = metric_api.GetCompletenessRequest(parent=logging.trial)

    def stored() -> bool:
        answer = client.metrics.GetCompleteness(request)
        return answer.sent_points == answer.stored_points == logging.steps and not answer.gap_count

    until(stored, "sent = stored")
    (series,) = client.query_series([logging.trial], ["loss"], bucket_count=10_000).series
    assert list(series.first_steps) == list(range(1, logging.steps + 1))


def assert_acknowledged(client: Client, acknowledged: dict[str, bool]) -> None:
    """What was started is there; what was stopped is stopped."""
    for name, stopped in acknowledged.items():
        runtime = client.get_runtime(name)
        if stopped:
            assert runtime.status == runtime_api.RUNTIME_STATUS_ABORTED, f"{name}: {runtime.reason}"
        assert runtime.runtime_id


def assert_metrics_are_told(topology: Topology) -> None:
    """Each service answers Prometheus; what the alerts ask for is there."""
    told = {name: "".join(service.metrics() for service in topology.services[name]) for name in SERVICES}
    for name, metric in {
        "runtime": "milepost_runtimes{",
        "trials": "milepost_consumer_lag{",
        "metrics": "milepost_metrics_stored_total{",
        "mlflow": "process_cpu_seconds_total",
        "gateway": "process_cpu_seconds_total",
    }.items():
        assert metric in told[name], f"{name}: {metric}"
    assert 'milepost_rpc_duration_seconds_bucket{code="OK"' in told["runtime"]


def verify_log(client: Client) -> None:
    *_, verdict = client.audit.VerifyLog(audit_api.VerifyLogRequest(include_read_models=True))
    assert verdict.valid and verdict.finished, list(verdict.findings)
