"""The MLflow service as a process of its own: an installation moves to it with a run open, and nothing is lost when it dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from milepost.eventlog.nats.credentials import credentials_path, find_credentials, write_service_credentials
from services.access.guard import Unobserved
from services.edge.calls import Calls
from services.mlflow import recorder
from services.mlflow.application import Tracking
from services.mlflow.recorder import Recorder
from tests.support.servers.processes import ServiceProcess, running_services
from tests.support.servers.servers import NatsServer, running_nats, wait_until

PATIENCE_SECONDS = 60.0
# What the versions before had in their data directories, and where.
SPOOLS = {"opening.json", "spool-driver.sqlite", "spool-rank-0.sqlite"}


class Client:
    """The calls of a client of MLflow."""

    def __init__(self, gateway: ServiceProcess) -> None:
        self.http = httpx.Client(base_url=f"http://{gateway.address}", timeout=60.0)

    def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        what = {"params": body} if method == "GET" else {"json": body}
        return self.http.request(method, f"/mlflow/api/2.0/mlflow/{path}", **what)  # type: ignore[arg-type]

    def tell(self, method: str, path: str, **body: Any) -> Any:
        answer = self.ask(method, path, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def log(self, run_id: str, step: int) -> None:
        point = {"key": "loss", "value": 1.0 / step, "timestamp": 1_700_000_000_000 + step, "step": step}
        self.tell("POST", "runs/log-metric", run_id=run_id, **point)

    def losses(self, run_id: str) -> dict[int, float]:
        history = self.tell("GET", "metrics/get-history", run_id=run_id, metric_key="loss")["metrics"]
        found = {entry["step"]: entry["value"] for entry in history}
        assert len(found) == len(history), "each point once"
        return found


@contextmanager
def running(service: ServiceProcess) -> Iterator[ServiceProcess]:
    service.start()
    try:
        yield service
    finally:
        service.stop()


def test_a_run_goes_on_when_its_doors_move_out_of_the_gateway_and_when_they_die(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        running_nats(tmp_path / "nats") as nats,
        running_services(data, nats.url, ("runtime", "trials", "metrics")) as services,
    ):
        settings = {"nats_url": nats.url} | {f"{name}_address": one.address for name, one in services.items()}
        with running(ServiceProcess("gateway", data, settings)) as gateway:
            client = Client(gateway)
            made: list[str] = []
            wait_until(lambda: created(client, made), "a run can be recorded", PATIENCE_SECONDS)
            (run_id,) = made
            for step in range(1, 6):
                client.log(run_id, step)
            gateway.kill()
        assert (data / "mlflow" / "experiments.sqlite").is_file()
        (folder,) = (data / "mlflow").glob("rt-*")
        assert {path.name for path in folder.iterdir()} >= SPOOLS
        with running(ServiceProcess("mlflow", data, settings)) as mlflow:
            apart = {**settings, "mlflow_address": mlflow.address}
            with running(ServiceProcess("gateway", data, apart)) as gateway:
                client = Client(gateway)
                check_that_it_goes_on(client, run_id)
                check_that_it_survives(client, mlflow, run_id)


def created(client: Client, made: list[str]) -> bool:
    """Whether a run could be begun: the process that records has found the event log."""
    known = client.ask("GET", "experiments/get-by-name", experiment_name="moved")
    if known.status_code != 200:
        client.tell("POST", "experiments/create", name="moved")
    experiment = client.tell("GET", "experiments/get-by-name", experiment_name="moved")["experiment"]["experiment_id"]
    answer = client.ask("POST", "runs/create", experiment_id=experiment, run_name="moved")
    if answer.status_code == 200:
        made.append(answer.json()["run"]["info"]["run_id"])
    return answer.status_code == 200


def check_that_it_goes_on(client: Client, run_id: str) -> None:
    """What was written through the gateway is there, what is added is too, and bodies of any size come through."""
    experiment = client.tell("GET", "experiments/get-by-name", experiment_name="moved")["experiment"]["experiment_id"]
    client.log(run_id, 5)
    for step in range(6, 9):
        client.log(run_id, step)
    found = client.tell("POST", "runs/search", experiment_ids=[experiment], filter="metrics.loss < 0.2")["runs"]
    assert [one["info"]["run_id"] for one in found] == [run_id]
    # More than one message of gRPC may have.
    tags = [{"key": f"tag {index}", "value": "t" * 8_000} for index in range(100)]
    params = [{"key": f"parameter {index}", "value": "p" * 6_000} for index in range(100)]
    client.tell("POST", "runs/log-batch", run_id=run_id, tags=tags, params=params)
    data = client.tell("GET", "runs/get", run_id=run_id)["run"]["data"]
    assert len(data["params"]) == 100 and {len(one["value"]) for one in data["params"]} == {6_000}
    file = f"/mlflow/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run_id}/artifacts/model"
    assert client.http.put(file, content=bytes(3 << 20)).status_code == 200
    refused = client.ask("POST", "runs/log-metric", run_id=run_id, key="loss", value="much", timestamp=1)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def check_that_it_survives(client: Client, mlflow: ServiceProcess, run_id: str) -> None:
    """While it is away clients are told to come again, and nobody else notices."""
    mlflow.kill()
    away = client.ask("POST", "runs/log-metric", run_id=run_id, key="loss", value=1.0, timestamp=1, step=9)
    assert (away.status_code, away.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert away.headers["retry-after"] == "1"
    assert client.http.get("/readyz").status_code == 200
    mlflow.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while client.ask("GET", "runs/get", run_id=run_id).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for step in range(8, 11):
        client.log(run_id, step)
    client.tell("POST", "runs/update", run_id=run_id, status="FINISHED")
    assert client.losses(run_id) == {step: 1.0 / step for step in range(1, 11)}
    assert client.tell("GET", "runs/get", run_id=run_id)["run"]["info"]["status"] == "FINISHED"


async def test_one_process_records_at_a_time_and_the_next_one_waits_for_its_end(
    shared_nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder, "RETRY_SECONDS", 0.05)
    first, second = (Recorder(tmp_path / "mlflow", shared_nats.url, None) for _ in range(2))
    one = asyncio.create_task(first.run())
    await until_connected(first)
    other = asyncio.create_task(second.run())
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "mlflow.waits" not in caplog.messages:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert not second.is_connected
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    await until_connected(second)
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


async def until_connected(one: Recorder) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not one.is_connected:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_the_gateway_has_no_user_of_the_event_log_and_keys_of_an_earlier_version_are_good(tmp_path: Path) -> None:
    """What it wrote for clients of MLflow is written by a user of its own; the old one goes where new ones are made."""
    former = credentials_path(tmp_path, "gateway")
    former.write_text("of an earlier version")

    def used() -> Path | None:
        return Tracking(Calls({}), Unobserved(), tmp_path, "", tmp_path).recorder.credentials

    assert used() == former
    write_service_credentials(tmp_path)
    assert find_credentials(tmp_path, "gateway") is None
    assert used() == credentials_path(tmp_path, "mlflow")
