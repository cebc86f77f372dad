"""`milepost import` and `milepost export`: to and from the files of other tools."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from milepost import endpoints
from milepost.cli.connection import connected, trial_name
from milepost.cli.exits import Exit
from milepost.cli.output import say
from milepost.client import Client
from milepost.errors import NotFound


@click.group("import")
def imports() -> None:
    """Record what other tools have written."""


@imports.command("tensorboard")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", default="", help="In front of the names of the runs. Default: the name of the folder.")
@click.option("--follow", is_flag=True, help="Go on while the files grow, until Ctrl-C.")
@click.option("--idle-seconds", default=0.0, help="With --follow: end when nothing came for so long. 0: never.")
@click.option("--data-dir", default=None, help="Data directory of the stack to talk to (MILEPOST_DATA_DIR).")
def import_tensorboard(directory: Path, name: str, follow: bool, idle_seconds: float, data_dir: str | None) -> int:
    """Record each folder of TensorBoard event files below DIRECTORY as a run. Those imported before are passed over."""
    from milepost.integrations.tensorboard import find_folders, import_folders

    find_folders(directory)
    failed = False
    with Client(endpoints.find(data_dir)) as client:

        def is_known(runtime_id: str) -> bool:
            with suppress(NotFound):
                client.get_runtime(f"runtimes/{runtime_id}", show_deleted=True)
                return True
            return False

        going_on = _until_idle(directory, idle_seconds) if follow else None
        for done in import_folders(directory, name=name, data_dir=data_dir, is_known=is_known, follow=going_on):
            what = done.passed_over or f"{done.points:,} points"
            click.echo(f"{done.runtime_id}  {done.folder}  {what}")
            for damage in done.damage:
                failed = True
                say(f"error: {damage}; what is before it is recorded")
    return Exit.FAILED if failed else Exit.OK


def _until_idle(directory: Path, idle_seconds: float) -> Callable[[], bool]:
    """Make what says whether to go on: until Ctrl-C, or until no file has changed for so long."""
    size, since = -1, time.monotonic()

    def going_on() -> bool:
        nonlocal size, since
        now = sum(path.stat().st_size for path in directory.rglob("*tfevents*"))
        if now != size:
            size, since = now, time.monotonic()
        return not idle_seconds or time.monotonic() - since < idle_seconds

    return going_on


@click.group("export")
def exports() -> None:
    """Write what is recorded as files of other tools."""


@exports.command("tensorboard")
@click.argument("name")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@connected
def export_tensorboard(client: Client, name: str, directory: Path) -> int:
    """Write every point of the trial NAME as a TensorBoard event file below DIRECTORY."""
    from milepost.integrations.tensorboard import export_trial

    path, points = export_trial(client, trial_name(name), directory)
    say(f"{points:,} points")
    click.echo(path)
    return Exit.OK
