"""`milepost import` and `milepost export`: to and from the files of other tools."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, open_client, trial_name
from milepost.cli.exits import Exit
from milepost.cli.output import say, show
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
    """Record each folder of TensorBoard event files below DIRECTORY as a run. Those imported before are passed over.

    Exit status 1 where something was left out: what is no scalar, and what could not be read. It is said.
    """
    from milepost.integrations.tensorboard import find_folders, import_folders

    find_folders(directory)
    failed = False
    with open_client(data_dir) as client:

        def is_known(runtime_id: str) -> bool:
            with suppress(NotFound):
                client.get_runtime(f"runtimes/{runtime_id}", show_deleted=True)
                return True
            return False

        going_on = _until_idle(directory, idle_seconds) if follow else None
        for done in import_folders(directory, name=name, data_dir=data_dir, is_known=is_known, follow=going_on):
            what = done.passed_over or f"{done.points:,} points"
            show(f"{done.runtime_id}  {done.folder}  {what}")
            if done.taken_back:
                say(f"{done.taken_back:,} points were taken back by their writer, which began again before them")
            for damage in done.damage:
                say(f"error: {damage}; what is before it is recorded")
            if done.left_out:
                say(f"error: left out, because a run cannot hold it: {', '.join(done.left_out)}")
            failed |= bool(done.damage or done.left_out)
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
@run_argument(trials=True)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@connected
def export_tensorboard(client: Client, name: str, directory: Path) -> int:
    """Write every point of the trial NAME as a TensorBoard event file below DIRECTORY."""
    from milepost.integrations.tensorboard import export_trial

    path, points = export_trial(client, trial_name(client, name), directory)
    say(f"{points:,} points")
    show(str(path))
    return Exit.OK
