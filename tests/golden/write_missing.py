"""Write a golden file for every event type that has none: `python -m tests.golden.write_missing`.

A file that is there is never touched: it stands for events in logs that exist, and must be readable for ever.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from milepost.eventlog.codec import AREAS, TYPES

DIRECTORY = Path(__file__).parent / "events"
SAMPLE_TIME = datetime(2026, 3, 1, 12, 30, 45, 123456, tzinfo=UTC)


def golden_path(ce_type: str, suffix: str = ".binpb") -> Path:
    """Where the golden file of a type is: `milepost.trial.alert_raised.v1` -> `trial.alert_raised.v1.binpb`."""
    return DIRECTORY / (ce_type.removeprefix("milepost.") + suffix)


def as_json(event: Message) -> str:
    """The form for reviews."""
    return json.dumps(MessageToDict(event, preserving_proto_field_name=True), indent=2, sort_keys=True) + "\n"


def fill(message: Message) -> None:
    """Set every field of a message to a value that tells it from its neighbours."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        message.FromDatetime(SAMPLE_TIME)  # type: ignore[attr-defined]
        return
    for field in message.DESCRIPTOR.fields:
        container = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(container, field)
        elif field.is_repeated and field.message_type is not None:
            fill(container.add())
        elif field.is_repeated:
            container.extend([_scalar(field, 0), _scalar(field, 1)])
        elif field.message_type is not None:
            if field.message_type is not message.DESCRIPTOR:
                fill(container)
        else:
            setattr(message, field.name, _scalar(field, 0))


def _fill_map(container: Any, field: Any) -> None:
    key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
    if value.message_type is not None:
        fill(container[_scalar(key, 0)])
    else:
        container[_scalar(key, 0)] = _scalar(value, 0)


def _scalar(field: Any, index: int) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = f"{field.name} ü {index}"
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return True
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return field.enum_type.values[-1].number
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return field.number + 0.25 + index
    if kind in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
        return 2**40 + 100 * field.number + index
    return 100 * field.number + index


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for ce_type, (area, name) in TYPES.items():
        path = golden_path(ce_type)
        if path.exists():
            continue
        event = AREAS[area]()
        getattr(event, name).SetInParent()
        fill(getattr(event, name))
        path.write_bytes(event.SerializeToString(deterministic=True))
        golden_path(ce_type, ".json").write_text(as_json(event), encoding="utf-8")
        print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
