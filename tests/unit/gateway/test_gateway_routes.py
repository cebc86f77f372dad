"""The table between HTTP and RPCs is complete and consistent."""

from __future__ import annotations

import re
from typing import Any

import grpc
import jsonschema  # type: ignore[import-untyped]
import pytest
from google.protobuf.descriptor import Descriptor

from milepost import configuration as configurations
from milepost.errors import InvalidArgument
from milepost.protojson import message_class_of
from services.edge.contract import PROCESSES, SERVICES, method_of
from services.edge.problems import STATUSES
from services.gateway import bounds, routes
from services.gateway.live.subscriptions import format_token, parse_token
from services.gateway.openapi import document

TOPICS = {**routes.PLATFORM_TOPICS, **routes.RUNTIME_TOPICS}


def test_every_rpc_has_a_route_or_a_topic() -> None:
    mapped = {route.rpc for route in routes.ROUTES} | {topic.rpc for topic in TOPICS.values()} | routes.INTERNAL_RPCS
    offered = {f"{name}.{method.name}" for name, service in SERVICES.items() for method in service.methods}
    assert offered == mapped


def test_every_service_has_a_process() -> None:
    assert set(PROCESSES) == set(SERVICES)


@pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_binds_fields_that_exist_to_parameters_that_exist(route: routes.Route) -> None:
    fields = route.descriptor.input_type.fields_by_name
    in_path = set(re.findall(r"{(\w+)}", route.path))
    in_templates = {name for template in route.bind.values() for name in re.findall(r"{(\w+)}", template)}
    assert set(route.bind) <= set(fields)
    assert in_templates == in_path
    assert not route.flatten or fields[route.flatten].message_type is not None
    streams = route.answer is not routes.Answer.JSON
    assert route.descriptor.server_streaming == streams


def test_flat_filters_do_not_collide_with_fields_of_their_request() -> None:
    for route in routes.ROUTES:
        if route.flatten:
            fields = route.descriptor.input_type.fields_by_name
            members = message_class_of(fields[route.flatten].message_type).DESCRIPTOR.fields_by_name
            assert not set(members) & set(fields), route.rpc


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_names_fields_that_exist(name: str) -> None:
    topic = TOPICS[name]
    method = method_of(topic.rpc)
    assert {*topic.request, *topic.positions, *topic.query.values()} <= set(method.input_type.fields_by_name)
    assert set(topic.seen) <= set(method.output_type.fields_by_name)
    assert len(topic.seen) == len(topic.positions)
    assert not topic.snapshot or "caught_up" in method.output_type.fields_by_name
    message_class_of(method.input_type)()


def test_every_grpc_code_has_an_http_status() -> None:
    assert set(STATUSES) == set(grpc.StatusCode)


def test_an_event_id_comes_back_as_the_positions_it_was_made_from() -> None:
    positions = {"trials": ("120", "553"), "logs": ("a/b;c=d",), "events": ("7",)}
    assert parse_token(format_token(positions), routes.RUNTIME_TOPICS) == positions


@pytest.mark.parametrize("token", ["events", "events=", "events=x", "events=1/2", "trials=1", "events=-1", "events=²"])
def test_an_event_id_that_is_not_ours_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_token(token, routes.RUNTIME_TOPICS)


def test_topics_that_are_not_asked_for_now_are_passed_over_in_an_event_id() -> None:
    assert parse_token("gone=5;events=7", routes.RUNTIME_TOPICS) == {"events": ("7",)}


