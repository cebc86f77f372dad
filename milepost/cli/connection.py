"""What the commands share: how they connect, their options, and the names users may type."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli.output import JSON, TABLE, enum_word, moment, say
from milepost.client import RETRY_SECONDS, Client
from milepost.ids import is_runtime_id
from milepost.installation import data_folder, endpoints
from milepost.installation.endpoints import Endpoints
from milepost.installation.settings import InvalidSettings

Command = TypeVar("Command", bound=Callable[..., Any])

# Listed where what was typed means several.
MAX_LISTED = 10

_PART_OF_ID = re.compile(r"rt-[0-9a-v]{0,26}")
_TRIAL = re.compile(r"^(?:runtimes/)?(?P<runtime>[^/]+)/(?:trials/)?(?P<trial>[0-9]+)$")


# How long a command knocks where no supervisor would start a service again.
UNSUPERVISED_SECONDS = 1.0


def find_stack(data_dir: str | None) -> Endpoints:
    """Return the stack that a command talks to, and say which data folder that is where it is not the default.

    Raises:
        UsageError: the file that `MILEPOST_CONFIG` names is not readable.
    """
    try:
        folder = data_folder.find(data_dir)
    except InvalidSettings as error:
        raise click.UsageError(str(error)) from error
    if folder.said():
        say(folder.said())
    return endpoints.find(folder.path)


def open_client(data_dir: str | None) -> Client:
    """Return a client of the stack that is found.

    It waits for a service that is being started again; where nobody does that it says at once that nothing answers.

    Raises:
        UsageError: there is no such data folder, or no stack has run in it. Another stack, at the default ports, would answer
            in place of the one meant.
    """
    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        if not folder.is_dir():
            raise click.UsageError(f"there is no data folder {data_dir}")
        if not (folder / endpoints.FILE).exists() and not endpoints.is_named():
            raise click.UsageError(
                f"no stack was ever started in {data_dir} (it has no {endpoints.FILE}): `milepost up --data-dir {data_dir}` "
                "starts one; one without a data folder here is named by MILEPOST_RUNTIME_ADDRESS and its like"
            )
    stack = find_stack(data_dir)
    return Client(stack, patience_seconds=RETRY_SECONDS if stack.is_supervised() else UNSUPERVISED_SECONDS)


def connected(command: Command) -> Command:
    """Give a command its client as first argument, and the options that say which stack it talks to."""

    @click.option("--data-dir", help="Data directory of the stack to talk to (MILEPOST_DATA_DIR).")
    @functools.wraps(command)
    def run(*arguments: Any, data_dir: str | None, **options: Any) -> Any:
        with open_client(data_dir) as client:
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


def runtime_name(client: Client, text: str) -> str:
    """Make a resource name of what a user types: an id or the beginning of one, `runtimes/rt-...`, or a name.

    Raises:
        UsageError: it means several runtimes.
        NotFound: it means none.
    """
    typed = text.removeprefix("runtimes/")
    if is_runtime_id(typed):
        return f"runtimes/{typed}"
    found = {item.runtime_id: item for item in _meant(client, typed)}
    if len(found) > 1:
        listed = "".join(f"\n  {_candidate(item)}" for item in list(found.values())[:MAX_LISTED])
        more = f"\n  and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
        raise click.UsageError(f"{typed!r} means {len(found)} runtimes; give more of the id:{listed}{more}")
    # What is no name in this list may be an id all the same, such as that of a deleted runtime: the service knows.
    return f"runtimes/{next(iter(found), typed)}"


def _meant(client: Client, typed: str) -> Iterator[runtime_api.Runtime]:
    """Find the runtimes of this name, and else those whose ids begin so."""
    request = runtime_api.ListRuntimesRequest(page_size=200, filter=f"name={quoted(typed)}")
    named = client.runtimes.ListRuntimes(request).runtimes
    yield from named
    if named or not _PART_OF_ID.fullmatch(typed):
        return
    request = runtime_api.ListRuntimesRequest(page_size=1_000, show_deleted=True)
    while True:
        answer = client.runtimes.ListRuntimes(request)
        yield from (item for item in answer.runtimes if item.runtime_id.startswith(typed))
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def quoted(text: str) -> str:
    """Write a text as a value of a filter."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _candidate(item: runtime_api.Runtime) -> str:
    return f"{item.runtime_id}  {item.display_name}  {enum_word(item, 'status')}  {moment(item.create_time)}"


def trial_name(client: Client, text: str) -> str:
    """Make a resource name of what a user types: a runtime and `/2`, or `runtimes/rt-.../trials/2`; else trial 1.

    Raises: as `runtime_name`.
    """
    match = _TRIAL.match(text)
    if match is None:
        return f"{runtime_name(client, text)}/trials/1"
    return f"{runtime_name(client, match['runtime'])}/trials/{match['trial']}"


def parent_name(client: Client, text: str) -> str:
    """Make a resource name of a runtime or of a trial.

    Raises: as `runtime_name`.
    """
    return trial_name(client, text) if _TRIAL.match(text) else runtime_name(client, text)
