"""What the commands share: how they connect, their options, and the names users may type."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from milepost import endpoints
from milepost.cli.output import JSON, TABLE
from milepost.client import Client

Command = TypeVar("Command", bound=Callable[..., Any])

_TRIAL = re.compile(r"^(?:runtimes/)?(?P<runtime>[^/]+)/(?:trials/)?(?P<trial>[0-9]+)$")


def connected(command: Command) -> Command:
    """Give a command its client as first argument, and the options that say which stack it talks to."""

    @click.option("--data-dir", help="Data directory of the stack to talk to (MILEPOST_DATA_DIR).")
    @functools.wraps(command)
    def run(*arguments: Any, data_dir: str | None, **options: Any) -> Any:
        with Client(endpoints.find(data_dir)) as client:
            return command(client, *arguments, **options)

    return run  # type: ignore[return-value]


def output_option(command: Command) -> Command:
    """Let a command print a table or JSON."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice([TABLE, JSON]),
        default=TABLE,
        show_default=True,
        help="How to print the data.",
    )(command)


def runtime_name(text: str) -> str:
    """Make a resource name of what a user types: `rt-...` or `runtimes/rt-...`."""
    return text if text.startswith("runtimes/") else f"runtimes/{text}"


def trial_name(text: str) -> str:
    """Make a resource name of what a user types: `rt-.../2` or `runtimes/rt-.../trials/2`; else trial 1."""
    match = _TRIAL.match(text)
    if match is None:
        return f"{runtime_name(text)}/trials/1"
    return f"runtimes/{match['runtime']}/trials/{match['trial']}"


def parent_name(text: str) -> str:
    """Make a resource name of a runtime or of a trial."""
    return trial_name(text) if _TRIAL.match(text) else runtime_name(text)
