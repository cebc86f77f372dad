"""`/openapi.json`: OpenAPI 3.1, generated from the table of routes and the descriptors of the messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from milepost import configuration as configurations
from milepost.ids import TOKEN
from milepost.protojson import (
    CONFIGURATION,
    DURATION,
    DURATION_BOUND,
    TIMESTAMP,
    enum_words,
    is_map,
    is_repeated,
    map_value,
    real_oneof,
)
from milepost.series.exports import FORMATS
from services.edge.contract import method_of
from services.gateway import routes
from services.gateway.authentication import COOKIE, SESSION_PATH
from services.gateway.bounds import LISTS, REQUIRED, bounds_of
from services.gateway.middleware import CSRF_HEADER
from services.gateway.problems import MEDIA_TYPE
from services.gateway.routes import MAX_TRIAL, Answer, Route, Topic

AS_OF = "milepost.api.event.v1.AsOf"
START = "RuntimeService.StartRuntime"
CONFIGURATION_NAME = "Configuration"
CSRF_NAME = "CsrfHeader"
# What can be asked next of a runtime that an answer has: what a client, or a test, follows.
RUNTIME_LINKS = (
    "GetRuntime",
    "ListTrials",
    "ListEvents",
    "PreviewStop",
    "StopRuntime",
    "ResumeRuntime",
    "CloneRuntime",
    "ListLineage",
    "DeleteRuntime",
    "UndeleteRuntime",
)
# What messages are sent as well as answered, and have bounds where they are sent.
RULE_FILE = "milepost/api/config/v1/rule.proto"
# Of two fields of a request one must be there: an object, or a text.
EITHER = {
    START: ("configuration", "configuration_text"),
    "RuntimeService.BranchTrial": ("step", "snapshot_id"),
    "RuntimeService.RollBackTrial": ("before_step", "snapshot_id"),
    "RuntimeService.PinSnapshot": ("step", "snapshot_id"),
    "RuntimeService.UnpinSnapshot": ("step", "snapshot_id"),
    "RuleService.TestRule": ("rule", "name"),
}
STARTS = (START, "RuntimeService.CloneRuntime", "RuntimeService.BranchTrial")
# What one item of a stream is: `itemSchema` of OpenAPI 3.2, which few tools read yet.
ITEM_SCHEMA = "x-itemSchema"
_PROBLEM_LINE = {
    "type": "object",
    "properties": {"problem": {"$ref": "#/components/schemas/Problem"}},
    "required": ["problem"],
    "additionalProperties": False,
}
SECURITY: dict[str, dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `milepost token create`, in the header Authorization. On loopback none is needed.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": f'The cookie that browsers get for `{{"token": "..."}}` posted to {SESSION_PATH}.',
    },
}
TAGS = {
    "AuditService": "Any past moment, and proof that the log is whole",
    "LogService": "Log lines of trainers",
    "MetricService": "What was logged against the global step",
    "RuleService": "What is watched for in runs, and what was found",
    "RuntimeService": "Life of runtimes, and what happened to them",
    "Streams": "Live streams of server-sent events",
    "TrialService": "Progress and estimates of trials",
}
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
    schemas: dict[str, Any] = {"Problem": _problem_schema(), CONFIGURATION_NAME: _configuration_schema()}
    # No `const`: a generator of clients leaves out whatever has one in a header.
    schemas[CSRF_NAME] = {"type": "string", "enum": ["1"]}
    paths: dict[str, Any] = {}
    for route in routes.ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    _add_streams(paths, schemas)
    _describe_own_rules(schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Milepost",
            "version": version,
            "description": "Runs training jobs and remembers everything that happened to them. The same as over gRPC, as JSON.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{name: []} for name in SECURITY] + [{}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {"Problem": _problem_response()},
            "securitySchemes": SECURITY,
        },
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    service, _, method = route.rpc.partition(".")
    request: Descriptor = route.descriptor.input_type
    parameters = [_path_parameter(name, route.wildcard) for name in re.findall(r"{(\w+)}", route.path)]
    operation: dict[str, Any] = {
        "operationId": f"{method}_{len(parameters)}" if _is_second(route) else method,
        "summary": route.summary,
        "description": f"{route.summary}: `{route.rpc}` of gRPC.",
        "tags": [service],
        "responses": _responses(route, schemas),
    }
    if route.method == "POST":
        parameters.append(_csrf_parameter())
        operation["requestBody"] = {"content": {"application/json": {"schema": _body_schema(route, schemas)}}}
        if route.rpc in EITHER or _required(route.descriptor.input_type, _method(route)):
            operation["requestBody"]["required"] = True
    else:
        if route.method == "DELETE":
            parameters.append(_csrf_parameter())
        parameters.extend(_query_parameters(request, route, schemas))
    operation["parameters"] = parameters
    return operation


def _method(route: Route) -> str:
    return route.rpc.partition(".")[2]


def _is_second(route: Route) -> bool:
    return next(other for other in routes.ROUTES if other.rpc == route.rpc) is not route


def _configuration_schema() -> dict[str, Any]:
    """Describe a configuration in the form of its file. Generators of clients take no default that is a mapping or a list."""
    schema = configurations.CONFIGURATION.schema()
    _drop_empty_defaults(schema)
    return schema


def _describe_own_rules(schemas: dict[str, Any]) -> None:
    """Say of the rules of a configuration what is said of those that are sent: with an id, without a choice of runs."""
    rules = schemas[CONFIGURATION_NAME]["properties"]["rules"]["anyOf"][0]
    sent = schemas["config.v1.RuleSent"]["properties"]
    properties = {**rules["items"]["properties"], **{name: sent[name] for name in sent if name != "selector"}}
    # The curve of a baseline is read when a rule is made.
    kinds = [kind for kind in schemas["config.v1.DetectorSent"]["oneOf"] if "baseline" not in kind["properties"]]
    schemas["config.v1.RunDetectorSent"] = {"oneOf": kinds}
    properties["detector"] = {"$ref": "#/components/schemas/config.v1.RunDetectorSent"}
    rules["items"] = {**rules["items"], "properties": properties, "additionalProperties": False}


def _drop_empty_defaults(schema: Any) -> None:
    if isinstance(schema, list):
        for part in schema:
            _drop_empty_defaults(part)
    elif isinstance(schema, dict):
        if schema.get("default") in ({}, [], None):
            schema.pop("default", None)
        for part in schema.values():
            _drop_empty_defaults(part)


def _path_parameter(name: str, wildcard: bool = False) -> dict[str, Any]:
    if name == "trial":
        schema: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": MAX_TRIAL}
    elif name == "notification":
        schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
    elif name == "rule":
        # Of a run's configuration: with the id of the run before it.
        schema = {
            "type": "string",
            "pattern": rf"^(?:{TOKEN.pattern}(?:\.{TOKEN.pattern})?{'|-' if wildcard else ''})$",
        }
    else:
        schema = {"type": "string", "pattern": f"^(?:{TOKEN.pattern}{'|-' if wildcard else ''})$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _csrf_parameter() -> dict[str, Any]:
    return {
        "name": CSRF_HEADER,
        "in": "header",
        "required": True,
        "schema": {"$ref": f"#/components/schemas/{CSRF_NAME}"},
    }


def _query_parameters(request: Descriptor, route: Route, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    parameters = []
    for field in request.fields:
        if field.name in route.bind:
            continue
        if field.name == route.flatten and field.message_type is not None:
            parameters += [_query_parameter(route, member, schemas) for member in field.message_type.fields]
        else:
            parameters.append(_query_parameter(route, field, schemas))
    if route.answer is Answer.TABLE:
        parameters.append({"name": "format", "in": "query", "schema": {"type": "string", "enum": list(FORMATS)}})
    return parameters


def _query_parameter(route: Route, field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    place = f"{_method(route)}.{field.name}"
    parameter: dict[str, Any] = {"name": field.name, "in": "query", "required": place in REQUIRED}
    if field.message_type is not None and field.message_type.full_name == AS_OF:
        moment = {"type": "string", "format": "date-time"}
        parameter["schema"] = {"anyOf": [{"type": "string", "pattern": "^[0-9]{1,18}(/[0-9]{1,18})?$"}, moment]}
        parameter["description"] = (
            "`<events sequence>`, `<events sequence>/<telemetry sequence>`, or a time as in RFC 3339"
        )
    elif is_repeated(field):
        items = _input_schema(route, field, schemas)
        parameter["schema"] = {"type": "array", "items": items, **LISTS.get(place, {})}
        parameter["style"], parameter["explode"] = "form", True
    else:
        parameter["schema"] = _input_schema(route, field, schemas)
    return parameter


def _body_schema(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    request: Descriptor = route.descriptor.input_type
    schema = _fields_schema(request, _required(request, _method(route)), route, schemas)
    if route.rpc in EITHER:
        # One of them, and not both; null is as good as absent. Generators of clients read a union as its parts alone.
        whole, text = EITHER[route.rpc]
        kind = "object" if request.fields_by_name[whole].message_type is not None else "integer"
        schema["if"] = {"required": [whole], "properties": {whole: {"type": kind}}}
        schema["then"] = {"properties": {text: {"type": "null"}}}
        schema["else"] = {"required": [text], "properties": {text: {"type": "string"}}}
    return schema


def _fields_schema(message: Descriptor, required: list[str], route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe an object that is sent. Null is as good as absent, but for what is required."""
    properties: dict[str, Any] = {}
    for field in message.fields:
        if field.name in route.bind and message is route.descriptor.input_type:
            continue
        schema = _body_value_schema(route, field, schemas)
        properties[field.name] = schema if field.name in required else {"anyOf": [schema, {"type": "null"}]}
    described = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**described, "required": required} if required else described


