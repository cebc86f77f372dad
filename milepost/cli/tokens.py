"""`milepost token`: who may call this installation."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from milepost import files
from milepost.cli import output
from milepost.cli.connection import output_option
from milepost.cli.exits import Exit
from milepost.cli.output import say
from milepost.eventlog.nats.credentials import open_authority, write_service_credentials
from milepost.installation.settings import InvalidSettings, Settings, collect
from milepost.security.signing import BundleKey
from milepost.security.tokens import (
    DEFAULT_ACTIVE_RUNTIMES,
    PEOPLE_ROLES,
    Role,
    Token,
    TokenError,
    TokenStore,
    Verifier,
    make_private_directory,
)

Command = TypeVar("Command", bound=Callable[..., Any])

_LIFETIME = re.compile(r"([1-9][0-9]{0,4})([hdy])")
_HOURS = {"h": 1, "d": 24, "y": 24 * 365}


class Lifetime(click.ParamType):
    """`12h`, `90d` or `1y`."""

    name = "duration"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> timedelta:
        match = _LIFETIME.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is not like 12h, 90d or 1y", parameter, context)
        return timedelta(hours=int(match[1]) * _HOURS[match[2]])


@click.group()
def token() -> None:
    """Make, list and revoke the tokens by which people and programs call."""


def with_settings(command: Command) -> Command:
    """Give a command the settings that say where tokens and keys are."""

    @click.option("--data-dir", help="Data directory of the installation (MILEPOST_DATA_DIR).")
    @wraps(command)
    def run(*, data_dir: str | None, **options: Any) -> Any:
        try:
            return command(collect({"data_dir": data_dir}, os.environ), **options)
        except InvalidSettings as error:
            raise click.UsageError(str(error)) from error
        except TokenError as error:
            say(f"error: {error}")
            return Exit.PRECONDITION

    return run  # type: ignore[return-value]


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice([str(role) for role in PEOPLE_ROLES]), required=True,
              help="viewer reads; operator also starts, stops and resumes; admin also deletes.")  # fmt: skip
@click.option("--expires", type=Lifetime(), help="How long it is valid: 12h, 90d, 1y. Without it: until revoked.")
@click.option("--max-active-runtimes", type=click.IntRange(min=1), default=DEFAULT_ACTIVE_RUNTIMES, show_default=True,
              help="Runtimes in progress that its holder may have at once.")  # fmt: skip
@with_settings
def create(settings: Settings, name: str, role: str, expires: timedelta | None, max_active_runtimes: int) -> None:
    """Make a token for NAME and print it, this once."""
    store = TokenStore(settings.tokens_file)
    made, text = store.create(
        name,
        Role(role),
        created_by=f"local:{getpass.getuser()}",
        lifetime=expires,
        max_active_runtimes=max_active_runtimes,
    )
    output.show(text)
    say(f"{made.name} is {made.role} from now on ({settings.tokens_file}); the token is not shown again")


@token.command(name="list")
@output_option
@with_settings
def list_tokens(settings: Settings, form: str) -> None:
    """List all tokens, revoked and expired ones too. What is shown does not let anybody in."""
    tokens = TokenStore(settings.tokens_file).list()
    if form == output.JSON:
        output.print_json([{k: v for k, v in asdict(item).items() if k != "sha256"} for item in tokens])
        return
    rows = [
        (item.id, item.name, item.role, _state(item), item.created_time, item.created_by, item.expire_time or "never")
        for item in tokens
    ]
    output.print_table(("ID", "NAME", "ROLE", "STATE", "MADE", "BY", "EXPIRES"), rows)


def _state(item: Token) -> str:
    if item.revoked_time:
        return "revoked"
    return "valid" if item.is_live(datetime.now(UTC)) else "expired"


@token.command()
@click.argument("name_or_id")
@with_settings
def revoke(settings: Settings, name_or_id: str) -> None:
    """End a token at once, by its id or its holder's name. Calls and streams under way end too."""
    ended = TokenStore(settings.tokens_file).revoke(name_or_id)
    say(f"the token {ended.id} of {ended.name} is no longer valid")


@token.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def keys(directory: Path) -> int:
    """Make the keys that services show each other and the NATS server, for an installation on several machines.

    Mount DIRECTORY into each service and name it in MILEPOST_KEYS_DIR. `nats-authorization.conf` belongs to the NATS
    servers; `nats-<service>.creds` is needed by that service only, `nats-authority.json` by the runtime service only.
    """
    try:
        make_private_directory(directory)
        Verifier.of(directory / "tokens.json", directory)
        BundleKey(directory)
        authority = open_authority(directory)
        write_service_credentials(directory)
    except TokenError as error:
        say(f"error: {error}")
        return Exit.PRECONDITION
    path = directory / "nats-authorization.conf"
    files.write(path, "\n".join(authority.server_configuration()) + "\n")
    for name in sorted(item.name for item in directory.iterdir() if not item.name.startswith(".")):
        output.show(name)
    return Exit.OK
