"""Where firings may be told: a file of the operator, read again when it changes. Secrets stand elsewhere and are named.

    destinations:
      oncall:                                # CloudEvents, signed as Standard Webhooks say
        url: https://hooks.example.org/milepost
        secret: env:ONCALL_SECRET            # whsec_...
      chat:                                  # Slack, Mattermost, Rocket.Chat, Discord's /slack
        url: file:/run/secrets/chat_url
        format: slack
      mail:                                  # whatever apprise knows; its extra is `milepost[notify]`
        apprise: env:MAIL_URL

`env:NAME` is a variable of the rule service's environment, `file:PATH` the first line of a file.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

MAX_DESTINATIONS = 200
MAX_SECRET_BYTES = 4096
FORMATS = ("cloudevents", "slack")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_FIELDS = frozenset({"url", "secret", "format", "apprise"})
_SECRET_PREFIX = "whsec_"


class InvalidDestinations(ValueError):
    """The file cannot be used. The message names the file, the destination and the field."""


class SecretMissing(ValueError):
    """What a destination names as its secret is not there at the moment. The message says what and where."""


@dataclass(frozen=True, slots=True)
class Destination:
    """One place to tell. `url`, `secret` and `apprise` may be references: `resolve` reads them."""

    name: str
    url: str = ""
    # Signs; empty: nothing is signed.
    secret: str = ""
    format: str = "cloudevents"
    apprise: str = ""

    @property
    def kind(self) -> str:
        return "apprise" if self.apprise else self.format


@dataclass(slots=True)
class Destinations:
    """The destinations of a file, as it is now. Without a file there are none.

    A file that cannot be read any more keeps what it said before, and says why in `problem`. `is_expected`: somebody has
    named the file, so that it is a problem too where it is not there.
    """

    path: Path | None
    is_expected: bool = True
    problem: str = ""
    _seen: tuple[int, int] | None = None
    _known: dict[str, Destination] = field(default_factory=dict)

    def read(self) -> Mapping[str, Destination]:
        """Return the destinations by name."""
        if self.path is None:
            return self._known
        try:
            found = self.path.stat()
            seen = (found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._seen = seen
                self._known = parse(self.path.read_text(), str(self.path))
                self.problem = ""
        except FileNotFoundError:
            self._seen, self._known = None, {}
            self.problem = f"{self.path} does not exist" if self.is_expected else ""
        except (OSError, UnicodeDecodeError, InvalidDestinations) as error:
            self.problem = str(error)
        return self._known


def parse(text: str, where: str) -> dict[str, Destination]:
    """Read a file of destinations.

    Raises:
        InvalidDestinations: it is no such file.
    """
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InvalidDestinations(f"{where}: not YAML: {error}") from error
    if not isinstance(document, dict) or set(document) - {"destinations"}:
        raise InvalidDestinations(f"{where}: expected one field, `destinations`")
    given = document.get("destinations") or {}
    if not isinstance(given, dict):
        raise InvalidDestinations(f"{where}: destinations: expected names with their fields")
    if len(given) > MAX_DESTINATIONS:
        raise InvalidDestinations(f"{where}: {len(given)} destinations, at most {MAX_DESTINATIONS}")
    return {str(name): _destination(str(name), fields, where) for name, fields in given.items()}


def _destination(name: str, fields: Any, where: str) -> Destination:
    def wrong(what: str) -> InvalidDestinations:
        return InvalidDestinations(f"{where}: destinations.{name[:80]}: {what}")

    if not _NAME.fullmatch(name):
        raise wrong("a name is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or digit")
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise wrong("expected fields with text")
    unknown = set(fields) - _FIELDS
    if unknown:
        raise wrong(
            f"{', '.join(sorted(map(str, unknown)))}: there is no such field; known are {', '.join(sorted(_FIELDS))}"
        )
    if ("url" in fields) == ("apprise" in fields):
        raise wrong("one of url and apprise is needed")
    if "apprise" in fields and len(fields) > 1:
        raise wrong("beside apprise there are no other fields")
    destination = Destination(name, **fields)
    if destination.format not in FORMATS:
        raise wrong(f"format: {destination.format!r} is none of {', '.join(FORMATS)}")
    if destination.url and not _is_reference(destination.url):
        problem = problem_of_url(destination.url)
        if problem:
            raise wrong(f"url: {problem}")
    if destination.secret and not _is_reference(destination.secret):
        raise wrong("secret: a secret does not stand here; name it: env:NAME or file:PATH")
    return destination


def problem_of_url(url: str) -> str:
    """Say what keeps a URL from being posted to; empty: nothing."""
    try:
        parsed = urlsplit(url)
        _ = parsed.port
    except ValueError as error:
        return str(error)
    if parsed.scheme not in ("http", "https") or not parsed.hostname:
        return "expected http:// or https:// with a host"
    return "a user name or password does not stand here" if parsed.username or parsed.password else ""


def _is_reference(text: str) -> bool:
    return text.startswith(("env:", "file:"))


def resolve(text: str) -> str:
    """Return what a reference names; other text as it is. Reads at most 4 KiB.

    Raises:
        SecretMissing: it is not there.
    """
    kind, _, name = text.partition(":")
    if kind == "env":
        if not os.environ.get(name):
            raise SecretMissing(f"the variable {name} is not set for the rule service")
        return os.environ[name]
    if kind == "file":
        try:
            with Path(name).open("rb") as file:
                lines = file.read(MAX_SECRET_BYTES).decode().strip().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretMissing(f"{name} cannot be read: {error}") from error
        if not lines:
            raise SecretMissing(f"{name} is empty")
        return lines[0].strip()
    return text


def signing_key(text: str) -> bytes:
    """Return the key of a Standard Webhooks secret: base64, with or without `whsec_` before it.

    Raises:
        SecretMissing: it is no such secret.
    """
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretMissing("the secret is not base64, as `whsec_...` is") from error
    if not 24 <= len(key) <= 64:
        raise SecretMissing(f"the secret has {len(key)} bytes; Standard Webhooks take 24 to 64")
    return key
