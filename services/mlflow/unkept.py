"""What MLflow clients send and Milepost does not keep: artifacts, models, data sets.

Such calls are accepted, so that autologging and `log_model` do not fail a training whose metrics are wanted; that nothing
of it is kept is said once in the log of the run. Reading it back finds nothing.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from starlette.requests import Request

from milepost.errors import DeadlineExceeded, NotFound
from services.access import authentication as identity
from services.mlflow.bodies import Body, text_of
from services.mlflow.errors import NotOffered
from services.mlflow.experiments import ARTIFACTS as ARTIFACTS_ROOT
from services.mlflow.names import is_run_id, runtime_id_of
from services.mlflow.recorder import Recorder
from services.mlflow.writing import Writing

# Below the prefix of all calls.
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
# A client that sends nothing for longer is left.
CHUNK_SECONDS = 30.0
MAX_MODELS = 1_000


class Unkept:
    """Answers such calls, and says so in the log of the run that they are about."""

    def __init__(self, recorder: Recorder, writing: Writing) -> None:
        self._recorder = recorder
        self._writing = writing
        # The newest models that were named, for the calls that follow on them.
        self._models: dict[str, dict[str, Any]] = {}

    def _say(self, run_id: object, what: str) -> None:
        """Say it in the log of a run, once. A run that is not open has no log any more."""
        if not is_run_id(run_id):
            return
        run = self._recorder.find(runtime_id_of(run_id))
        if run is not None and not run.ended:
            run.say_once(
                what, f"{what} of MLflow clients are not kept by Milepost: dropped; metrics and parameters are kept"
            )

    async def log_inputs(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Take in data sets."""
        self._say(body.get("run_id"), "data sets")
        return {}

    async def log_outputs(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Take in which models came of a run."""
        self._say(body.get("run_id"), "models")
        return {}

    async def log_model(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Take in the description of a model."""
        self._say(body.get("run_id"), "models")
        return {}

    # --- models

    async def create_model(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Give a model an id, under which its files can be sent."""
        self._say(body.get("source_run_id"), "models")
        experiment = text_of(body, "experiment_id", 32)
        model_id, now = f"m-{uuid.uuid4().hex}", time.time_ns() // 1_000_000
        info = {
            "model_id": model_id,
            "experiment_id": experiment,
            "name": str(body.get("name") or model_id)[:500],
            "creation_timestamp_ms": now,
            "last_updated_timestamp_ms": now,
            "artifact_uri": f"{ARTIFACTS_ROOT}{experiment}/models/{model_id}/artifacts",
            "status": "LOGGED_MODEL_PENDING",
            "model_type": str(body.get("model_type") or ""),
            "source_run_id": str(body.get("source_run_id") or ""),
        }
        self._models[model_id] = info
        while len(self._models) > MAX_MODELS:
            del self._models[next(iter(self._models))]
        return {"model": {"info": info, "data": {}}}

    async def search_models(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Find none."""
        return {"models": []}

    async def model(self, method: str, what: str, caller: identity.Caller) -> dict[str, Any]:
        """Answer a call on one model: it is known for a while, and nothing of it is kept."""
        _, model_id, *rest = what.split("/")
        info = self._models.get(model_id)
        if info is None:
            raise NotFound(f"Milepost keeps no models; there is no {model_id[:64]!r}")
        if method == "GET" and not rest:
            return {"model": {"info": info, "data": {}}}
        if method == "GET" and rest == ["artifacts", "directories"]:
            return {"root_uri": info["artifact_uri"]}
        self._writing.check_writer(caller, "logged-models")
        if method == "PATCH" and not rest:
            info["status"] = "LOGGED_MODEL_READY"
            return {"model": {"info": info, "data": {}}}
        if method == "DELETE" and not rest:
            del self._models[model_id]
            return {}
        if (method, rest) in (("POST", ["params"]), ("PATCH", ["tags"])):
            return {"model": {"info": info, "data": {}}} if rest == ["tags"] else {}
        raise NotOffered(f"Milepost does not offer {method} {what} of MLflow")

    # --- artifacts

    async def artifacts(self, request: Request, path: str, caller: identity.Caller) -> dict[str, Any]:
        """Take in a file and let go of it, or find none."""
        if request.method == "GET":
            if path.strip("/"):
                raise NotFound("Milepost keeps no artifacts")
            return {"files": []}
        self._writing.check_writer(caller, "artifacts")
        if request.method == "PUT":
            await _let_go(request)
            for part in path.split("/"):
                self._say(part, "artifacts")
                self._say(self._models.get(part, {}).get("source_run_id"), "models")
        elif request.method != "DELETE":
            raise NotOffered(f"Milepost does not offer {request.method} of artifacts")
        return {}


async def _let_go(request: Request) -> None:
    """Read a body of any size, and keep nothing of it.

    Raises:
        DeadlineExceeded: it did not go on.
    """
    stream = request.stream().__aiter__()
    while True:
        try:
            async with asyncio.timeout(CHUNK_SECONDS):
                await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise DeadlineExceeded(f"nothing of the file came for {CHUNK_SECONDS:g} s") from error
