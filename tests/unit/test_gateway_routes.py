"""The table between HTTP and RPCs is complete and consistent."""

from __future__ import annotations

import re

import grpc
import pytest

from milepost.errors import InvalidArgument
from milepost.protojson import message_class_of
from services.gateway import routes
from services.gateway.openapi import document
from services.gateway.problems import STATUSES
from services.gateway.subscriptions import format_token, parse_token

TOPICS = {**routes.PLATFORM_TOPICS, **routes.RUNTIME_TOPICS}


def test_every_rpc_has_a_route_or_a_topic() -> None:
    mapped = {route.rpc for route in routes.ROUTES} | {topic.rpc for topic in TOPICS.values()} | routes.INTERNAL_RPCS
    offered = {f"{name}.{method.name}" for name, service in routes.SERVICES.items() for method in service.methods}
    assert offered == mapped


def test_every_service_has_a_process() -> None:
    assert set(routes.PROCESSES) == set(routes.SERVICES)


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
    method = routes.method_of(topic.rpc)
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
