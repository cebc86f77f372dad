"""MLflow's REST calls, one function each: what is asked for is checked whole before anything is recorded."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from milepost import configuration as configurations
from milepost import series_names
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.errors import MilepostError, NotFound
from milepost.ids import new_runtime_id
from milepost.security.redaction import Redactor
from services.access import authentication as identity
from services.access.authentication import Observer
from services.edge.bodies import MAX_PROGRAM_BODY_BYTES, read_body
from services.edge.problems import Problem, from_rpc_error
from services.mlflow.bodies import (
    MAX_KEY,
    MAX_METRICS,
    MAX_PARAMETERS,
    MAX_RESULTS,
    MAX_TAG,
    Body,
    entries_of,
    page_of,
    pairs_of,
    parameters_of,
    place_of,
    point_of,
    text_of,
    time_of,
)
from services.mlflow.catalog import Catalog
from services.mlflow.errors import NotOffered, code_of, error_response, invalid, of_problem
from services.mlflow.experiments import VIEWS, Experiments
from services.mlflow.filters import order, parse
from services.mlflow.names import (
    DEFAULT_EXPERIMENT_ID,
    EXPERIMENT_LABEL,
    EXPERIMENT_NAME_LABEL,
    METRIC_NAME_LABEL,
    NOT_SECRET_TAG,
    USER_LABEL,
    run_id_of,
)
from services.mlflow.recorder import OUTCOMES, Opening, OpenRun, Point, Recorder
from services.mlflow.runs import CALL_SECONDS, RUNNING, SCHEDULED, Caller, RunReader, metric, parse_run_id
from services.mlflow.unkept import ARTIFACTS, Unkept
from services.mlflow.writing import Writing, first_facts

PREFIX = "/mlflow"
API = "/api/2.0/mlflow/"
# An MLflow client has no heartbeat: what is silent for a day is lost.
GRACE_SECONDS = 86_400
VERSION = "3.0.0"

Handler = Callable[[Body], Awaitable[dict[str, Any]]]
# Told who asks.
Writer = Callable[[Body, identity.Caller], Awaitable[dict[str, Any]]]


class MlflowApi:
    """Answers MLflow clients."""

    def __init__(self, services: Caller, recorder: Recorder, catalog_path: Path, observer: Observer) -> None:
        self._services = services
        self._recorder = recorder
        self._catalog = Catalog(catalog_path)
        self._reader = RunReader(services, recorder, self._catalog)
        self._writing = Writing(services, recorder, self._reader, self._catalog, observer)
        self._unkept = Unkept(recorder, self._writing)
        experiments = Experiments(self._catalog)
        self._reads: dict[tuple[str, str], Handler] = {
            ("GET", "experiments/get"): experiments.get,
            ("GET", "experiments/get-by-name"): experiments.get_by_name,
            ("POST", "experiments/search"): experiments.search,
            ("GET", "experiments/search"): experiments.search,
            ("GET", "runs/get"): self._get_run,
            ("POST", "runs/search"): self._search_runs,
            ("GET", "metrics/get-history"): self._get_history,
            ("GET", "artifacts/list"): self._list_artifacts,
        }
        self._writes: dict[tuple[str, str], Writer] = {
            ("POST", "experiments/create"): experiments.create,
            ("POST", "experiments/update"): experiments.rename,
            ("POST", "experiments/delete"): experiments.delete,
            ("POST", "experiments/restore"): experiments.restore,
            ("POST", "experiments/set-experiment-tag"): experiments.set_tag,
            ("POST", "experiments/delete-experiment-tag"): experiments.delete_tag,
            ("POST", "runs/create"): self._create_run,
            ("POST", "runs/update"): self._update_run,
            ("POST", "runs/delete"): self._delete_run,
            ("POST", "runs/restore"): self._restore_run,
            ("POST", "runs/log-metric"): self._log_metric,
            ("POST", "runs/log-parameter"): self._log_parameter,
            ("POST", "runs/log-batch"): self._log_batch,
            ("POST", "runs/set-tag"): self._set_tag,
            ("POST", "runs/delete-tag"): self._delete_tag,
            ("POST", "runs/log-inputs"): self._unkept.log_inputs,
            ("POST", "runs/outputs"): self._unkept.log_outputs,
            ("POST", "runs/log-model"): self._unkept.log_model,
            ("POST", "logged-models"): self._unkept.create_model,
            ("POST", "logged-models/search"): self._unkept.search_models,
        }

    async def handle(self, request: Request, caller: identity.Caller) -> Response:
        """Answer one request below `/mlflow`."""
        path = request.url.path.removeprefix(PREFIX)
        if path in ("/version", "/health"):
            return PlainTextResponse(VERSION if path == "/version" else "OK")
        try:
            content = await self._answer(request, path, caller)
        except MilepostError as error:
            return error_response(code_of(error), error.message)
        except grpc.aio.AioRpcError as error:
            return of_problem(from_rpc_error(error))
        except Problem as problem:
            return of_problem(problem)
        return Response(orjson.dumps(content), headers={"cache-control": "no-store"}, media_type="application/json")

    async def _answer(self, request: Request, path: str, caller: identity.Caller) -> dict[str, Any]:
        if path.startswith(ARTIFACTS):
            return await self._unkept.artifacts(request, path.removeprefix(ARTIFACTS), caller)
        what = path.removeprefix(API)
        key = (request.method, what)
        if not path.startswith(API):
            raise _not_offered(request)
        if key in self._reads:
            return await self._reads[key](await _read_body(request))
        if key in self._writes:
            body = await _read_body(request)
            self._writing.check_writer(caller, what)
            return await self._writes[key](body, caller)
        if what.startswith("logged-models/"):
            return await self._unkept.model(request.method, what, caller)
        raise _not_offered(request)

    # --- runs

    async def _create_run(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        experiment = self._catalog.by_id(str(body.get("experiment_id") or DEFAULT_EXPERIMENT_ID))
        if experiment.is_deleted:
            raise invalid("experiment_id", f"the experiment {experiment.experiment_id} is deleted; restore it first")
        tags = pairs_of(body.get("tags"), "tags")
        given, tagged = str(body.get("run_name") or ""), tags.get("mlflow.runName", "")
        if given and tagged and given != tagged:
            raise invalid("run_name", f"{given!r} is not what the tag mlflow.runName says, {tagged!r}")
        runtime_id = new_runtime_id()
        # Runs without a name are told apart, those of a search too.
        name = given or tagged or f"run {run_id_of(runtime_id)[-6:]}"
        tags.setdefault("mlflow.runName", name)
        tags = _redactor(tags).texts(tags)
        user = str(body.get("user_id") or tags.get("mlflow.user") or "")[:MAX_TAG]
        if user != tags.get("mlflow.user", ""):
            tags[USER_LABEL] = user
        configuration = configurations.resolve(
            {
                "name": name[:100].strip() or "mlflow run",
                "launcher": "external",
                "labels": {EXPERIMENT_NAME_LABEL: experiment.name[:256], EXPERIMENT_LABEL: experiment.experiment_id},
                "limits": {"heartbeat_grace_seconds": GRACE_SECONDS},
            }
        )
        opening = Opening(
            owner=caller.actor,
            actor=caller.actor,
            experiment=experiment.experiment_id,
            started_ms=time_of(body, "start_time") or time.time_ns() // 1_000_000,
        )
        first = [*first_facts(1, user), facts.ParametersDeclared(attempt=1, labels=tags)]
        self._recorder.prepare(runtime_id, opening, first, opening.started_ms)
        start = runtime_api.StartRuntimeRequest(
            configuration=configuration, runtime_id=runtime_id, request_id=runtime_id
        )
        try:
            await self._services.call("RuntimeService.StartRuntime", start, CALL_SECONDS)
        except grpc.aio.AioRpcError:
            self._recorder.discard(runtime_id)
            raise
        await self._recorder.open(runtime_id, opening).beat()
        return {"run": (await self._reader.read(runtime_id)).content()}

    async def _get_run(self, body: Body) -> dict[str, Any]:
        return {"run": (await self._reader.read(parse_run_id(body))).content()}

    async def _update_run(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        runtime_id = parse_run_id(body)
        status = str(body.get("status") or "")
        if status and status not in (RUNNING, SCHEDULED, *OUTCOMES):
            raise invalid("status", f"must be one of {', '.join((RUNNING, SCHEDULED, *OUTCOMES))}")
        end_ms = time_of(body, "end_time")
        name = text_of(body, "run_name", MAX_TAG) if body.get("run_name") else ""
        known = await self._reader.read(runtime_id, with_data=False)
        self._catalog.check_active(runtime_id, known.experiment_id)
        if status == known.status and not name and end_ms in (None, known.end_ms):
            return {"run_info": known.info()}
        run = await self._writing.open(runtime_id, caller, "runs/update", goes_on=status == RUNNING)
        if name:
            run.declare({}, {"mlflow.runName": name})
        if status in OUTCOMES:
            outcome, cause, detail = OUTCOMES[status]
            if caller.actor != run.opening.actor:
                detail = f"{detail or 'ended'}, by {caller.actor}"
            run.end(outcome, cause, detail, end_ms)
        elif status == RUNNING:
            run.go_on()
        return {"run_info": (await self._reader.read(runtime_id, with_data=False)).info()}

    async def _delete_run(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        """Hide a run from MLflow clients. Nothing of it is lost; `milepost runtime delete` removes it."""
        run = await self._reader.read(parse_run_id(body), with_data=False)
        self._writing.check_owner(run.runtime_id, run.owner, caller, "runs/delete")
        self._catalog.delete_run(run.runtime_id)
        return {}

    async def _restore_run(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        run = await self._reader.read(parse_run_id(body), with_data=False)
        self._writing.check_owner(run.runtime_id, run.owner, caller, "runs/restore")
        self._catalog.restore_run(run.runtime_id)
        return {}

    async def _list_artifacts(self, body: Body) -> dict[str, Any]:
        return {"root_uri": (await self._reader.read(parse_run_id(body), with_data=False)).artifact_uri}

    async def _search_runs(self, body: Body) -> dict[str, Any]:
        experiments = body.get("experiment_ids") or []
        if not isinstance(experiments, list) or not all(isinstance(e, str) and e.isdigit() for e in experiments):
            raise invalid("experiment_ids", "must be a list of ids")
        view = VIEWS.get(str(body.get("run_view_type") or "ACTIVE_ONLY"))
        if view is None:
            raise invalid("run_view_type", f"must be one of {', '.join(VIEWS)}")
        clauses = body.get("order_by") or []
        if not isinstance(clauses, list):
            raise invalid("order_by", "must be a list")
        accepts = parse(text_of(body, "filter", 10_000, True))
        runs = {run.run_id: run for run in await self._reader.of_experiments(experiments, view)}
        found = [candidate for run in runs.values() if accepts(candidate := run.candidate())]
        page, token = page_of(order(found, [str(clause) for clause in clauses]), body, 1_000)
        return {"runs": [runs[one.attributes["run_id"]].content() for one in page], **token}

    # --- what is logged

    async def _log_metric(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        point = point_of(body, "metric")
        run = await self._writing.open(parse_run_id(body), caller, "runs/log-metric")
        await self._writing.remember(run)
        _log_points(run, [point])
        return {}

    async def _log_parameter(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        parameters = parameters_of([body])
        run = await self._writing.open(parse_run_id(body), caller, "runs/log-parameter")
        _record_given(run, parameters, {})
        return {}

    async def _set_tag(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        tags = pairs_of([body], "tags")
        run = await self._writing.open(parse_run_id(body), caller, "runs/set-tag")
        _record_given(run, {}, tags)
        return {}

    async def _delete_tag(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        key = text_of(body, "key", MAX_KEY)
        run = await self._writing.open(parse_run_id(body), caller, "runs/delete-tag")
        if key not in run.labels:
            raise NotFound(f"the run has no tag {key!r}")
        run.declare({}, {}, [key])
        return {}

    async def _log_batch(self, body: Body, caller: identity.Caller) -> dict[str, Any]:
        runtime_id = parse_run_id(body)
        metrics = entries_of(body.get("metrics"), "metrics", MAX_METRICS)
        points = [point_of(entry, f"metrics[{index}]") for index, entry in enumerate(metrics)]
        parameters = parameters_of(entries_of(body.get("params"), "params", MAX_PARAMETERS))
        tags = pairs_of(body.get("tags"), "tags")
        run = await self._writing.open(runtime_id, caller, "runs/log-batch")
        if points:
            await self._writing.remember(run)
        _record_given(run, parameters, tags)
        _log_points(run, points)
        return {}

    async def _get_history(self, body: Body) -> dict[str, Any]:
        size, start = place_of(body, MAX_RESULTS)
        # One more, to know whether something follows: of a long series no more is read.
        points = await self._reader.history(parse_run_id(body), text_of(body, "metric_key", MAX_KEY), start, size + 1)
        following = {"next_page_token": str(start + size)} if len(points) > size else {}
        return {"metrics": [metric(point) for point in points[:size]], **following}


def _not_offered(request: Request) -> NotOffered:
    return NotOffered(f"Milepost does not offer {request.method} {request.url.path} of MLflow")


async def _read_body(request: Request) -> Body:
    if request.method == "GET":
        return dict(request.query_params.multi_items())
    content = await read_body(request, MAX_PROGRAM_BODY_BYTES)
    try:
        body = orjson.loads(content or b"{}")
    except orjson.JSONDecodeError as error:
        raise invalid("body", f"is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise invalid("body", "must be a JSON object")
    return body


def _record_given(run: OpenRun, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Record what a client gives, without what looks like a secret."""
    redactor = _redactor({**run.labels, **tags})
    _declare(run, redactor.scalars(parameters), redactor.texts(tags))


def _redactor(tags: Mapping[str, str]) -> Redactor:
    return Redactor([NOT_SECRET_TAG, *(name.strip() for name in tags.get(NOT_SECRET_TAG, "").split(","))])


def _declare(run: OpenRun, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
    for key, text in parameters.items():
        if run.parameters.get(key, text) != text:
            raise invalid("params", f"{key} is {run.parameters[key]} already; a parameter cannot be changed")
    parameters = {key: text for key, text in parameters.items() if key not in run.parameters}
    tags = {key: value for key, value in tags.items() if run.labels.get(key) != value}
    if parameters or tags:
        run.declare(parameters, tags)


def _log_points(run: OpenRun, points: list[Point]) -> None:
    """Record points, and what the client calls those series whose names are not in the form of keys."""
    renamed = {
        f"{METRIC_NAME_LABEL}{key}": point.key
        for point in points
        if (key := series_names.key_of(point.key)) != point.key
    }
    for label, name in renamed.items():
        if run.labels.get(label, name) != name:
            raise invalid("metrics", f"{name!r} and {run.labels[label]!r} would be the same series")
    _declare(run, {}, renamed)
    run.log(points)