def test_the_openapi_document_has_every_route_under_a_name_of_its_own() -> None:
    paths = document("1")["paths"]
    operations = [operation for path in paths.values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == len(routes.ROUTES) + 2


CODE = {"uri": "file:///data/a.tar.gz", "digest": f"sha256:{'0' * 64}"}
RANGE = {"minimum": 0, "maximum": 1.5}


def test_the_document_has_the_bounds_that_the_services_have() -> None:
    described = document("0")
    configuration = described["components"]["schemas"]["Configuration"]
    check = jsonschema.Draft202012Validator(configuration)
    for plain, valid in (
        ({"entrypoint": "a:b"}, True),
        ({"launcher": "external"}, True),
        ({"name": "no entrypoint"}, False),
        ({"entrypoint": "../a.py:b"}, False),
        ({"entrypoint": "a:b", "priority": 1_001}, False),
        ({"entrypoint": "a:b", "name": "a\u0007"}, False),
        ({"launcher": "external", "entrypoint": "", "initialize_from": ""}, True),
        ({"launcher": "external", "entrypoint": "a"}, False),
        ({"entrypoint": "a:b", "launcher": None, "code": None, "working_directory": ""}, True),
        ({"entrypoint": "a:b", "snapshots": {"every_steps": 200.0, "keep_best": {"metric": " "}}}, False),
        ({"entrypoint": "a:b", "snapshots": {"every_steps": 200.0, "keep_best": {"metric": "eval/loss"}}}, True),
        # What holds between fields.
        ({"launcher": "external", "search": {"space": {"x": [1]}}}, False),
        ({"entrypoint": "a:b", "code": CODE}, True),
        ({"entrypoint": "a.py:b", "code": CODE}, True),
        ({"entrypoint": "a:b", "code": CODE, "working_directory": "/data"}, False),
        ({"launcher": "external", "code": CODE, "working_directory": "/data"}, False),
        ({"entrypoint": "a.py:b", "working_directory": "/data"}, True),
        ({"entrypoint": "a.py:b", "launcher": "ray"}, True),
        ({"entrypoint": "a:b", "search": {"space": {}}}, False),
        ({"entrypoint": "a:b", "search": {"space": {"x": RANGE}}}, False),
        ({"entrypoint": "a:b", "search": {"kind": "random", "space": {"x": RANGE, "y": [1]}}}, True),
        ({"entrypoint": "a:b", "search": {"kind": "random", "space": {"x": {**RANGE, "log_scale": True}}}}, False),
        ({"entrypoint": "a:b", "search": {"kind": "random", "space": {"x": {**RANGE, "integer": True}}}}, False),
    ):
        assert check.is_valid(plain) == valid, plain
        try:
            configurations.resolve(plain)
        except InvalidArgument:
            assert not valid, plain
        else:
            assert valid, plain
    # The runtime service judges this one, where the code would run.
    assert not check.is_valid({"entrypoint": "a.py:b"})
    query = {one["name"]: one for one in described["paths"]["/api/v1/series:query"]["get"]["parameters"]}
    assert query["parents"]["required"] and query["parents"]["schema"]["maxItems"] == 50
    assert query["bucket_count"]["schema"]["maximum"] == 10_000


def test_a_start_is_given_one_form_of_a_configuration_and_not_both() -> None:
    described = document("0")
    body = described["paths"]["/api/v1/runtimes"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    check = jsonschema.Draft202012Validator({**body, "components": described["components"]})
    plain = {"entrypoint": "a:b"}
    for given, valid in (
        ({"configuration": plain}, True),
        ({"configuration": plain, "configuration_text": None}, True),
        ({"configuration_text": "entrypoint: a:b", "configuration": None}, True),
        ({"configuration_text": ""}, False),
        ({"configuration": plain, "configuration_text": "entrypoint: a:b"}, False),
        ({"configuration": None}, False),
        ({"validate_only": True}, False),
    ):
        assert check.is_valid(given) == valid, given


def test_generators_of_clients_find_no_union_beside_properties_and_no_default_that_is_none() -> None:
    """They read a union as its parts alone, and then a configuration would have no fields."""
    wrong = []

    def look(schema: Any, path: str) -> None:
        if isinstance(schema, dict):
            union = {"anyOf", "oneOf", "allOf"} & set(schema)
            conditional = path.rpartition("/")[2] in ("if", "then", "else")
            if union and isinstance(schema.get("properties"), dict) and not conditional:
                wrong.append(path)
            if "default" in schema and isinstance(schema["default"], dict | list):
                wrong.append(f"{path}: default")
            for name, part in schema.items():
                look(part, f"{path}/{name}")
        elif isinstance(schema, list):
            for number, part in enumerate(schema):
                look(part, f"{path}/{number}")

    look(document("0")["components"]["schemas"]["Configuration"], "")
    look(document("0")["paths"]["/api/v1/runtimes"]["post"]["requestBody"], "")
    assert not wrong


def test_the_document_says_who_may_ask_and_what_streams_hold() -> None:
    described = document("0")
    assert described["security"] == [{"bearer": []}, {"session": []}, {}]
    assert set(described["components"]["securitySchemes"]) == {"bearer", "session"}
    operations = [one for path in described["paths"].values() for one in path.values()]
    ids = [one["operationId"] for one in operations]
    assert len(set(ids)) == len(ids)
    streams = {
        media_type
        for one in operations
        for media_type, content in one["responses"]["200"]["content"].items()
        if "x-itemSchema" in content
    }
    assert streams == {"application/x-ndjson", "text/event-stream"}


def _messages(message: Descriptor) -> dict[str, Descriptor]:
    """A message and all that are in it, by name."""
    found = {message.name: message}
    waiting = [message]
    while waiting:
        for field in waiting.pop().fields:
            inner = field.message_type
            if inner is not None and inner.name not in found:
                found[inner.name] = inner
                waiting.append(inner)
    return found


def test_every_bound_is_of_a_field_of_a_request() -> None:
    known = set()
    for route in routes.ROUTES:
        known |= {f"{route.rpc.partition('.')[2]}.{one.name}" for one in route.descriptor.input_type.fields}
        for name, message in _messages(route.descriptor.input_type).items():
            for one in message.fields:
                known |= {one.name, f"{name}.{one.name}"}
    assert {*bounds.FIELDS, *bounds.LISTS, *bounds.REQUIRED} <= known
