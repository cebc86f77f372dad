"""What a client of a live stream asked for, and how far it has come: topics, requests, positions, event ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from google.protobuf.descriptor import FieldDescriptor

from milepost.errors import InvalidArgument, Violation
from milepost.protojson import from_query, is_repeated, message_class_of
from services.edge.contract import method_of
from services.gateway.routes import Topic

Position = tuple[str, ...]


def format_token(positions: Mapping[str, Position]) -> str:
    """Write positions as an event id."""
    return ";".join(
        f"{name}={'/'.join(quote(part, safe='') for part in positions[name])}" for name in sorted(positions)
    )


def parse_token(token: str, topics: Mapping[str, Topic]) -> dict[str, Position]:
    """Read an event id. Topics that are not asked for now are passed over.

    Raises:
        InvalidArgument: it is not one of ours.
    """
    positions: dict[str, Position] = {}
    for piece in filter(None, token.split(";")):
        name, separator, value = piece.partition("=")
        parts = tuple(unquote(part) for part in value.split("/"))
        if not separator or not value:
            raise InvalidArgument([Violation("Last-Event-ID", "is not an event id of this stream")])
        topic = topics.get(name)
        if topic is None:
            continue
        if len(parts) != len(topic.positions) or not all(_fits(topic, index, part) for index, part in enumerate(parts)):
            raise InvalidArgument(
                [Violation("Last-Event-ID", f"has a position of {name} that is not one of this stream")]
            )
        positions[name] = parts
    return positions


def _position_field(topic: Topic, index: int) -> FieldDescriptor:
    return method_of(topic.rpc).input_type.fields_by_name[topic.positions[index]]


def _fits(topic: Topic, index: int, part: str) -> bool:
    if _position_field(topic, index).type == FieldDescriptor.TYPE_STRING:
        return True
    return part.isascii() and part.isdigit() and len(part) <= 18


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic that a client asked for, and what its request is apart from the position."""

    topic: Topic
    request: Any

    @property
    def is_shared(self) -> bool:
        """Whether every client that asks for this sees the same: a state, all of it, however it was come by."""
        return self.topic.snapshot and not getattr(self.request, "filter", "")

    def request_from(self, position: Position | None) -> Any:
        request = type(self.request)()
        request.CopyFrom(self.request)
        for index, part in enumerate(position or ()):
            is_text = _position_field(self.topic, index).type == FieldDescriptor.TYPE_STRING
            setattr(request, self.topic.positions[index], part if is_text else int(part))
        return request


def subscribe(topic: Topic, path: Mapping[str, str], query: list[tuple[str, str]]) -> Subscription:
    """Fill the fixed part of a topic's request from the path and the query.

    Raises:
        InvalidArgument: a query parameter does not fit its field.
    """
    message_class = message_class_of(method_of(topic.rpc).input_type)
    request: Any = from_query([(topic.query[key], text) for key, text in query if key in topic.query], message_class)
    for name, template in topic.request.items():
        field = request.DESCRIPTOR.fields_by_name[name]
        if is_repeated(field):
            getattr(request, name).extend(text.format(**path) for text in template)
        else:
            setattr(request, name, template.format(**path) if isinstance(template, str) else template)
    return Subscription(topic, request)
