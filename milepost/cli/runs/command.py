"""`milepost run -- COMMAND`: any command as a run."""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress

import click

from milepost.cli.connection import find_stack
from milepost.cli.output import say


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--name", default="", help="Shown in lists. Default: the script or module that it runs.")
@click.option("--label", "labels", multiple=True, metavar="KEY=TEXT", help="To find the run by; may be repeated.")
@click.option("--not-secret", multiple=True, metavar="NAME", help="An option that looks like a secret and is none.")
@click.option("--data-dir", default=None, help="Where the record waits until it is stored.")
def run(
    command: tuple[str, ...], name: str, labels: tuple[str, ...], not_secret: tuple[str, ...], data_dir: str | None
) -> int:
    """Run a command and record what it prints, what it uses and how it ends; it ends as the command does.

    \b
    milepost run -- python train.py --epochs 3
    """
    from milepost.training.script.command import CommandRun

    find_stack(data_dir)
    pairs = dict(label.partition("=")[::2] for label in labels)
    recorded = CommandRun(command, name, pairs, data_dir, not_secret)
    say(f"milepost: recording at {recorded.page}")
    status = recorded.execute()
    return status if status >= 0 else end_by(-status)


def end_by(number: int) -> int:
    """End by the signal that ended the command, so that a shell sees what it would see without `milepost run`."""
    # The first process of a container cannot.
    if os.getpid() != 1:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        # What the command has left to be examined is enough.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
        os.kill(os.getpid(), number)
    return 128 + number
