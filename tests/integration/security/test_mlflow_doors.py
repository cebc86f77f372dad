"""MLflow clients where tokens are asked for: `MLFLOW_TRACKING_TOKEN` is one of ours, and its role counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from milepost.tokens import Role
from services.authentication import Result
from tests.integration.security.web import Web, running_web

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
        "experiments/create", "experiments/set-experiment-tag", "runs/create", "runs/update", "runs/delete",
        "runs/log-metric", "runs/log-parameter", "runs/log-batch", "runs/set-tag", "runs/delete-tag",
    )
)  # fmt: skip
# Calls of a stock client that have no counterpart here.
MISSING = (
    ("POST", "runs/log-model"), ("POST", "runs/log-inputs"), ("GET", "artifacts/list"), ("POST", "logged-models"),
    ("POST", "registered-models/create"), ("POST", "experiments/delete"), ("POST", "runs/restore"),
    ("PATCH", "registered-models/update"), ("DELETE", "registered-models/delete"),
)  # fmt: skip


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    async with running_web(tmp_path, authentication="required") as web:
        yield web


async def test_without_a_valid_token_nothing_is_told(web: Web) -> None:
    async with web.client() as client:
        for method, path in (*READS, *WRITES):
            for headers in ({}, {"authorization": "Bearer mp_x_y"}, {"authorization": "Basic YTpi"}):
                answer = await client.request(method, API + path, headers=headers, json=None if method == "GET" else {})
                assert answer.status_code == 401, path


async def test_a_viewer_reads_and_writes_nothing_and_an_operator_may(web: Web) -> None:
    viewer, operator = web.doors.token(Role.VIEWER), web.doors.token(Role.OPERATOR)
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
            assert taken.status_code in (400, 503), (path, taken.text)
    denied = {o.operation for o in web.observed.observations if o.result is Result.PERMISSION_DENIED}
    assert denied == {f"/mlflow/{path}" for _, path in WRITES}


async def test_what_is_not_offered_is_said_in_words_that_the_client_shows(web: Web) -> None:
    admin = bearer(web.doors.token(Role.ADMIN))
    async with web.client() as client:
        for method, path in MISSING:
            answer = await client.request(method, API + path, headers=admin, json=None if method == "GET" else {})
            content = answer.json()
            assert (answer.status_code, content["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
            assert "Milepost does not offer" in content["message"] and path in content["message"]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
