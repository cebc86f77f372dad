"""The gateway over HTTP: translation, refusals, live streams, slow clients."""

from __future__ import annotations

import asyncio
import io
import json
import math
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import jsonschema  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from grpc_status import rpc_status

from milepost import errors
from milepost.api.audit.v1 import audit_service_pb2
from milepost.api.event.v1 import recorded_event_pb2
from milepost.api.log.v1 import log_service_pb2
from milepost.api.metric.v1 import metric_service_pb2
from milepost.api.runtime.v1 import runtime_service_pb2
from milepost.api.trial.v1 import trial_service_pb2
from milepost.installation.page_files import STAMP, page_problem
from services.gateway.application import STOP_GRACE_SECONDS, Application, Options
from services.gateway.live import feed
from services.rpc.errors import status_of
from tests.support.servers.gateway import CSRF, Answers, read_events, running_gateway

WAIT = 20.0


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def client(answers: Answers, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway whose services answer as they are told."""
    (tmp_path / "index.html").write_text("<!doctype html><title>Milepost</title>")
    (tmp_path / "app.js").write_text(f"// Said here.\nconst x = '{'x' * 2_000}'\n")
    (tmp_path / STAMP).parent.mkdir()
    (tmp_path / STAMP).write_text("")
    async with answers.serving() as address:
        async with running_gateway({"runtime": address, "trials": address, "metrics": address}, tmp_path) as base:
            async with httpx.AsyncClient(base_url=base, timeout=WAIT) as client:
                yield client


def _always(message: Any) -> Any:
    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        return message

    return answer


def _refuse(error: Exception) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        await context.abort_with_status(rpc_status.to_status(status_of(error)))

    return answer


# --- translation


async def test_a_configuration_object_is_passed_on_as_text(client: httpx.AsyncClient, answers: Answers) -> None:
    runtime = runtime_service_pb2.Runtime(runtime_id="rt-1", status=runtime_service_pb2.RUNTIME_STATUS_STARTED)
    answers.answers["RuntimeService.StartRuntime"] = _always(runtime_service_pb2.StartRuntimeResponse(runtime=runtime))
    configuration = {"name": "a", "entrypoint": "m:f", "parameters": {"learning_rate": 0.001}}
    body = {"configuration": configuration, "request_id": "r-1"}
    response = await client.post("/api/v1/runtimes", json=body, headers=CSRF)
    assert response.status_code == 200
    assert response.json()["runtime"]["status"] == "Started"
    request = answers.asked[0][1]
    assert json.loads(request.configuration_text) == configuration
    assert request.request_id == "r-1"


async def test_names_come_from_the_path_and_the_rest_from_query_or_body(
    client: httpx.AsyncClient, answers: Answers
) -> None:
    answers.answers["LogService.QueryLogs"] = _always(log_service_pb2.QueryLogsResponse())
    answers.answers["RuntimeService.StopTrial"] = _always(runtime_service_pb2.StopTrialResponse())
    await client.get("/api/v1/runtimes/rt-1/trials/2/logs", params={"levels": ["ERROR", "CRITICAL"], "text": "oom"})
    await client.post("/api/v1/runtimes/rt-1/trials/2:stop", json={"mode": "ABRUPT", "deadline": 1.5}, headers=CSRF)
    logs, stop = answers.asked[0][1], answers.asked[1][1]
    assert (logs.parent, list(logs.filter.levels), logs.filter.text) == ("runtimes/rt-1/trials/2", [4, 5], "oom")
    assert (stop.name, stop.mode, stop.deadline.nanos) == ("runtimes/rt-1/trials/2", 2, 500_000_000)


async def test_if_match_becomes_the_etag_of_a_command(client: httpx.AsyncClient, answers: Answers) -> None:
    answers.answers["RuntimeService.DeleteRuntime"] = _always(runtime_service_pb2.DeleteRuntimeResponse())
    headers = {**CSRF, "if-match": '"v7"'}
    await client.delete("/api/v1/runtimes/rt-1", params={"force": "true"}, headers=headers)
    request = answers.asked[0][1]
    assert (request.name, request.force, request.etag) == ("runtimes/rt-1", True, "v7")


async def test_series_keep_what_json_cannot_say(client: httpx.AsyncClient, answers: Answers) -> None:
    series = metric_service_pb2.SeriesData(key="train/loss", lasts=[1.5, math.nan, -math.inf], first_steps=[1, 2, 3])
    answers.answers["MetricService.QuerySeries"] = _always(metric_service_pb2.QuerySeriesResponse(series=[series]))
    params: Any = [("parents", "runtimes/rt-1/trials/1"), ("keys", "train/loss"), ("keys", "eval/loss")]
    response = await client.get("/api/v1/series:query", params=params)
    document = json.loads(response.text, parse_constant=pytest.fail)
    assert document["series"][0]["lasts"] == [1.5, None, None]
    assert document["series"][0]["lasts_non_finite"] == [[1, "NaN"], [2, "-Infinity"]]
    assert list(answers.asked[0][1].keys) == ["train/loss", "eval/loss"]


async def test_an_answer_that_has_not_changed_is_not_sent_again(client: httpx.AsyncClient, answers: Answers) -> None:
    answers.answers["TrialService.GetTrial"] = _always(trial_service_pb2.GetTrialResponse())
    first = await client.get("/api/v1/runtimes/rt-1/trials/1")
    again = await client.get("/api/v1/runtimes/rt-1/trials/1", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["cache-control"] == "no-cache"

    for given in ("*", f"{first.headers['etag']}, *", f"W/{first.headers['etag']}"):
        again = await client.get("/api/v1/runtimes/rt-1/trials/1", headers={"if-none-match": given})
        assert (again.status_code, again.content) == (304, b""), given


async def test_json_is_compressed_and_streams_are_not(client: httpx.AsyncClient, answers: Answers) -> None:
    runtimes = [runtime_service_pb2.Runtime(name=f"runtimes/rt-{number}") for number in range(200)]
    answers.answers["RuntimeService.ListRuntimes"] = _always(
        runtime_service_pb2.ListRuntimesResponse(runtimes=runtimes)
    )
    plain = await client.get("/api/v1/runtimes", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.headers["vary"] == "accept-encoding"
    for accepted, encoding in (("gzip", "gzip"), ("gzip, br", "br"), ("br;q=0, gzip;q=0.5", "gzip")):
        answer = await client.get("/api/v1/runtimes", headers={"accept-encoding": accepted})
        assert answer.headers["content-encoding"] == encoding
        assert int(answer.headers["content-length"]) < len(plain.content) / 10
        assert answer.json() == plain.json()
        etag = answer.headers["etag"]
        assert etag == f"W/{plain.headers['etag']}"
        again = await client.get("/api/v1/runtimes", headers={"accept-encoding": accepted, "if-none-match": etag})
        assert again.status_code == 304

    async def replay(request: Any, context: Any) -> AsyncIterator[Any]:
        for sequence in range(300):
            yield audit_service_pb2.ReplayEventsResponse(sequence=sequence)

    answers.answers["AuditService.ReplayEvents"] = replay
    answers.answers["RuntimeService.WatchEvents"] = _event_feed(300)
    lines = await client.get("/api/v1/events:replay", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in lines.headers and len(lines.text.splitlines()) == 300
    async with client.stream(
        "GET", "/api/v1/runtimes/rt-1/stream?topics=events", headers={"accept-encoding": "gzip"}
    ) as response:
        assert "content-encoding" not in response.headers
        async for event in read_events(response):
            if event.data["caught_up"]:
                break
            assert event.topic == "events"


# --- problems


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (errors.NotFound("no such runtime", reason="RUNTIME_NOT_FOUND"), 404, "RUNTIME_NOT_FOUND"),
        (errors.FailedPrecondition("it is Completed", reason="RUNTIME_ENDED"), 409, "RUNTIME_ENDED"),
        (errors.ResourceExhausted("it never fits"), 429, "RESOURCE_EXHAUSTED"),
        (errors.Unimplemented("not yet"), 501, "UNIMPLEMENTED"),
        (errors.Unauthenticated("who?"), 401, "UNAUTHENTICATED"),
        (errors.Unavailable("the log is away"), 503, "UNAVAILABLE"),
    ],
)
async def test_errors_of_services_are_problem_details(
    client: httpx.AsyncClient, answers: Answers, error: errors.MilepostError, status: int, reason: str
) -> None:
    answers.answers["RuntimeService.GetRuntime"] = _refuse(error)
    response = await client.get("/api/v1/runtimes/rt-1")
    problem = response.json()
    assert (response.status_code, problem["status"], problem["reason"]) == (status, status, reason)
    assert problem["detail"] == str(error)
    assert response.headers["content-type"] == "application/problem+json"


async def test_every_violation_is_named(client: httpx.AsyncClient, answers: Answers) -> None:
    violations = [errors.Violation("configuration.name", "is empty"), errors.Violation("configuration.search", "?")]
    answers.answers["RuntimeService.StartRuntime"] = _refuse(errors.InvalidArgument(violations))
    response = await client.post("/api/v1/runtimes", json={"configuration_text": "x"}, headers=CSRF)
    assert response.status_code == 400
    assert [v["field"] for v in response.json()["violations"]] == ["configuration.name", "configuration.search"]


async def test_the_text_of_a_bug_is_not_shown(client: httpx.AsyncClient, answers: Answers) -> None:
    async def explode(request: Any, context: grpc.aio.ServicerContext) -> Any:
        raise RuntimeError("secret of the inside")

    answers.answers["RuntimeService.ListRuntimes"] = explode
    response = await client.get("/api/v1/runtimes")
    assert response.status_code == 500


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status"),
    [
        ("GET", "/api/v1/nothing", {}, None, 404),
        ("GET", "/api/v1/runtimes/rt-1:stop", {}, None, 405),
        ("GET", "/api/v1/runtimes?colour=red", {}, None, 400),
        ("GET", "/api/v1/runtimes?page_size=many", {}, None, 400),
        ("GET", "/api/v1/runtimes/rt-1?name=runtimes/rt-2", {}, None, 400),
        ("GET", "/api/v1/runtimes", {"host": "evil.example"}, None, 421),
        ("GET", "/api/v1/runtimes", {"origin": "https://evil.example"}, None, 403),
        ("POST", "/api/v1/runtimes/rt-1:stop", {"content-type": "application/json"}, b"{}", 403),
        ("POST", "/api/v1/runtimes/rt-1:stop", {**CSRF, "origin": "null"}, b"{}", 403),
        ("POST", "/api/v1/runtimes/rt-1:stop", {**CSRF, "content-type": "text/plain"}, b"{}", 415),
        ("POST", "/api/v1/runtimes/rt-1:stop", CSRF, b"{}", 415),
        ("POST", "/api/v1/runtimes/rt-1:stop", {**CSRF, "content-type": "application/json"}, b'{"mode":NaN}', 400),
        ("POST", "/api/v1/runtimes/rt-1:stop", {**CSRF, "content-type": "application/json"}, b"[]", 400),
        ("POST", "/api/v1/runtimes/rt-1:stop", {**CSRF, "content-type": "application/json"}, b'{"nam', 400),
        ("POST", "/api/v1/runtimes/rt-1:stop", {**CSRF, "content-type": "application/json"}, b'{"name":"x"}', 400),
        ("POST", "/api/v1/runtimes", {**CSRF, "content-type": "application/json"}, b'"' + b"x" * (1 << 20), 413),
        ("DELETE", "/api/v1/runtimes/rt-1", {}, None, 403),
        ("GET", "/static/../../pyproject.toml", {}, None, 404),
        ("GET", "/api/v1/runtimes/rt-1/stream?topics=gossip", {}, None, 400),
        ("GET", "/api/v1/runtimes/rt-1/stream?topics=events&from=events", {}, None, 400),
        ("GET", "/api/v1/series:export?parents=runtimes/rt-1/trials/1&format=xls", {}, None, 400),
    ],
)
async def test_bad_requests_are_refused_before_any_service_is_asked(
    client: httpx.AsyncClient,
    answers: Answers,
    method: str,
    path: str,
    headers: dict[str, str],
    content: bytes | None,
    status: int,
) -> None:
    response = await client.request(method, path, headers=headers, content=content)
    assert response.status_code == status
    assert response.json()["status"] == status
    assert response.headers["x-content-type-options"] == "nosniff"
    assert answers.asked == []


async def test_a_service_that_is_away_is_a_503_that_names_no_address(tmp_path: Path) -> None:
    async with running_gateway({}) as base, httpx.AsyncClient(base_url=base, timeout=WAIT) as client:
        response = await client.get("/api/v1/runtimes")
        assert (response.status_code, response.json()["reason"]) == (503, "SERVICE_UNAVAILABLE")
        assert "127.0.0.1" not in response.text
        assert (await client.get("/livez")).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["services"]["trials"]) == (503, "UNREACHABLE")


# --- the page and the rest


async def test_the_page_is_served_under_every_address_of_a_page_with_a_strict_policy(client: httpx.AsyncClient) -> None:
    for path in ("/", "/trials", "/rules", "/runtimes/rt-1", "/runtimes/rt-1/audit"):
        response = await client.get(path)
        assert response.status_code == 200
        assert "Milepost" in response.text
        assert "'unsafe-inline'" not in response.headers["content-security-policy"]
    script = await client.get("/static/app.js", headers={"accept-encoding": "gzip"})
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["content-encoding"] == "gzip"
    smaller = await client.get("/static/app.js", headers={"accept-encoding": "gzip, br"})
    assert (smaller.headers["content-encoding"], smaller.text) == ("br", script.text)
    assert script.text.startswith("\nconst x"), "comments stay here, lines keep their numbers"
    assert smaller.headers["etag"] == script.headers["etag"]
    again = await client.get("/static/app.js", headers={"if-none-match": script.headers["etag"]})
    assert again.status_code == 304


async def test_a_page_that_lacks_its_files_says_so_instead_of_staying_blank(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / STAMP).unlink()
    response = await client.get("/")
    assert response.status_code == 404
    assert "the page lacks its third-party files" in response.text and "make vendor" in response.text
    assert page_problem(tmp_path) in response.json()["detail"], "and `milepost doctor` says the same"


async def test_the_openapi_document_is_valid_and_answers_are_as_it_says(
    client: httpx.AsyncClient, answers: Answers
) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    trial = trial_service_pb2.Trial(name="runtimes/rt-1/trials/1", status=trial_service_pb2.TRIAL_STATUS_RUNNING)
    trial.markers.add(kind=trial_service_pb2.MARKER_KIND_EVALUATION, step=3).values["eval/loss"] = math.nan
    trial.progress.total_steps = 3
    answers.answers["TrialService.GetTrial"] = _always(trial_service_pb2.GetTrialResponse(trial=trial))
    answer = (await client.get("/api/v1/runtimes/rt-1/trials/1")).json()
    schema = {"$ref": "#/components/schemas/trial.v1.GetTrialResponse", "components": document["components"]}
    jsonschema.Draft202012Validator.check_schema(document["components"]["schemas"])
    jsonschema.validate(answer, schema, jsonschema.Draft202012Validator)


async def test_requests_are_counted_by_route(client: httpx.AsyncClient, answers: Answers) -> None:
    answers.answers["TrialService.GetTrial"] = _always(trial_service_pb2.GetTrialResponse())
    await client.get("/api/v1/runtimes/rt-1/trials/1")
    text = (await client.get("/metrics")).text
    assert 'route="GET /api/v1/runtimes/{runtime}/trials/{trial}",status="200"} 1.0' in text


# --- exports


def _arrow() -> list[bytes]:
    table = pa.table({"key": ["train/loss"] * 3, "step": [1, 2, 3], "value": [0.5, math.nan, math.inf]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        for batch in table.to_batches(max_chunksize=2):
            stream.write_batch(batch)
    content = sink.getvalue()
    return [content[at : at + 100] for at in range(0, len(content), 100)]


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet", "arrow"])
async def test_all_points_are_exported_in_every_format(client: httpx.AsyncClient, answers: Answers, form: str) -> None:
    async def export(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        for chunk in _arrow():
            yield metric_service_pb2.ExportSeriesResponse(arrow=chunk)

    answers.answers["MetricService.ExportSeries"] = export
    params = {"parents": "runtimes/rt-1/trials/1", "format": form}
    response = await client.get("/api/v1/series:export", params=params)
    assert response.status_code == 200
    if form == "csv":
        assert response.text.splitlines() == [
            '"key","step","value"',
            '"train/loss",1,0.5',
            '"train/loss",2,nan',
            '"train/loss",3,inf',
        ]
    elif form == "ndjson":
        assert [json.loads(line)["value"] for line in response.text.splitlines()] == [0.5, "NaN", "Infinity"]
    else:
        content = io.BytesIO(response.content)
        table = pa_parquet.read_table(content) if form == "parquet" else pa.ipc.open_stream(content).read_all()
        assert table.column("step").to_pylist() == [1, 2, 3]


async def test_an_export_that_is_refused_is_a_problem_and_not_an_empty_file(
    client: httpx.AsyncClient, answers: Answers
) -> None:
    async def refuse(request: Any, context: Any) -> AsyncIterator[Any]:
        await context.abort_with_status(rpc_status.to_status(status_of(errors.NotFound("no such trial"))))
        yield

    answers.answers["MetricService.ExportSeries"] = refuse
    assert (await client.get("/api/v1/series:export", params={"parents": "runtimes/x/trials/1"})).status_code == 404


# --- live streams


def _event_feed(last: int) -> Any:
    """Events 1 to `last`, then silence, as WatchEvents gives them."""

    async def watch(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        for sequence in range(request.after_sequence + 1, last + 1):
            event = recorded_event_pb2.RecordedEvent(sequence=sequence)
            yield runtime_service_pb2.WatchEventsResponse(event=event, sequence=sequence)
        yield runtime_service_pb2.WatchEventsResponse(sequence=last, caught_up=True)
        await asyncio.Event().wait()

    return watch


async def test_topics_are_merged_and_an_id_resumes_each_where_it_was(
    client: httpx.AsyncClient, answers: Answers
) -> None:
    async def trials(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        trial = trial_service_pb2.Trial(name="runtimes/rt-1/trials/1", events_sequence=8, telemetry_sequence=70)
        yield trial_service_pb2.WatchTrialsResponse(trial=trial)
        yield trial_service_pb2.WatchTrialsResponse(events_sequence=9, telemetry_sequence=70, caught_up=True)
        await asyncio.Event().wait()

    answers.answers["RuntimeService.WatchEvents"] = _event_feed(5)
    answers.answers["TrialService.WatchTrials"] = trials
    path = "/api/v1/runtimes/rt-1/stream?topics=trials,events&brief=true"
    token = ""
    async with client.stream("GET", path) as response:
        got: list[str] = []
        async for event in read_events(response):
            got.append(event.topic)
            token = event.token
            if len(got) == 8:
                break
    assert (got.count("trials"), got.count("events")) == (2, 6)
    assert token == "events=5;trials=9/70"
    caught_up = set()
    async with client.stream("GET", path, headers={"last-event-id": token}) as response:
        async for event in read_events(response):
            assert event.data["caught_up"], "it has seen everything"
            caught_up.add(event.topic)
            if len(caught_up) == 2:
                break
    resumed = dict(answers.asked[2:])
    assert resumed["RuntimeService.WatchEvents"].after_sequence == 5
    watch = resumed["TrialService.WatchTrials"]
    assert (watch.parent, watch.brief) == ("runtimes/rt-1", True)


async def test_an_unfinished_snapshot_is_not_gone_on_from(client: httpx.AsyncClient, answers: Answers) -> None:
    async def runtimes(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        for name, sequence in (("runtimes/rt-1", 4), ("runtimes/rt-2", 2)):
            runtime = runtime_service_pb2.Runtime(name=name, sequence=sequence)
            yield runtime_service_pb2.WatchRuntimesResponse(runtime=runtime, sequence=sequence)
        yield runtime_service_pb2.WatchRuntimesResponse(sequence=7, caught_up=True)
        await asyncio.Event().wait()

    answers.answers["RuntimeService.WatchRuntimes"] = runtimes
    async with client.stream("GET", "/api/v1/stream?topics=runtimes") as response:
        tokens = []
        async for event in read_events(response):
            tokens.append(event.token)
            if event.data["caught_up"]:
                break
    assert tokens == ["", "", "runtimes=7"]


async def test_a_topic_that_ends_for_good_is_a_problem_and_the_others_go_on(
    client: httpx.AsyncClient, answers: Answers
) -> None:
    async def refuse(request: Any, context: Any) -> AsyncIterator[Any]:
        await context.abort_with_status(rpc_status.to_status(status_of(errors.NotFound("no such trial"))))
        yield

    answers.answers["RuntimeService.WatchEvents"] = _event_feed(1)
    answers.answers["LogService.StreamLogs"] = refuse
    async with client.stream("GET", "/api/v1/runtimes/rt-1/stream?topics=logs,events") as response:
        topics = set()
        async for event in read_events(response):
            topics.add(event.topic)
            if event.topic == "problem":
                assert (event.data["topic"], event.data["status"]) == ("logs", 404)
            if topics == {"problem", "events"}:
                break


@pytest.mark.parametrize(
    ("path", "rpc", "topic"),
    [
        ("/api/v1/runtimes/rt-1/stream?topics=events,runtime", "RuntimeService.WatchEvents", "events"),
        ("/api/v1/runtimes/rt-1/stream?topics=events,runtime", "RuntimeService.WatchRuntimes", "runtime"),
    ],
)
async def test_a_topic_ahead_of_its_log_is_told_so_and_its_id_begins_anew(
    client: httpx.AsyncClient, answers: Answers, path: str, rpc: str, topic: str
) -> None:
    """Also a state that many clients share, which is at an earlier position than this client has seen."""

    def watched(answer: Any) -> Any:
        async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
            if request.after_sequence > 7:
                error = errors.OutOfRange("the log ends at 7", reason="PAST_THE_END")
                await context.abort_with_status(rpc_status.to_status(status_of(error)))
            yield answer(sequence=7, caught_up=True)
            await asyncio.Event().wait()

        return watch

    answers.answers["RuntimeService.WatchEvents"] = watched(runtime_service_pb2.WatchEventsResponse)
    answers.answers["RuntimeService.WatchRuntimes"] = watched(runtime_service_pb2.WatchRuntimesResponse)
    positions = {"events": 7, "runtime": 7, topic: 99}
    token = ";".join(f"{name}={position}" for name, position in positions.items())
    async with client.stream("GET", path, headers={"last-event-id": token}) as response:
        async for event in read_events(response):
            if event.topic == "problem":
                break
    assert (event.data["topic"], event.data["code"], event.data["reason"]) == (topic, "OUT_OF_RANGE", "PAST_THE_END")
    assert event.token == ";".join(f"{name}=7" for name in positions if name != topic)
    asked: set[str] = set()
    async with client.stream("GET", path, headers={"last-event-id": event.token}) as response:
        async for event in read_events(response):
            assert event.data["caught_up"]
            asked.add(event.topic)
            if len(asked) == 2:
                break


async def test_a_service_that_restarts_is_gone_on_with_without_gap_or_repeat(answers: Answers) -> None:
    answers.answers["RuntimeService.WatchEvents"] = _event_feed(3)
    later = Answers({"RuntimeService.WatchEvents": _event_feed(6)})
    async with answers.serving() as address:
        port = int(address.rpartition(":")[2])
        gateway = running_gateway({"runtime": address})
        base = await gateway.__aenter__()
        client = httpx.AsyncClient(base_url=base, timeout=WAIT)
        stream = client.stream("GET", "/api/v1/runtimes/rt-1/stream?topics=events")
        response = await stream.__aenter__()
        events = read_events(response)
        sequences = []
        async for event in events:
            if event.data["caught_up"]:
                break
            sequences.append(event.data["sequence"])
    states = []
    async with later.serving(port):
        async for event in events:
            if event.topic == "feed":
                states.append(event.data["state"])
            elif event.data["caught_up"]:
                break
            else:
                sequences.append(event.data["sequence"])
    await stream.__aexit__(None, None, None)
    await client.aclose()
    await gateway.__aexit__(None, None, None)
    assert sequences == [1, 2, 3, 4, 5, 6]
    assert states == ["reconnecting", "live"]


async def test_a_gateway_that_stops_ends_its_streams_well_and_at_once(answers: Answers) -> None:
    """A client sees an end, not a broken connection, and comes back with its last position."""
    answers.answers["RuntimeService.WatchEvents"] = _event_feed(3)
    async with answers.serving() as address, httpx.AsyncClient(timeout=WAIT) as client:
        gateway = Application(Options("127.0.0.1:0", dict.fromkeys(("runtime", "trials", "metrics"), address)))
        await gateway.start()
        path = f"http://127.0.0.1:{gateway.port}/api/v1/runtimes/rt-1/stream?topics=events"
        async with client.stream("GET", path) as response:
            events = read_events(response)
            tokens = [(await anext(events)).token for _ in range(3)]
            began = time.monotonic()
            await gateway.stop()
            seconds = time.monotonic() - began
            assert [event.token for event in [event async for event in events] if event.token not in tokens] == []
        # Beyond the grace it would have been cut off.
        assert tokens[-1] == "events=3" and seconds < STOP_GRACE_SECONDS


async def test_a_client_that_does_not_read_is_cut_off_and_others_are_not_kept_waiting(
    client: httpx.AsyncClient, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "STALL_SECONDS", 1.0)

    async def flood(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        text = "x" * 50_000
        for _ in range(100_000):
            entry = log_service_pb2.LogEntry(text=text)
            yield log_service_pb2.StreamLogsResponse(entries=[entry], cursor="c")

    answers.answers["LogService.StreamLogs"] = flood
    answers.answers["RuntimeService.WatchEvents"] = _event_feed(1)
    base = client.base_url
    loop = asyncio.get_running_loop()
    with socket.create_connection((base.host, base.port or 0)) as sleeper:
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        request = f"GET /api/v1/runtimes/rt-1/stream?topics=logs HTTP/1.1\r\nHost: {base.host}\r\n\r\n"
        sleeper.sendall(request.encode())
        deadline = loop.time() + WAIT
        while "streams_cut_off_total 1.0" not in (await client.get("/metrics")).text:
            assert loop.time() < deadline, "the client that does not read was not cut off"
            async with client.stream("GET", "/api/v1/runtimes/rt-1/stream?topics=events") as response:
                async for event in read_events(response):
                    assert event.topic == "events"
                    break
    assert "milepost_gateway_streams 0.0" in (await client.get("/metrics")).text
