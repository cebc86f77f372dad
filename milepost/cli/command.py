"""`milepost run -- COMMAND`: any command as a run."""

from __future__ import annotations

import click

from milepost.cli.output import say


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--name", default="", help="Shown in lists. Default: the name of the program.")
@click.option("--label", "labels", multiple=True, metavar="KEY=TEXT", help="To find the run by; may be repeated.")
@click.option("--data-dir", default=None, help="Where the record waits until it is stored.")
def run(command: tuple[str, ...], name: str, labels: tuple[str, ...], data_dir: str | None) -> int:
    """Run a command and record what it prints, what it uses and how it ends; its exit status is that of the command.

    \b
    milepost run -- python train.py --epochs 3
    """
    from milepost.training.command import CommandRun

    pairs = dict(label.partition("=")[::2] for label in labels)
    recorded = CommandRun(command, name, pairs, data_dir)
    say(f"milepost: recording at {recorded.page}")
    return recorded.execute()
