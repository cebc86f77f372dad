"""`/openapi.json`: OpenAPI 3.1, generated from the table of routes and the descriptors of the messages."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from milepost.exports import FORMATS
from milepost.ids import TOKEN
from milepost.protojson import (
    DURATION,
    DURATION_BOUND,
    TIMESTAMP,
    enum_words,
    is_map,
    is_repeated,
    map_value,
    real_oneof,
)
from services.gateway import routes
from services.gateway.guards import CSRF_HEADER
from services.gateway.problems import MEDIA_TYPE
from services.gateway.routes import MAXIMUM_TRIAL, Answer, Route

AS_OF = "milepost.api.event.v1.AsOf"
_NON_FINITE: dict[str, Any] = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
_INTEGER_FORMATS = {
    FieldDescriptor.CPPTYPE_INT32: "int32",
    FieldDescriptor.CPPTYPE_INT64: "int64",
    FieldDescriptor.CPPTYPE_UINT32: "uint32",
    FieldDescriptor.CPPTYPE_UINT64: "uint64",
}


def schema_name(descriptor: Descriptor) -> str:
    """Name a message without the parts that all have in common: `runtime.v1.Runtime`."""
    return descriptor.full_name.removeprefix("milepost.api.")


def document(version: str) -> dict[str, Any]:
    """Return the whole OpenAPI document."""
    schemas: dict[str, Any] = {"Problem": _problem_schema()}
    paths: dict[str, Any] = {}
    for route in routes.ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    _add_streams(paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Milepost",
            "version": version,
            "description": "Runs training jobs and remembers everything that happened to them. The same as over gRPC, as JSON.",
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items())), "responses": {"Problem": _problem_response()}},
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    service, _, method = route.rpc.partition(".")
    request: Descriptor = route.descriptor.input_type
    parameters = [_path_parameter(name, route.wildcard) for name in re.findall(r"{(\w+)}", route.path)]
    operation: dict[str, Any] = {
        "operationId": f"{method}_{len(parameters)}" if _is_second(route) else method,
        "summary": route.summary,
        "tags": [service],
        "responses": _responses(route, schemas),
    }
    if route.method == "POST":
        parameters.append(_csrf_parameter())
        operation["requestBody"] = {"content": {"application/json": {"schema": _body_schema(route, schemas)}}}
    else:
        if route.method == "DELETE":
            parameters.append(_csrf_parameter())
        parameters.extend(_query_parameters(request, route, schemas))
    operation["parameters"] = parameters
    return operation


def _is_second(route: Route) -> bool:
    return next(other for other in routes.ROUTES if other.rpc == route.rpc) is not route


def _path_parameter(name: str, wildcard: bool = False) -> dict[str, Any]:
    if name == "trial":
        schema: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": MAXIMUM_TRIAL}
    else:
        schema = {"type": "string", "pattern": f"^(?:{TOKEN.pattern}{'|-' if wildcard else ''})$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _csrf_parameter() -> dict[str, Any]:
    return {"name": CSRF_HEADER, "in": "header", "required": True, "schema": {"type": "string", "enum": ["1"]}}


def _query_parameters(request: Descriptor, route: Route, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    parameters = []
    for field in request.fields:
        if field.name in route.bind:
            continue
        if field.name == route.flatten and field.message_type is not None:
            parameters += [_query_parameter(member, schemas) for member in field.message_type.fields]
        else:
            parameters.append(_query_parameter(field, schemas))
    if route.answer is Answer.TABLE:
        parameters.append({"name": "format", "in": "query", "schema": {"type": "string", "enum": list(FORMATS)}})
    return parameters


def _query_parameter(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": field.name, "in": "query", "required": False}
    if field.message_type is not None and field.message_type.full_name == AS_OF:
        moment = {"type": "string", "format": "date-time"}
        parameter["schema"] = {"anyOf": [{"type": "string", "pattern": "^[0-9]{1,18}(/[0-9]{1,18})?$"}, moment]}
        parameter["description"] = (
            "`<events sequence>`, `<events sequence>/<telemetry sequence>`, or a time as in RFC 3339"
        )
    elif is_repeated(field):
        parameter["schema"] = {"type": "array", "items": _input_schema(field, schemas)}
        parameter["style"], parameter["explode"] = "form", True
    else:
        parameter["schema"] = _input_schema(field, schemas)
    return parameter


def _body_schema(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field in route.descriptor.input_type.fields:
        if field.name in route.bind:
            continue
        properties[field.name] = {"anyOf": [_body_value_schema(field, schemas), {"type": "null"}]}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if route.rpc == "RuntimeService.StartRuntime":
        properties["configuration"] = {
            "type": ["object", "null"],
            "description": "The configuration in the form of its YAML file",
        }
        both = {"configuration": {"type": "object"}, "configuration_text": {"type": "string"}}
        schema["not"] = {"required": list(both), "properties": both}
    return schema


def _body_value_schema(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = _input_schema(field, schemas)
    return {"type": "array", "items": schema} if is_repeated(field) else schema


def _input_schema(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    if field.enum_type is not None:
        return {"type": "string", "enum": [word for word in enum_words(field.enum_type).values() if word]}
    return _value_schema(field, schemas)


def _value_schema(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe one value of a field, as it stands in an answer."""
    if field.message_type is not None:
        return _message_schema(field.message_type, schemas)
    if field.enum_type is not None:
        return _enum_schema(field.enum_type)
    if field.cpp_type in _INTEGER_FORMATS:
        return {"type": "integer", "format": _INTEGER_FORMATS[field.cpp_type]}
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return {"anyOf": [{"type": "number"}, _NON_FINITE]}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    return {"type": "string"}


