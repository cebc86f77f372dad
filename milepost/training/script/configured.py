"""The configuration of a script's run, of what the script gives to `init`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from milepost import configuration as configurations
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.errors import InvalidArgument, Violation
from milepost.training.loop.said import declared
from milepost.training.user_code import given

MAX_RUN_NAME = 200


@dataclass(frozen=True, slots=True)
class Configured:
    """What a script has given."""

    configuration: RuntimeConfiguration
    said: declared.Declared
    # What of it is no part of the configuration.
    besides: declared.Declared

    def new_to(self, known: RuntimeConfiguration) -> declared.Declared:
        """Return what another configuration does not have."""
        said = self.said
        return declared.Declared(
            {name: text for name, text in said.parameters.items() if known.parameters.get(name) != text},
            {key: text for key, text in said.labels.items() if known.labels.get(key) != text},
            said.notes,
        )


def read(fields: Mapping[str, Any]) -> Configured:
    """Read `name`, `parameters`, `labels`, `not_secret` and `snapshots`, and resolve them.

    What only describes the run is taken as well as can be. How snapshots are taken is not guessed.

    Raises:
        InvalidArgument: a snapshot setting is unknown or cannot work.
    """
    said = declared.read(fields.get("parameters"), fields.get("labels"))
    configured, besides = said.split()
    besides.notes = said.notes
    name = given.line(fields.get("name") or "")
    if len(name) > MAX_RUN_NAME:
        said.notes["name"] = f"a name has at most {MAX_RUN_NAME} characters; this one is cut: {name[:60]}..."
    plain: dict[str, Any] = {"name": name[:MAX_RUN_NAME], **configured, "launcher": "external"}
    plain["not_secret"] = [given.text(name) for name in fields.get("not_secret") or ()]
    if fields.get("snapshots") is not None:
        plain["snapshots"] = _settings(fields["snapshots"])
    return Configured(configurations.resolve(plain), said, besides)


def _settings(snapshots: Any) -> dict[str, Any]:
    """Read the settings of snapshots: numbers of any kind, everything else as in a configuration."""
    group = given.group(snapshots)
    if group is None:
        raise InvalidArgument(
            [Violation("snapshots", f"must be settings by name, such as {{'every_steps': 100}}, not {snapshots!r:.60}")]
        )
    return {given.text(name): _number(value) for name, value in group.items()}


def _number(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    members = given.members(value)
    if members is not None:
        return {given.text(name): _number(one) for name, one in members.items()}
    found = given.whole(value)
    return found if found is not None else given.ask(lambda: float(value), value)
