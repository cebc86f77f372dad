"""A stock server of MLflow at the pinned version, and Milepost: the same calls, the same answers.

Run by `make test-integrations`. What the REST calls are answered is recorded in `tests/golden/mlflow_answers.json`, which
`tests/e2e/clients/test_mlflow.py` compares Milepost with; to record it anew: `python -m
tests.support.programs.mlflow_calls ADDRESS`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from tests.e2e.clients.test_mlflow import MLFLOW_ANSWERS
from tests.e2e.stack import ROOT, StackProcess, until
from tests.support.programs.mlflow_calls import asking, differing, play
from tests.support.servers.mlflow_server import running_mlflow

BIN = ROOT / ".venv-integrations" / "bin"
CLIENT = ROOT / "tests" / "assets" / "mlflow_client.py"
SECONDS = 600.0
pytestmark = [pytest.mark.integrations, pytest.mark.timeout(1_500)]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a stock server."""
    with running_mlflow(BIN, tmp_path_factory.mktemp("stock")) as address:
        yield address


def test_the_record_is_what_the_stock_server_answers(stock: str) -> None:
    with httpx.Client(timeout=60.0) as http:
        theirs = play(asking(http, stock))
    recorded = json.loads(MLFLOW_ANSWERS.read_text())
    assert {name: (theirs.get(name), recorded.get(name)) for name in differing(theirs, recorded)} == {}


def test_a_client_is_told_the_same_by_both(stock: str, stack: StackProcess, tmp_path: Path) -> None:
    """Fluent calls and those of a client, searches; autologging of scikit-learn, Lightning, Transformers and XGBoost."""
    told = [_play_client(address, tmp_path / name) for name, address in (
        ("stock", stock), ("ours", f"{stack.endpoints.gateway}/mlflow"),
    )]  # fmt: skip
    assert {name: (told[0].get(name), told[1].get(name)) for name in differing(told[0], told[1])} == {}
    (files,) = stack.client.runtimes.ListRuntimes(runtime_api.ListRuntimesRequest(filter='name="files"')).runtimes
    request = log_api.QueryLogsRequest(parent=f"{files.name}/trials/1")
    lines = until(lambda: stack.client.logs.QueryLogs(request).entries, "the log says it")
    assert [line.text for line in lines] == [
        "artifacts of MLflow clients are not kept by Milepost: dropped; metrics and parameters are kept"
    ]


def _play_client(address: str, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    done = subprocess.run(
        [str(BIN / "python"), str(CLIENT), address], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**os.environ, "GIT_PYTHON_REFRESH": "quiet", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers
