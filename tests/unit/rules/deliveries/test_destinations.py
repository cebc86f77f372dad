"""The operator's file of destinations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.rules.deliveries.destinations import (
    Destinations,
    InvalidDestinations,
    SecretMissing,
    parse,
    resolve,
    signing_key,
)

GOOD = """
destinations:
  oncall: {url: "https://hooks.example.org/x", secret: "env:ONCALL"}
  chat: {url: "file:/run/secrets/chat", format: slack}
  mail: {apprise: "env:MAIL"}
"""


def test_each_kind_is_known() -> None:
    assert {name: one.kind for name, one in parse(GOOD, "file").items()} == {
        "oncall": "cloudevents", "chat": "slack", "mail": "apprise",
    }  # fmt: skip
    assert parse("", "file") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("destinations: [a]", "expected names"),
        ("other: {}", "one field, `destinations`"),
        ("{", "not YAML"),
        ("destinations: {Big: {url: 'http://h/'}}", "destinations.Big: a name is"),
        ("destinations: {a: {url: 'http://h/', colour: red}}", "colour: there is no such field"),
        ("destinations: {a: {url: 'ftp://h/'}}", "url: expected http"),
        ("destinations: {a: {url: 'http://u:p@h/'}}", "user name or password does not stand here"),
        ("destinations: {a: {url: 'http://h:x/'}}", "url: "),
        ("destinations: {a: {secret: 'env:S'}}", "one of url and apprise"),
        ("destinations: {a: {url: 'http://h/', apprise: 'json://h'}}", "one of url and apprise"),
        ("destinations: {a: {apprise: 'json://h', format: slack}}", "beside apprise"),
        ("destinations: {a: {url: 'http://h/', secret: whsec_AAAA}}", "a secret does not stand here"),
        ("destinations: {a: {url: 'http://h/', format: xml}}", "none of cloudevents, slack"),
        ("destinations: {a: {url: 1}}", "expected fields with text"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidDestinations, match=r"^the file: ") as refused:
        parse(text, "the file")
    assert said in str(refused.value)


def test_a_file_is_read_again_and_a_broken_one_keeps_what_it_said(tmp_path: Path) -> None:
    path = tmp_path / "destinations.yaml"
    destinations = Destinations(path)
    assert destinations.read() == {}
    assert "does not exist" in destinations.problem
    path.write_text(GOOD)
    assert set(destinations.read()) == {"oncall", "chat", "mail"}
    path.write_text("destinations: 5, and more text")
    os.utime(path, ns=(1, 1))
    assert set(destinations.read()) == {"oncall", "chat", "mail"}
    assert "expected names" in destinations.problem
    path.write_text("destinations: {}")
    os.utime(path, ns=(2, 2))
    assert destinations.read() == {}
    assert destinations.problem == ""
    assert Destinations(None).read() == {}


def test_a_file_that_nobody_has_named_may_be_absent(tmp_path: Path) -> None:
    destinations = Destinations(tmp_path / "destinations.yaml", is_expected=False)
    assert (destinations.read(), destinations.problem) == ({}, "")
    destinations.path.write_text("destinations: 5, and more text")  # type: ignore[union-attr]
    destinations.read()
    assert "expected names" in destinations.problem


def test_secrets_are_read_where_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONCALL", "whsec_" + "QUJD" * 8)
    (tmp_path / "secret").write_text("  http://h/\nsecond line\n")
    (tmp_path / "empty").write_text("\n")
    assert signing_key(resolve("env:ONCALL")) == b"ABC" * 8
    assert resolve(f"file:{tmp_path}/secret") == "http://h/"
    assert resolve("https://plain/") == "https://plain/"
    for reference in ("env:NOT_SET", f"file:{tmp_path}/none", f"file:{tmp_path}/empty"):
        with pytest.raises(SecretMissing):
            resolve(reference)
    for text in ("whsec_QUJD", "whsec_*", "ü"):
        with pytest.raises(SecretMissing):
            signing_key(text)
