"""`milepost sync`: send what scripts have recorded while no server could be reached."""

from __future__ import annotations

import click

from milepost.cli.exits import Exit
from milepost.cli.output import say


@click.command()
@click.option("--data-dir", default=None, help="Where the scripts left it. Default: that of the stack that is found.")
@click.option("--seconds", default=60.0, show_default=True, help="How long to wait for each run to be stored.")
def sync(data_dir: str | None, seconds: float) -> int:
    """Send the record of scripts that ran without a server."""
    from milepost.training.external import sync as send

    done = send(data_dir, seconds)
    say(f"{done.runs} runs looked at; {done.events_left} events and {done.batches_left} batches are still to be stored")
    return Exit.OK if done.events_left + done.batches_left == 0 else Exit.TIMEOUT