def _required(message: Descriptor, name: str) -> list[str]:
    """List the fields of a message, or of the request of a method, that must be there."""
    return [field.name for field in message.fields if f"{name}.{field.name}" in REQUIRED]


def _body_value_schema(route: Route, field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    if is_map(field):
        bounds = bounds_of(_method(route), _message_of(field), field.name)
        return bounds or {"type": "object", "additionalProperties": _value_schema(map_value(field), schemas)}
    schema = _input_schema(route, field, schemas)
    if not is_repeated(field):
        return schema
    return {"type": "array", "items": schema, **LISTS.get(f"{_message_of(field)}.{field.name}", {})}


def _message_of(field: FieldDescriptor) -> str:
    return cast(Descriptor, field.containing_type).name


def _sent_schema(route: Route, message: Descriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe a message as it is sent: with its bounds."""
    name = f"{schema_name(message)}Sent"
    if name not in schemas:
        schemas[name] = {}
        if message.fields and all(real_oneof(field) is not None for field in message.fields):
            kinds = [_only(route, field, schemas) for field in message.fields]
            schemas[name] = {"oneOf": kinds} if len(kinds) > 1 else kinds[0]
        else:
            schemas[name] = _fields_schema(message, _required(message, message.name), route, schemas)
    return {"$ref": f"#/components/schemas/{name}"}


def _only(route: Route, field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe an object that has this field of a oneof."""
    properties = {field.name: _input_schema(route, field, schemas)}
    return {"type": "object", "properties": properties, "required": [field.name], "additionalProperties": False}


def _input_schema(route: Route, field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    bounds = bounds_of(_method(route), _message_of(field), field.name)
    if bounds is not None:
        return bounds
    if field.message_type is not None and field.message_type.file.name == RULE_FILE:
        return _sent_schema(route, field.message_type, schemas)
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
    if descriptor.full_name == CONFIGURATION:
        return {"$ref": f"#/components/schemas/{CONFIGURATION_NAME}"}
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
    # Linters ask for `items` though nothing may follow.
    pair = [{"type": "integer"}, _NON_FINITE]
    schemas["NonFiniteElement"] = {
        "type": "array", "prefixItems": pair, "items": {}, "minItems": 2, "maxItems": 2,
        "description": "The index of an element that is null in the list, and what it is.",
    }  # fmt: skip
    return {
        field.name: {"type": "array", "items": {"type": ["number", "null"]}},
        f"{field.name}_non_finite": {"type": "array", "items": {"$ref": "#/components/schemas/NonFiniteElement"}},
    }


def _responses(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    if route.answer is Answer.JSON:
        answer = _message_schema(route.descriptor.output_type, schemas)
        content: dict[str, Any] = {"application/json": {"schema": answer}}
    elif route.answer is Answer.LINES:
        answer = _message_schema(route.descriptor.output_type, schemas)
        lines = {"type": "string", "description": "one object a line, as x-itemSchema has it"}
        content = {"application/x-ndjson": {"schema": lines, ITEM_SCHEMA: {"anyOf": [answer, _PROBLEM_LINE]}}}
    elif route.answer is Answer.TABLE:
        content = {media_type.partition(";")[0]: {"schema": {}} for media_type, _ in FORMATS.values()}
    else:
        content = {"application/octet-stream": {"schema": {}}}
    done: dict[str, Any] = {"description": "Done", "content": content}
    if route.rpc in STARTS:
        runtime = {"runtime": "$response.body#/runtime/runtime_id"}
        done["links"] = {name: {"operationId": name, "parameters": runtime} for name in RUNTIME_LINKS}
    responses: dict[str, Any] = {"200": done}
    if route.method == "GET" and route.answer is Answer.JSON:
        responses["304"] = {"description": "As the ETag that was given"}
    responses["4XX"] = responses["5XX"] = {"$ref": "#/components/responses/Problem"}
    return responses


def _add_streams(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
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
                "description": "One stream for a whole page. What its events have says x-itemSchema.",
                "tags": ["Streams"],
                "parameters": parameters,
                "responses": {
                    "200": {
                        "description": "For ever",
                        "content": {
                            "text/event-stream": {
                                "schema": {"type": "string"},
                                ITEM_SCHEMA: {"oneOf": _event_schemas(topics, schemas)},
                            }
                        },
                    },
                    "4XX": {"$ref": "#/components/responses/Problem"},
                    "5XX": {"$ref": "#/components/responses/Problem"},
                },
            }
        }


def _event_schemas(topics: Mapping[str, Topic], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe the events of a stream: what is between two empty lines, its data read as JSON."""
    text = {"type": "string"}
    feed = {
        "type": "object",
        "properties": {"topic": text, "state": {"enum": ["reconnecting", "live"]}, "detail": text},
        "required": ["topic", "state"],
    }
    problem = {
        "allOf": [{"$ref": "#/components/schemas/Problem"}, {"required": ["topic"], "properties": {"topic": text}}]
    }
    data = {name: _message_schema(method_of(topic.rpc).output_type, schemas) for name, topic in topics.items()}
    # A state that is older says so, beside what its message has.
    for topic in topics.values():
        if topic.snapshot:
            aged = schemas[schema_name(method_of(topic.rpc).output_type)]
            aged["properties"]["age_seconds"] = {"type": "number", "description": "Only in streams of HTTP"}
    return [
        {
            "type": "object",
            "properties": {"event": {"const": name}, "id": text, "data": schema},
            "required": ["event", "data"],
        }
        for name, schema in {**data, "feed": feed, "problem": problem}.items()
    ]


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
