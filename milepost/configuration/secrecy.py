"""What looks like a secret in a configuration: taken out where nobody needs it again, refused where training would."""

from __future__ import annotations

import json
import re

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.errors import Violation
from milepost.security.redaction import Redactor

_COMMENTED = re.compile(r"""([A-Za-z_][\w.-]*)["']?\s{0,20}[:=]\s{0,20}["']?([^\s"',}]+)""")


def redact(configuration: RuntimeConfiguration, redactor: Redactor) -> RuntimeConfiguration:
    """Return the configuration of a script as it may be recorded. The script itself keeps what it was given."""
    left = RuntimeConfiguration()
    left.CopyFrom(configuration)
    left.name = redactor.text(configuration.name)
    left.parameters.update(redactor.scalars(configuration.parameters))
    left.labels.update(redactor.texts(configuration.labels))
    for name, entry in configuration.environment.items():
        if entry.WhichOneof("kind") == "value":
            left.environment[name].value = redactor.value(name, entry.value)
    return left


def secret_violations(configuration: RuntimeConfiguration) -> list[Violation]:
    """List what looks like a secret in the configuration of a run that is started from it.

    It is recorded for ever and handed to the training code as it was recorded, so nothing can be taken out of it.
    """
    given: list[tuple[str, str, str]] = [("name", "", configuration.name)]
    for name, scalar in configuration.parameters.items():
        given.append((f"parameters.{name}", name, _text(scalar)))
    for name, dimension in configuration.search.space.items():
        given += [(f"search.space.{name}", name, _text(scalar)) for scalar in dimension.values]
    for name, entry in configuration.environment.items():
        given.append((f"environment.{name}", name, entry.value))
    for name, text in configuration.labels.items():
        given.append((f"labels.{name}", name, text))
    refused = {path: name for path, name, text in given if _is_found(name, text, configuration)}
    return [Violation(path, _advice(path, name)) for path, name in sorted(refused.items())]


def comments_are_secret(text: str, configuration: RuntimeConfiguration) -> bool:
    """Return whether the comments of a configuration look as if they held a secret: a line that was taken out, say.

    Args:
        text: as it was given, YAML or JSON.
    """
    for line in text.splitlines():
        comment = line.partition("#")[2]
        if not comment:
            continue
        named = _COMMENTED.findall(comment)
        if any(_is_found(name, value, configuration) for name, value in [*named, ("", comment)]):
            return True
    return False


def _text(scalar: str) -> str:
    return str(json.loads(scalar)) if scalar.startswith('"') else scalar


def _is_found(name: str, text: str, configuration: RuntimeConfiguration) -> bool:
    redactor = Redactor(configuration.not_secret)
    redactor.value(name, text)
    return bool(redactor.found)


def _advice(path: str, name: str) -> str:
    variable = name if path.startswith("environment.") else "".join(c if c.isalnum() else "_" for c in name).upper()
    if path == "name":
        return "holds what looks like a secret, and would be recorded for ever: leave it out"
    other = (
        "leave it out" if path.startswith("labels.") else f"give it as environment: {{{variable}: {{secret: NAME}}}}"
    )
    return f"looks like a secret, and would be recorded for ever: {other}, or list {name} in not_secret"
