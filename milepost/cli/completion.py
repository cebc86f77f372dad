"""`milepost completion`, and what is completed: commands by click, and what stands for a run by asking the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem, get_completion_class

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli.connection import quoted
from milepost.cli.output import enum_word, show
from milepost.client import Client
from milepost.errors import MilepostError
from milepost.installation import data_folder, endpoints
from milepost.installation.settings import InvalidSettings
from milepost.security.terminal import one_line

Command = TypeVar("Command", bound=Callable[..., Any])

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_MILEPOST_COMPLETE"
# Somebody waits at a key.
SECONDS = 1.0
MAX_RUNTIMES = 200


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what completes commands, options, and the ids and names of runs in a shell.

    \b
    eval "$(milepost completion bash)"
    """
    known = get_completion_class(shell)
    assert known is not None, "click has all that are offered"
    show(known(click.get_current_context().find_root().command, {}, "milepost", VARIABLE).source().strip())


def run_argument(
    name: str = "name", *, trials: bool = False, files: bool = False, **attributes: Any
) -> Callable[[Command], Command]:
    """Give a command an argument that stands for a run and is completed; for a trial of one, or for a file too."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        others = [CompletionItem(incomplete, type="file")] if files else []
        try:
            stack = endpoints.find(data_folder.find(context.params.get("data_dir")).path)
            with Client(stack, patience_seconds=0.0) as client:
                asked = _trials if trials and "/" in incomplete else _runs
                return [*asked(client, incomplete), *others]
        except (MilepostError, InvalidSettings, OSError):
            # Nothing can be said on a line that is being typed; the command will.
            return others

    return click.argument(name, shell_complete=complete, **attributes)


def _runs(client: Client, incomplete: str) -> Iterator[CompletionItem]:
    """Ids, newest activity first, of the runs whose id or name begins so."""
    for item in _listed(client, incomplete):
        words = one_line(f"{item.display_name}  {enum_word(item, 'status')}")
        if item.runtime_id.startswith(incomplete):
            yield CompletionItem(item.runtime_id, help=words)
        elif incomplete and item.display_name.startswith(incomplete) and _is_word(item.display_name):
            yield CompletionItem(item.display_name, help=item.runtime_id)


def _listed(client: Client, text: str) -> Iterator[runtime_api.Runtime]:
    """Runs in whose id or name a text occurs. Runs with large configurations fill a page with few."""
    request = runtime_api.ListRuntimesRequest(page_size=MAX_RUNTIMES, filter=quoted(text) if text else "")
    deadline = time.monotonic() + SECONDS
    count = 0
    while count < MAX_RUNTIMES and (left := deadline - time.monotonic()) > 0:
        answer = client.runtimes.ListRuntimes(request, timeout=left)
        yield from answer.runtimes
        count += len(answer.runtimes)
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def _is_word(name: str) -> bool:
    """Return whether a shell takes a name as it is."""
    return name.isprintable() and all(letter.isalnum() or letter in "._-+@%" for letter in name)


def _trials(client: Client, incomplete: str) -> Iterator[CompletionItem]:
    """Trials of the run whose id is given whole, as `rt-.../2`."""
    run, _, number = incomplete.rpartition("/")
    request = trial_api.ListTrialsRequest(
        parent=f"runtimes/{run.removeprefix('runtimes/')}", page_size=1_000, brief=True
    )
    for item in client.trials.ListTrials(request, timeout=SECONDS).trials:
        if str(item.trial).startswith(number):
            yield CompletionItem(f"{run}/{item.trial}", help=enum_word(item, "status"))
