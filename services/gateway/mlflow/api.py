"""MLflow's REST calls, one function each: what is asked for is checked whole before anything is recorded."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from milepost import configuration as configurations
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.errors import FailedPrecondition, MilepostError, NotFound, PermissionDenied
from milepost.ids import new_runtime_id
from milepost.tokens import Role
from milepost.training.buffer import clean_key
from services.authentication import Observation, Observer, Result
from services.gateway.doors import Visitor
from services.gateway.guards import MAXIMUM_BODY_BYTES, read_body
from services.gateway.mlflow.catalog import Catalog, Experiment
from services.gateway.mlflow.errors import code_of, error_response, invalid
from services.gateway.mlflow.filters import name_matches, order, parse
from services.gateway.mlflow.names import (
    DEFAULT_EXPERIMENT_ID,
    EXPERIMENT_LABEL,
    EXPERIMENT_NAME_LABEL,
    LARGEST_STEP,
    METRIC_NAME_LABEL,
    number_of,
    parameter_text,
    whole_of,
)
from services.gateway.mlflow.recorder import OpenRun, Point, Recorder
from services.gateway.mlflow.runs import CALL_SECONDS, RUNNING, SCHEDULED, Caller, RunReader, metric, parse_run_id
from services.gateway.problems import Problem, from_rpc_error

PREFIX = "/mlflow"
API = "/api/2.0/mlflow/"
# Of all calls that clients make: those that are not offered get an answer that says so.
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# What MLflow itself allows in one call.
MAXIMUM_METRICS, MAXIMUM_PARAMETERS, MAXIMUM_TAGS = 1_000, 100, 100
LONGEST_KEY, LONGEST_PARAMETER, LONGEST_TAG = 250, 6_000, 8_000
MAXIMUM_RESULTS = 50_000
LATEST_TIME_MS = 253_402_300_799_999
# An MLflow client has no heartbeat: what is silent for a day is lost.
GRACE_SECONDS = 86_400
VERSION = "3.0.0"

_WRITERS = frozenset({Role.OPERATOR, Role.ADMIN, Role.LOCAL})
_OUTCOMES = {
    "FINISHED": (facts.ATTEMPT_OUTCOME_COMPLETED, common.EXIT_CAUSE_FINISHED, ""),
    "FAILED": (facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_EXCEPTION, "the MLflow client reported a failure"),
    "KILLED": (facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED, "the MLflow client was killed"),
}
_VIEWS = {"ACTIVE_ONLY": frozenset({False}), "DELETED_ONLY": frozenset({True}), "ALL": frozenset({False, True})}

Body = Mapping[str, Any]
Handler = Callable[[Body], Awaitable[dict[str, Any]]]


class MlflowApi:
    """Answers MLflow clients."""

    def __init__(self, services: Caller, recorder: Recorder, catalog_path: Path, observer: Observer) -> None:
        self._services = services
        self._observer = observer
        self._recorder = recorder
        self._catalog = Catalog(catalog_path)
        self._reader = RunReader(services, recorder)
        self._reads: dict[tuple[str, str], Handler] = {
            ("GET", "experiments/get"): self._get_experiment,
            ("GET", "experiments/get-by-name"): self._get_experiment_by_name,
            ("POST", "experiments/search"): self._search_experiments,
            ("GET", "experiments/search"): self._search_experiments,
            ("GET", "runs/get"): self._get_run,
            ("POST", "runs/search"): self._search_runs,
            ("GET", "metrics/get-history"): self._get_history,
        }
        self._writes: dict[tuple[str, str], Handler] = {
            ("POST", "experiments/create"): self._create_experiment,
            ("POST", "experiments/set-experiment-tag"): self._tag_experiment,
            ("POST", "runs/create"): self._create_run,
            ("POST", "runs/update"): self._update_run,
            ("POST", "runs/delete"): self._delete_run,
            ("POST", "runs/log-metric"): self._log_metric,
            ("POST", "runs/log-parameter"): self._log_parameter,
            ("POST", "runs/log-batch"): self._log_batch,
            ("POST", "runs/set-tag"): self._set_tag,
            ("POST", "runs/delete-tag"): self._delete_tag,
        }

    async def handle(self, request: Request) -> Response:
        """Answer one request below `/mlflow`."""
        path = request.url.path.removeprefix(PREFIX)
        if path in ("/version", "/health"):
            return PlainTextResponse(VERSION if path == "/version" else "OK")
        key = (request.method, path.removeprefix(API))
        handler = self._reads.get(key) or self._writes.get(key)
        if handler is None or not path.startswith(API):
            text = f"Milepost does not offer {request.method} {request.url.path} of MLflow"
            return error_response("ENDPOINT_NOT_FOUND", text)
        try:
            if key in self._writes:
                self._check_writer(request.scope["milepost.visitor"], key[1])
            content = await handler(await _read_body(request))
        except MilepostError as error:
            return error_response(code_of(error), error.message)
        except grpc.aio.AioRpcError as error:
            return _of_problem(from_rpc_error(error))
        except Problem as problem:
            return _of_problem(problem)
        return Response(orjson.dumps(content), headers={"cache-control": "no-store"}, media_type="application/json")

    def _check_writer(self, visitor: Visitor, what: str) -> None:
        """Refuse who may not start runs. What operators start and stop is on record with the services."""
        caller = visitor.caller
        if caller.role in _WRITERS:
            return
        self._observer.observe(Observation(Result.PERMISSION_DENIED, caller.actor, f"{PREFIX}/{what}", "", caller.peer))
        raise PermissionDenied(f"{caller.actor} has the role {caller.role}, this needs operator")

    # --- experiments

    async def _create_experiment(self, body: Body) -> dict[str, Any]:
        name = _text(body, "name", LONGEST_TAG // 16)
        return {"experiment_id": self._catalog.create(name, _pairs(body.get("tags"), "tags")).experiment_id}

    async def _get_experiment(self, body: Body) -> dict[str, Any]:
        return {"experiment": _experiment(self._catalog.by_id(_text(body, "experiment_id", 32)))}

    async def _get_experiment_by_name(self, body: Body) -> dict[str, Any]:
        return {"experiment": _experiment(self._catalog.by_name(_text(body, "experiment_name", 500)))}

    async def _search_experiments(self, body: Body) -> dict[str, Any]:
        found = self._catalog.all()
        text = str(body.get("filter") or "")
        match = re.fullmatch(r"\s*(?:attribute\.)?name\s*(=|LIKE|ILIKE)\s*'([^']*)'\s*", text, re.IGNORECASE)
        if text and match is None:
            raise invalid("filter", "experiments are found by name = '...' or name LIKE '...'")
        if match is not None:
            found = [e for e in found if e.name == match[2] or (match[1] != "=" and name_matches(match[2], e.name))]
        if str(body.get("view_type") or "ACTIVE_ONLY") == "DELETED_ONLY":
            found = []
        page, token = _page([_experiment(experiment) for experiment in found], body)
        return {"experiments": page, **token}

    async def _tag_experiment(self, body: Body) -> dict[str, Any]:
        self._catalog.set_tag(
            _text(body, "experiment_id", 32), _text(body, "key", LONGEST_KEY), _text(body, "value", LONGEST_TAG, True)
        )
        return {}

    # --- runs

    async def _create_run(self, body: Body) -> dict[str, Any]:
        experiment = self._catalog.by_id(str(body.get("experiment_id") or DEFAULT_EXPERIMENT_ID))
        tags = _pairs(body.get("tags"), "tags")
        name = str(body.get("run_name") or tags.get("mlflow.runName") or "mlflow run")
        tags.setdefault("mlflow.runName", name)
        if body.get("user_id"):
            tags.setdefault("mlflow.user", str(body["user_id"])[:LONGEST_TAG])
        configuration = configurations.resolve(
            {
                "name": name[:100].strip() or "mlflow run",
                "launcher": "external",
                "labels": {EXPERIMENT_NAME_LABEL: experiment.name[:256], EXPERIMENT_LABEL: experiment.experiment_id},
                "limits": {"heartbeat_grace_seconds": GRACE_SECONDS},
            }
        )
        runtime_id = new_runtime_id()
        self._recorder.prepare(runtime_id, _first_facts(tags))
        start = runtime_api.StartRuntimeRequest(
            configuration=configuration, runtime_id=runtime_id, request_id=runtime_id
        )
        try:
            await self._services.call("RuntimeService.StartRuntime", start, CALL_SECONDS)
        except grpc.aio.AioRpcError:
            self._recorder.discard(runtime_id)
            raise
        await self._recorder.open(runtime_id).beat()
        return {"run": (await self._reader.read(runtime_id)).content()}

    async def _get_run(self, body: Body) -> dict[str, Any]:
        return {"run": (await self._reader.read(parse_run_id(body))).content()}

    async def _update_run(self, body: Body) -> dict[str, Any]:
        runtime_id = parse_run_id(body)
        status = str(body.get("status") or "")
        if status and status not in (RUNNING, SCHEDULED, *_OUTCOMES):
            raise invalid("status", f"must be one of {', '.join((RUNNING, SCHEDULED, *_OUTCOMES))}")
        run = self._recorder.find(runtime_id)
        known = await self._reader.read(runtime_id, with_data=False)
        if status == known.status and not body.get("run_name"):
            return {"run_info": known.info()}
        run = await self._open(runtime_id)
        if body.get("run_name"):
            run.declare({}, {"mlflow.runName": _text(body, "run_name", LONGEST_TAG)})
        if status in _OUTCOMES:
            run.end(*_OUTCOMES[status])
        return {"run_info": (await self._reader.read(runtime_id, with_data=False)).info()}

    async def _delete_run(self, body: Body) -> dict[str, Any]:
        request = runtime_api.DeleteRuntimeRequest(name=f"runtimes/{parse_run_id(body)}")
        await self._services.call("RuntimeService.DeleteRuntime", request, CALL_SECONDS)
        return {}

    async def _search_runs(self, body: Body) -> dict[str, Any]:
        experiments = body.get("experiment_ids") or []
        if not isinstance(experiments, list) or not all(isinstance(e, str) and e.isdigit() for e in experiments):
            raise invalid("experiment_ids", "must be a list of ids")
        view = _VIEWS.get(str(body.get("run_view_type") or "ACTIVE_ONLY"))
        if view is None:
            raise invalid("run_view_type", f"must be one of {', '.join(_VIEWS)}")
        clauses = body.get("order_by") or []
        if not isinstance(clauses, list):
            raise invalid("order_by", "must be a list")
        found = await self._reader.search(experiments, parse(str(body.get("filter") or "")), view)
        by_id = {run.info()["run_id"]: run for run in found}
        ordered = order([run.candidate() for run in found], [str(clause) for clause in clauses])
        page, token = _page([by_id[run.attributes["run_id"]].content() for run in ordered], body, 1_000)
        return {"runs": page, **token}

    # --- what is logged

    async def _open(self, runtime_id: str) -> OpenRun:
        run = self._recorder.find(runtime_id)
        if run is None:
            # Raises NotFound where there is none at all.
            known = await self._reader.read(runtime_id, with_data=False)
            raise FailedPrecondition(
                f"the run is {known.status}" + ("" if known.end_ms else ", and not recorded by this gateway")
            )
        await run.beat()
        if run.forgetful:
            run.remember(await self._reader.history(runtime_id))
            run.forgetful = False
        return run

    async def _log_metric(self, body: Body) -> dict[str, Any]:
        run = await self._open(parse_run_id(body))
        _log_points(run, [_point(body, "metric")])
        return {}

    async def _log_parameter(self, body: Body) -> dict[str, Any]:
        run = await self._open(parse_run_id(body))
        _declare(run, _parameters([body]), {})
        return {}

    async def _set_tag(self, body: Body) -> dict[str, Any]:
        run = await self._open(parse_run_id(body))
        _declare(run, {}, _pairs([body], "tags"))
        return {}

    async def _delete_tag(self, body: Body) -> dict[str, Any]:
        run, key = await self._open(parse_run_id(body)), _text(body, "key", LONGEST_KEY)
        if key not in run.labels:
            raise NotFound(f"the run has no tag {key!r}")
        run.declare({}, {}, [key])
        return {}

    async def _log_batch(self, body: Body) -> dict[str, Any]:
        runtime_id = parse_run_id(body)
        metrics = _list(body.get("metrics"), "metrics", MAXIMUM_METRICS)
        points = [_point(entry, f"metrics[{index}]") for index, entry in enumerate(metrics)]
        parameters = _parameters(_list(body.get("params"), "params", MAXIMUM_PARAMETERS))
        tags = _pairs(_list(body.get("tags"), "tags", MAXIMUM_TAGS), "tags")
        run = await self._open(runtime_id)
        _declare(run, parameters, tags)
        _log_points(run, points)
        return {}

    async def _get_history(self, body: Body) -> dict[str, Any]:
        points = await self._reader.history(parse_run_id(body), _text(body, "metric_key", LONGEST_KEY))
        page, token = _page([metric(point) for point in points], body, MAXIMUM_RESULTS)
        return {"metrics": page, **token}


def _first_facts(tags: Mapping[str, str]) -> list[Any]:
    return [
        facts.InstanceStarted(attempt=1, host=tags.get("mlflow.user", ""), software="MLflow client"),
        facts.InstanceReadinessChanged(attempt=1, ready=True, reason="the client logs"),
        facts.AttemptStarted(attempt=1, world_size=1),
        facts.ParametersDeclared(attempt=1, labels=tags),
    ]


async def _read_body(request: Request) -> Body:
    if request.method == "GET":
        return dict(request.query_params.multi_items())
    content = await read_body(request, MAXIMUM_BODY_BYTES)
    try:
        body = orjson.loads(content or b"{}")
    except orjson.JSONDecodeError as error:
        raise invalid("body", f"is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise invalid("body", "must be a JSON object")
    return body


def _of_problem(problem: Problem) -> Response:
    codes = {
        "NOT_FOUND": "RESOURCE_DOES_NOT_EXIST", "INVALID_ARGUMENT": "INVALID_PARAMETER_VALUE",
        "PERMISSION_DENIED": "PERMISSION_DENIED", "UNAUTHENTICATED": "UNAUTHENTICATED",
        "ALREADY_EXISTS": "RESOURCE_ALREADY_EXISTS", "FAILED_PRECONDITION": "INVALID_STATE",
        "RESOURCE_EXHAUSTED": "RESOURCE_EXHAUSTED", "UNAVAILABLE": "TEMPORARILY_UNAVAILABLE",
        "DEADLINE_EXCEEDED": "TEMPORARILY_UNAVAILABLE", "ABORTED": "TEMPORARILY_UNAVAILABLE",
        "UNIMPLEMENTED": "NOT_IMPLEMENTED",
    }  # fmt: skip
    detail = "; ".join(f"{v.field}: {v.description}" for v in problem.violations) or problem.detail
    return error_response(codes.get(problem.code, "INTERNAL_ERROR"), detail)


def _experiment(experiment: Experiment) -> dict[str, Any]:
    return {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "artifact_location": "milepost:/",
        "lifecycle_stage": "active",
        "creation_time": experiment.created_ms,
        "last_update_time": experiment.created_ms,
        "tags": [{"key": key, "value": value} for key, value in experiment.tags.items()],
    }


def _text(body: Body, field: str, longest: int, may_be_empty: bool = False) -> str:
    value = body.get(field, "" if may_be_empty else None)
    if isinstance(value, str) and len(value) <= longest and (value or may_be_empty):
        return value
    raise invalid(field, f"must be a text of {0 if may_be_empty else 1} to {longest:,} characters")


def _list(value: Any, field: str, most: int) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise invalid(field, "must be a list of objects")
    if len(value) > most:
        raise invalid(field, f"must not have more than {most:,} entries")
    return value


def _pairs(value: Any, field: str) -> dict[str, str]:
    entries = _list(value, field, MAXIMUM_TAGS)
    return {_text(entry, "key", LONGEST_KEY): _text(entry, "value", LONGEST_TAG, True) for entry in entries}


def _parameters(entries: list[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        key, text = _text(entry, "key", LONGEST_KEY), parameter_text(_text(entry, "value", LONGEST_PARAMETER, True))
        if found.get(key, text) != text:
            raise invalid("params", f"{key} is given twice, with different values")
        found[key] = text
    return found


def _point(entry: Body, field: str) -> Point:
    return Point(
        _text(entry, "key", LONGEST_KEY),
        whole_of(entry.get("step", 0), f"{field}.step", 0, LARGEST_STEP),
        whole_of(entry.get("timestamp", time.time_ns() // 1_000_000), f"{field}.timestamp", 0, LATEST_TIME_MS),
        number_of(entry.get("value"), f"{field}.value"),
    )


def _declare(run: OpenRun, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
    for key, text in parameters.items():
        if run.parameters.get(key, text) != text:
            raise invalid("params", f"{key} is {run.parameters[key]} already; a parameter cannot be changed")
    parameters = {key: text for key, text in parameters.items() if key not in run.parameters}
    tags = {key: value for key, value in tags.items() if run.labels.get(key) != value}
    if parameters or tags:
        run.declare(parameters, tags)


def _log_points(run: OpenRun, points: list[Point]) -> None:
    """Record points, and what the client calls those series whose names cannot be keys."""
    renamed = {
        f"{METRIC_NAME_LABEL}{clean_key(point.key)}": point.key for point in points if clean_key(point.key) != point.key
    }
    for label, name in renamed.items():
        if run.labels.get(label, name) != name:
            raise invalid("metrics", f"{name!r} and {run.labels[label]!r} would be the same series")
    _declare(run, {}, renamed)
    run.log(points)


def _page(entries: list[Any], body: Body, default: int = MAXIMUM_RESULTS) -> tuple[list[Any], dict[str, str]]:
    """Cut a page; the token is the place to go on at."""
    size = whole_of(body.get("max_results") or default, "max_results", 1, MAXIMUM_RESULTS)
    start = whole_of(body.get("page_token") or 0, "page_token", 0, LARGEST_STEP)
    following = start + size
    return entries[start:following], ({"next_page_token": str(following)} if following < len(entries) else {})
