"""The form of the page knows every field of a configuration."""

from __future__ import annotations

import re
from pathlib import Path

from milepost.api.config.v1 import configuration_pb2
from milepost.protojson import is_map, is_repeated

SCHEMA = Path(__file__).resolve().parent.parent.parent / "services" / "gateway" / "web" / "functions" / "schema.js"


def leaves(descriptor: object, prefix: str = "") -> set[str]:
    """Paths of the fields of a message that are no messages themselves."""
    found = set()
    for field in descriptor.fields:  # type: ignore[attr-defined]
        path = f"{prefix}{field.name}"
        if field.message_type is None or is_map(field) or is_repeated(field):
            found.add(path)
        else:
            found |= leaves(field.message_type, f"{path}.")
    return found


def test_the_form_has_every_field_of_a_configuration_and_no_other() -> None:
    """A field that is added to the contract must be added to the form."""
    shown = set(re.findall(r"path: '([a-z_.]+)'", SCHEMA.read_text()))
    assert shown == leaves(configuration_pb2.RuntimeConfiguration.DESCRIPTOR)
