"""MLflow clients where tokens are asked for: `MLFLOW_TRACKING_TOKEN` is one of ours, and its role counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.eventlog.nats.connection import Connection
from milepost.security.tokens import Role
from services.access.authentication import Result
from services.mlflow.names import run_id_of
from services.mlflow.recorder import Opening
from tests.integration.security.web import Web, running_web
from tests.support.servers.servers import NatsServer
from tests.support.trainers.attempts import TrialOnTest

API = "/mlflow/api/2.0/mlflow/"
READS = (
    ("GET", "experiments/get?experiment_id=0"),
    ("GET", "experiments/get-by-name?experiment_name=Default"),
    ("POST", "experiments/search"),
    ("GET", f"runs/get?run_id={'0' * 32}"),
    ("POST", "runs/search"),
    ("GET", f"metrics/get-history?run_id={'0' * 32}&metric_key=loss"),
)
WRITES = tuple(
    ("POST", path)
    for path in (
        "experiments/create", "experiments/update", "experiments/delete", "experiments/restore",
        "experiments/set-experiment-tag", "experiments/delete-experiment-tag", "runs/create", "runs/update", "runs/delete",
        "runs/restore", "runs/log-metric", "runs/log-parameter", "runs/log-batch", "runs/set-tag", "runs/delete-tag",
        "runs/log-inputs", "runs/outputs", "runs/log-model", "logged-models", "logged-models/search",
    )
)  # fmt: skip
# What is accepted and dropped.
UNKEPT = frozenset({"runs/log-inputs", "runs/outputs", "runs/log-model", "logged-models", "logged-models/search"})
WRITES_TO_A_RUN: dict[str, dict[str, Any]] = {
    "runs/log-metric": {"key": "x", "value": 1, "timestamp": 1},
    "runs/log-parameter": {"key": "x", "value": "1"},
    "runs/log-batch": {"metrics": [{"key": "x", "value": 1, "timestamp": 1}]},
    "runs/set-tag": {"key": "x", "value": "1"},
    "runs/delete-tag": {"key": "x"},
}
# Calls of a stock client that have no counterpart here.
MISSING = (
    ("POST", "runs/dance"), ("POST", "registered-models/create"), ("PATCH", "registered-models/update"),
    ("DELETE", "registered-models/delete"), ("POST", "traces"), ("GET", "registered-models/search"),
)  # fmt: skip


@pytest.fixture(params=[False, True], ids=["in the gateway", "apart"])
def apart(request: pytest.FixtureRequest) -> bool:
    """Whether a process of its own answers: its authentication is the same, and so is what it lets in."""
    return bool(request.param)


@pytest.fixture
async def web(tmp_path: Path, apart: bool) -> AsyncIterator[Web]:
    async with running_web(tmp_path, mlflow_apart=apart, authentication="required") as web:
        yield web


async def test_without_a_valid_token_nothing_is_told(web: Web) -> None:
    async with web.client() as client:
        for method, path in (*READS, *WRITES):
            for headers in ({}, {"authorization": "Bearer mp_x_y"}, {"authorization": "Basic YTpi"}):
                answer = await client.request(method, API + path, headers=headers, json=None if method == "GET" else {})
                assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED"), path
                assert answer.headers["www-authenticate"] == "Bearer" and answer.json()["message"]


async def test_a_viewer_reads_and_writes_nothing_and_an_operator_may(web: Web) -> None:
    viewer, operator = web.secured.token(Role.VIEWER), web.secured.token(Role.OPERATOR)
    async with web.client() as client:
        for method, path in READS:
            answer = await client.request(
                method, API + path, headers=bearer(viewer), json=None if method == "GET" else {}
            )
            assert answer.status_code in (200, 501), (path, answer.text)
        for method, path in WRITES:
            refused = await client.request(method, API + path, headers=bearer(viewer), json={})
            assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED"), path
            taken = await client.request(method, API + path, headers=bearer(operator), json={})
            assert taken.status_code in ((200, 400) if path in UNKEPT else (400, 503)), (path, taken.text)
    denied = {o.operation for o in web.observed.observations if o.result is Result.PERMISSION_DENIED}
    assert denied == {f"/mlflow/{path}" for _, path in WRITES}


async def test_whatever_refuses_a_call_says_so_in_the_form_of_mlflow(web: Web) -> None:
    """Protection and authentication come before the calls; clients show `message`."""
    admin = bearer(web.secured.token(Role.ADMIN))
    refusals = (
        ({"origin": "http://evil.example"}, 403, "PERMISSION_DENIED"),
        ({"content-type": "text/plain"}, 415, "INVALID_PARAMETER_VALUE"),
        ({"x-large": "1"}, 413, "RESOURCE_EXHAUSTED"),
        ({"host": "elsewhere.example"}, 421, "INVALID_PARAMETER_VALUE"),
    )
    async with web.client() as client:
        for headers, status, code in refusals:
            asked = {"content-type": "application/json", **admin, **headers}
            content = b" " * ((8 << 20) + 1) if "x-large" in headers else b"{}"
            answer = await client.post(f"{API}runs/create", headers=asked, content=content)
            assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
            assert answer.json()["message"]


async def test_what_is_not_offered_is_said_in_words_that_the_client_shows(web: Web) -> None:
    admin = bearer(web.secured.token(Role.ADMIN))
    async with web.client() as client:
        for method, path in MISSING:
            answer = await client.request(method, API + path, headers=admin, json=None if method == "GET" else {})
            content = answer.json()
            assert (answer.status_code, content["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
            assert "Milepost does not offer" in content["message"] and path in content["message"]


async def test_only_its_owner_and_admins_write_to_a_run_and_who_does_is_on_record(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path, apart: bool
) -> None:
    trial = TrialOnTest(connection, shared_nats.url, tmp_path)
    await trial.create({})
    await trial.append(facts.AttemptLaunched(attempt=1))
    run_id = run_id_of(trial.runtime_id)
    async with (
        running_web(tmp_path, shared_nats.url, mlflow_apart=apart, authentication="required") as web,
        web.client() as client,
    ):
        tokens = {name: web.secured.token(Role.OPERATOR, name) for name in ("ada", "eve")}
        tokens["root"] = web.secured.token(Role.ADMIN, "root")
        opening = Opening(owner="ada", actor="ada")
        web.recorder.directory.mkdir()
        opening.keep(web.recorder.directory / trial.runtime_id)
        recording = asyncio.create_task(web.recorder.run())
        await until(lambda: web.recorder.find(trial.runtime_id) is not None)
        started = [facts.InstanceStarted(attempt=1), facts.AttemptStarted(attempt=1)]
        run = web.recorder.find(trial.runtime_id)
        assert run is not None
        for payload in started:
            run._journal.record(payload)
        run.forgetful = False

        async def post(who: str, path: str, **body: Any) -> httpx.Response:
            return await client.post(API + path, headers=bearer(tokens[who]), json={"run_id": run_id, **body})

        for path, body in WRITES_TO_A_RUN.items():
            refused = await post("eve", path, **body)
            assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED"), refused.text
        for who in ("ada", "root"):
            taken = await post(who, "runs/set-tag", key=who, value="x")
            assert taken.status_code == 200, taken.text
        assert run.labels == {"ada": "x", "root": "x"}
        seen = {(o.result, o.actor, o.operation) for o in web.observed.observations if o.resource}
        assert {(Result.ALLOWED, who, "/mlflow/runs/set-tag") for who in ("ada", "root")} <= seen
        assert {(Result.PERMISSION_DENIED, "eve", f"/mlflow/{path}") for path in WRITES_TO_A_RUN} <= seen
        assert run.opening.actor == "ada" and await run._journal.wait_appended(10)
        written = [event for event in await trial.events() if "attempt-1" in event.subject]
        assert written and {event.actor for event in written} == {"ada"}
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