def _enum_schema(enum: EnumDescriptor) -> dict[str, Any]:
    return {"enum": list(enum_words(enum).values())}


def _message_schema(descriptor: Descriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    if descriptor.full_name == TIMESTAMP:
        return {"type": "string", "format": "date-time"}
    if descriptor.full_name == DURATION:
        return {"type": "number", "minimum": -DURATION_BOUND, "maximum": DURATION_BOUND, "description": "seconds"}
    name = schema_name(descriptor)
    if name not in schemas:
        schemas[name] = {}
        schemas[name] = _object_schema(descriptor, schemas)
    return {"$ref": f"#/components/schemas/{name}"}


def _object_schema(descriptor: Descriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for field in descriptor.fields:
        if is_map(field):
            properties[field.name] = {
                "type": "object",
                "additionalProperties": _value_schema(map_value(field), schemas),
            }
        elif is_repeated(field):
            properties.update(_list_schemas(field, schemas))
        else:
            schema = _value_schema(field, schemas)
            optional = field.has_presence and real_oneof(field) is None
            properties[field.name] = {"anyOf": [schema, {"type": "null"}]} if optional else schema
        if real_oneof(field) is None:
            required.append(field.name)
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _list_schemas(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    if field.cpp_type not in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return {field.name: {"type": "array", "items": _value_schema(field, schemas)}}
    place = {"type": "array", "prefixItems": [{"type": "integer"}, _NON_FINITE], "minItems": 2, "maxItems": 2}
    return {
        field.name: {"type": "array", "items": {"type": ["number", "null"]}},
        f"{field.name}_non_finite": {"type": "array", "items": place},
    }


def _responses(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    answer = _message_schema(route.descriptor.output_type, schemas)
    if route.answer is Answer.JSON:
        content: dict[str, Any] = {"application/json": {"schema": answer}}
    elif route.answer is Answer.LINES:
        content = {"application/x-ndjson": {"schema": {"type": "string", "description": "one object a line"}}}
    elif route.answer is Answer.TABLE:
        content = {media_type.partition(";")[0]: {"schema": {}} for media_type, _ in FORMATS.values()}
    else:
        content = {"application/octet-stream": {"schema": {}}}
    responses: dict[str, Any] = {"200": {"description": "Done", "content": content}}
    if route.method == "GET" and route.answer is Answer.JSON:
        responses["304"] = {"description": "As the ETag that was given"}
    responses["4XX"] = responses["5XX"] = {"$ref": "#/components/responses/Problem"}
    return responses


def _add_streams(paths: dict[str, Any]) -> None:
    for path, topics, more in (
        (routes.RUNTIME_STREAM, routes.RUNTIME_TOPICS, ("trial", "keys", "brief")),
        (routes.PLATFORM_STREAM, routes.PLATFORM_TOPICS, ("filter",)),
    ):
        parameters: list[dict[str, Any]] = [_path_parameter(name) for name in re.findall(r"{(\w+)}", path)]
        names = {"type": "string", "description": f"Joined by commas: {', '.join(topics)}"}
        parameters.append({"name": "topics", "in": "query", "required": False, "schema": names})
        parameters.append(
            {"name": "from", "in": "query", "schema": {"type": "string"}, "description": "As Last-Event-ID"}
        )
        parameters.append({"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}})
        for name in more:
            schema: dict[str, Any] = (
                {"type": "array", "items": {"type": "string"}} if name == "keys" else {"type": "string"}
            )
            parameters.append({"name": name, "in": "query", "required": False, "schema": schema})
        paths[path] = {
            "get": {
                "operationId": "StreamRuntime" if "{runtime}" in path else "StreamPlatform",
                "summary": "Follow several topics as server-sent events; the id of an event resumes exactly",
                "tags": ["Streams"],
                "parameters": parameters,
                "responses": {
                    "200": {
                        "description": "For ever",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    },
                    "4XX": {"$ref": "#/components/responses/Problem"},
                    "5XX": {"$ref": "#/components/responses/Problem"},
                },
            }
        }


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    violation = {
        "type": "object",
        "properties": {"field": text, "description": text},
        "required": ["field", "description"],
    }
    return {
        "type": "object",
        "description": "Problem details (RFC 9457)",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "instance": text,
            "code": {**text, "description": "canonical gRPC code"},
            "reason": {**text, "description": "stable, UPPER_SNAKE_CASE"},
            "metadata": {"type": "object", "additionalProperties": text},
            "violations": {"type": "array", "items": violation},
        },
        "required": ["type", "title", "status", "detail", "code", "reason"],
    }


def _problem_response() -> dict[str, Any]:
    return {
        "description": "What went wrong",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
