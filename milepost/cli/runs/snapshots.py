"""`milepost runtime snapshots`, `pin` and `unpin`: what is saved of a run, and what of it stays."""

from __future__ import annotations

import click

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli import output
from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, output_option, parent_name, trial_name
from milepost.cli.output import JSON, say
from milepost.client import Client


@click.command()
@run_argument(trials=True)
@click.option("--deleted", is_flag=True, help="Deleted ones too.")
@output_option
@connected
def snapshots(client: Client, name: str, deleted: bool, form: str) -> None:
    """List the snapshots of a runtime or of a trial, newest first."""
    request = runtime_api.ListSnapshotsRequest(parent=parent_name(client, name), show_deleted=deleted)
    answer = client.runtimes.ListSnapshots(request)
    while answer.next_page_token:
        request.page_token = answer.next_page_token
        answer.ClearField("next_page_token")
        answer.MergeFrom(client.runtimes.ListSnapshots(request))
    _print_snapshots(answer, form)


def _print_snapshots(answer: runtime_api.ListSnapshotsResponse, form: str) -> None:
    if form == JSON:
        output.print_json(answer)
        return
    output.print_table(
        ("ID", "TRIAL", "ATTEMPT", "STEP", "STATE", "WHY", "BYTES", "COMMITTED", ""),
        [
            (
                item.snapshot_id, item.trial, item.attempt, f"{item.step:,}", output.enum_word(item, "state"),
                output.enum_word(item, "reason"), f"{item.byte_count:,}", output.moment(item.commit_time),
                _marks(item),
            )
            for item in answer.snapshots
        ],
    )  # fmt: skip


def _marks(item: runtime_api.Snapshot) -> str:
    """Say what else is known of a snapshot: that it is superseded, and for whom it is kept."""
    marks = ["superseded"] if item.superseded else []
    if item.HasField("pin"):
        why = f": {item.pin.reason}" if item.pin.reason else ""
        marks.append(f"pinned by {item.pin.actor}{why}")
    own = item.name.split("/")[1]
    if item.held_by:
        holders = ["other trials of its population" if one == own else one for one in item.held_by]
        marks.append(f"kept for {', '.join(holders)}")
    return "; ".join(marks)


@click.command()
@run_argument(trials=True)
@click.option("--at", "step", type=click.IntRange(0), help="Step of the snapshot.")
@click.option("--snapshot", default="", help="Or its id.")
@click.option("--reason", default="", help="Why; it is recorded.")
@output_option
@connected
def pin(client: Client, name: str, step: int | None, snapshot: str, reason: str, form: str) -> None:
    """Keep a snapshot of a trial (rt-.../2; else trial 1), whatever keep_last and keep_best say."""
    _check_place(step, snapshot)
    pinned = client.pin_snapshot(trial_name(client, name), step=step, snapshot_id=snapshot, reason=reason)
    _say_changed(pinned, "is pinned", form)


@click.command()
@run_argument(trials=True)
@click.option("--at", "step", type=click.IntRange(0), help="Step of the snapshot.")
@click.option("--snapshot", default="", help="Or its id.")
@click.option("--reason", default="", help="Why; it is recorded.")
@output_option
@connected
def unpin(client: Client, name: str, step: int | None, snapshot: str, reason: str, form: str) -> None:
    """Let keep_last and keep_best decide again whether a snapshot stays."""
    _check_place(step, snapshot)
    unpinned = client.unpin_snapshot(trial_name(client, name), step=step, snapshot_id=snapshot, reason=reason)
    _say_changed(unpinned, "is not pinned", form)


def _check_place(step: int | None, snapshot: str) -> None:
    if (step is None) == (not snapshot):
        raise click.UsageError("one of --at and --snapshot says which snapshot it is")


def _say_changed(item: runtime_api.Snapshot, what: str, form: str) -> None:
    if form == JSON:
        output.print_json(item)
    else:
        say(f"{item.snapshot_id} at step {item.step:,} {what}")


COMMANDS = (snapshots, pin, unpin)
