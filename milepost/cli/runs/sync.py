"""`milepost sync`: send what scripts have recorded while no server could be reached."""

from __future__ import annotations

import logging

import click

from milepost.cli.connection import find_stack
from milepost.cli.exits import Exit
from milepost.cli.output import say


@click.command()
@click.option("--data-dir", default=None, help="Where the scripts left it. Default: that of the stack that is found.")
@click.option("--seconds", default=60.0, show_default=True, help="How long to wait for each run to be stored.")
def sync(data_dir: str | None, seconds: float) -> int:
    """Send the record of scripts that ran without a server; of those that still run, what they have written so far."""
    from milepost.training.script.syncing import sync as send

    find_stack(data_dir)
    # It is said below, in words.
    logging.getLogger("milepost.files").addHandler(logging.NullHandler())
    done = send(data_dir, seconds)
    say(f"{done.runs} runs looked at; {done.events_left} events and {done.batches_left} batches are still to be stored")
    for path in done.damaged:
        say(f"{path} was damaged: it was set aside under this name, and what could be read of it was sent")
    for run in done.writing:
        if run.sent:
            say(
                f"{run.runtime_id} is still being written by {run.owner}: run `milepost sync` again when that has ended"
            )
        else:
            say(
                f"{run.runtime_id} may still be written by {run.owner}: run `milepost sync` there, or when that has ended"
            )
    if not all(run.sent for run in done.writing):
        return Exit.PRECONDITION
    return Exit.OK if done.events_left + done.batches_left == 0 else Exit.TIMEOUT
