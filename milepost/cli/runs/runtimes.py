"""`milepost runtime ...`"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import click

from milepost import code_archive
from milepost.api.event.v1 import common_pb2 as common
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli import output
from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, output_option, runtime_name
from milepost.cli.exits import Exit
from milepost.cli.output import JSON, say
from milepost.cli.runs import history
from milepost.cli.runs.following import ENDED, Monitor, ProgressPrinter, View, follow, progress_line
from milepost.client import Client
from milepost.configuration import parse_text, to_plain, write_text
from milepost.errors import InvalidArgument, NotFound
from milepost.installation import data_folder
from milepost.protojson import to_json

STOP_MODES = {"graceful": common.STOP_MODE_GRACEFUL, "abrupt": common.STOP_MODE_ABRUPT}


@click.group()
def runtime() -> None:
    """Start, watch, stop and resume runtimes."""


for command in (history.logs, history.events, history.why):
    runtime.add_command(command)


def read_configuration(path: str) -> str:
    """Read a configuration as given, and add where its code is found: the folder of the file.

    The text is sent as it is, comments included. A line is added only if it says nothing of a working directory, not even
    that there is none, names no archive of code, and its entrypoint is no recipe of Milepost.
    """
    try:
        if path == "-":
            return sys.stdin.buffer.read().decode()
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"the configuration {path} is not readable: {error}") from error
    try:
        content = parse_text(text)
    except InvalidArgument:
        return text  # the server says what is wrong with it
    folder = Path(path).resolve().parent
    named = content.get("working_directory")
    if isinstance(named, str) and named and not Path(named).is_absolute():
        return write_text({**content, "working_directory": str(folder / named)})
    if (
        "working_directory" in content
        or content.get("code")
        or str(content.get("entrypoint", "")).startswith("milepost.")
    ):
        return text
    extended = f"{text.rstrip()}\nworking_directory: {json.dumps(str(folder))}\n"
    placed = write_text({**content, "working_directory": str(folder)})
    try:
        # Compared as texts, because a NaN, which the server is to name with all other mistakes, equals nothing.
        if write_text(parse_text(extended)) == placed:
            return extended
    except InvalidArgument:
        pass  # JSON, or YAML in braces
    return placed


def with_code(text: str, folder: Path, storage: str, memory: Path) -> str:
    """Store an archive of a folder and name it in a configuration, in place of a working directory.

    Args:
        memory: where it is kept what was packed of which folder.
    """
    plain = parse_text(text)
    try:
        code = code_archive.pack(folder, storage, memory)
    except OSError as error:
        raise click.UsageError(f"the archive cannot be written to {storage}: {error.strerror}") from error
    return write_text({**plain, "code": {"uri": code.uri, "digest": code.digest}, "working_directory": None})


@runtime.command()
@click.argument("configuration")
@click.option("--wait", is_flag=True, help="Follow it to its end; the exit status tells how it ended.")
@click.option("--validate-only", is_flag=True, help="Start nothing; print the configuration with every default.")
@click.option("--request-id", default="", help="The same id gives the same answer for 24 hours.")
@click.option("--code", "code_folder", default="", metavar="FOLDER", help="Run an archive of this folder of code.")
@click.option(
    "--code-storage",
    default="",
    metavar="FOLDER",
    help="Where the archive goes, a folder or a URI such as s3://...; else the data directory.",
)
@output_option
@connected
def start(
    client: Client,
    configuration: str,
    wait: bool,
    validate_only: bool,
    request_id: str,
    code_folder: str,
    code_storage: str,
    form: str,
) -> int:
    """Start a runtime from a configuration file (YAML or JSON, `-` for stdin). Prints its id."""
    text = read_configuration(configuration)
    if code_folder:
        if not code_storage and not client.endpoints.pid:
            raise click.UsageError("the data directory of the stack is not known; say where with --code-storage")
        storage = code_storage or str(Path(client.endpoints.data_dir) / "code")
        here = Path(client.endpoints.data_dir) if client.endpoints.pid else data_folder.find().path
        text = with_code(text, Path(code_folder), storage, here / "packed")
    started = client.start_runtime(text, validate_only=validate_only, request_id=request_id)
    _say_what_is_left_out(started)
    if validate_only:
        _print_configuration(started, form)
        return Exit.OK
    if form == JSON:
        print_runtime(started, form)
    else:
        output.show(started.runtime_id)
    say(f"{client.endpoints.gateway}/runtimes/{started.runtime_id}")
    return _follow_to_end(client, started.name, None) if wait else Exit.OK


def _say_what_is_left_out(item: runtime_api.Runtime) -> None:
    if item.left_out_trial_count:
        say(
            f"runs {item.trial_count:,} of {item.trial_count + item.left_out_trial_count:,} combinations: "
            f"search.max_trials leaves out {item.left_out_trial_count:,}"
        )


def _print_configuration(started: runtime_api.Runtime, form: str) -> None:
    if form == JSON:
        output.print_json(started.configuration)
    else:
        output.show(write_text(to_plain(started.configuration)).rstrip("\n"))


@runtime.command("list")
@click.option("--filter", "terms", default="", help="For example: status=Failed AND label.team=nlp")
@click.option(
    "--order-by",
    default="",
    help="activity (default), create_time, update_time, display_name, status, created_by; all but the first also with desc",
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--deleted", is_flag=True, help="Deleted ones too.")
@output_option
@connected
def list_runtimes(client: Client, terms: str, order_by: str, limit: int, deleted: bool, form: str) -> None:
    """List runtimes, active ones first."""
    request = runtime_api.ListRuntimesRequest(page_size=limit, filter=terms, order_by=order_by, show_deleted=deleted)
    answer = client.runtimes.ListRuntimes(request)
    if form == JSON:
        output.print_json(answer)
        return
    output.print_table(
        ("ID", "NAME", "STATUS", "STEP", "LOSS", "LEFT", "TRIALS", "CREATED", "BY"),
        [
            (
                item.runtime_id, item.display_name, _status_words(item), *_progress(client, item),
                f"{item.trials.completed}/{item.trial_count}", output.moment(item.create_time), item.created_by,
            )
            for item in answer.runtimes
        ],
    )  # fmt: skip
    if answer.total_size > len(answer.runtimes):
        say(f"{len(answer.runtimes)} of {answer.total_size}")


def _status_words(item: runtime_api.Runtime) -> str:
    """Name the status, and what a run in progress does other than to train, or until when a deleted one can come back."""
    words = output.enum_word(item, "status")
    if item.HasField("purge_time"):
        return f"{words} (deleted, until {output.moment(item.purge_time)})"
    if item.HasField("imported"):
        return f"{words} (imported)"
    trains = item.phase in (runtime_api.RUNTIME_PHASE_RUNNING, *ENDED)
    return words if trains else f"{words} ({output.enum_word(item, 'phase').lower()})"


def _progress(client: Client, item: runtime_api.Runtime) -> tuple[str, str, str]:
    """Return step, loss and time left of a runtime's trial; of several trials, their share and the longest time."""
    request = trial_api.ListTrialsRequest(parent=item.name, page_size=100, brief=True)
    try:
        trials = client.trials.ListTrials(request).trials
    except NotFound:
        return "", "", ""  # the trial service has not read of it yet
    estimates = [one.estimate.remaining for one in trials if one.HasField("estimate")]
    told = output.duration(max(estimates, key=lambda left: (left.seconds, left.nanos))) if estimates else ""
    if len(trials) != 1:
        shares = [one.progress.completion_percent for one in trials if one.progress.HasField("completion_percent")]
        return f"{sum(shares) / len(trials):.0f} %" if shares else "", "", told
    (one,) = trials
    steps = f"{one.progress.step:,}"
    if one.progress.HasField("total_steps"):
        steps += f" / {one.progress.total_steps:,}"
    loss = one.last_values.get("train/loss")
    return steps, "" if loss is None else output.number(loss), told


@runtime.command()
@run_argument()
@click.option("--deleted", is_flag=True, help="Also if it is deleted.")
@output_option
@connected
def get(client: Client, name: str, deleted: bool, form: str) -> None:
    """Show a runtime and its trials."""
    found = client.get_runtime(runtime_name(client, name), show_deleted=deleted)
    print_runtime(found, form)
    _say_what_is_left_out(found)
    if form != JSON:
        trials = client.trials.ListTrials(trial_api.ListTrialsRequest(parent=found.name, brief=True)).trials
        for item in trials:
            output.show(progress_line(item))


def print_runtime(item: runtime_api.Runtime, form: str) -> None:
    """Print one runtime."""
    if form == JSON:
        output.print_json(item)
        return
    output.print_fields(
        [
            ("id", item.runtime_id),
            ("name", item.display_name),
            ("status", output.enum_word(item, "status")),
            ("phase", output.enum_word(item, "phase")),
            ("reason", item.reason),
            ("failure", output.enum_word(item, "failure_reason")),
            ("since", output.moment(item.change_time)),
            ("by", item.changed_by),
            ("created", f"{output.moment(item.create_time)} by {item.created_by}"),
            ("entrypoint", item.configuration.entrypoint),
            ("trials", f"{item.trials.completed} completed of {item.trial_count}"),
            ("imported", _imported(item)),
            ("labels", ", ".join(f"{key}={value}" for key, value in sorted(item.labels.items()))),
        ]
    )


def _imported(item: runtime_api.Runtime) -> str:
    if not item.HasField("imported"):
        return ""
    return (
        f"{output.moment(item.imported.import_time)} by {item.imported.imported_by}, from {item.imported.sha256[:12]}"
    )


@runtime.command()
@run_argument()
@output_option
@connected
def watch(client: Client, name: str, form: str) -> int:
    """Follow a runtime to its end: drawn in a terminal, else as plain lines. The exit status tells how it ended."""
    drawn = form != JSON and output.draws_over(sys.stdout)
    return _follow_to_end(
        client, runtime_name(client, name), None, form=form, monitor=Monitor(client) if drawn else None
    )


@runtime.command()
@run_argument()
@click.option("--timeout", type=float, help="Give up after this many seconds (exit status 10).")
@connected
def wait(client: Client, name: str, timeout: float | None) -> int:
    """Wait until a runtime has ended. Exit status: 0 Completed, 1 Failed, 11 Aborted, 10 timed out."""
    return _follow_to_end(client, runtime_name(client, name), timeout, quiet=True)


def _follow_to_end(
    client: Client,
    name: str,
    timeout: float | None,
    *,
    form: str = output.TABLE,
    quiet: bool = False,
    monitor: Monitor | None = None,
) -> int:
    printer = monitor or ProgressPrinter(quiet=quiet)
    last: View | None = None
    try:
        for view in follow(client, name, timeout, markers=monitor is not None):
            last = view
            if form == JSON:
                output.print_json_line(
                    {
                        "runtime": to_json(view.runtime),
                        "trials": list(map(to_json, view.trials.values())),
                    }
                )
            else:
                printer.show(view)
    except TimeoutError as error:
        say(f"error: {error}")
        return Exit.TIMEOUT
    finally:
        printer.close()
    assert last is not None, "follow() yields at least once"
    return exit_of_runtime(last.runtime)


def exit_of_runtime(item: runtime_api.Runtime) -> Exit:
    """Tell by an exit status how a runtime ended."""
    return {
        runtime_api.RUNTIME_STATUS_COMPLETED: Exit.OK,
        runtime_api.RUNTIME_STATUS_ABORTED: Exit.ABORTED,
    }.get(item.status, Exit.FAILED)


@runtime.command()
@run_argument()
@click.option("--mode", type=click.Choice(list(STOP_MODES)), default="graceful", show_default=True)
@click.option("--reason", default="", help="Why; it is recorded.")
@click.option("--deadline", type=float, help="Seconds a graceful stop may take before it becomes an abrupt one.")
@click.option("--wait", is_flag=True, help="Return when it has ended.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask, whatever would be lost.")
@output_option
@connected
def stop(
    client: Client, name: str, mode: str, reason: str, deadline: float | None, wait: bool, yes: bool, form: str
) -> int:
    """Stop a runtime. It ends as Aborted and can be resumed."""
    name = runtime_name(client, name)
    preview = client.runtimes.PreviewStop(runtime_api.PreviewStopRequest(name=name))
    message = preview.abrupt_message if mode == "abrupt" else preview.graceful_message
    if preview.stoppable and message:
        say(message)
        if mode == "abrupt" and not yes and sys.stdin.isatty():
            click.confirm("Stop it all the same?", abort=True, err=True)
    request = runtime_api.StopRuntimeRequest(name=name, mode=STOP_MODES[mode], reason=reason)
    if deadline is not None:
        request.deadline.FromTimedelta(timedelta(seconds=deadline))
    stopped = client.runtimes.StopRuntime(request).runtime
    if wait:
        for view in follow(client, name):
            stopped = view.runtime
    print_runtime(stopped, form)
    return Exit.OK


@runtime.command()
@run_argument()
@click.option("--snapshot", default="", help="Id of the snapshot to go on from; default: the newest valid one.")
@click.option("--changes", help="File with what changes in the configuration.")
@click.option("--wait", is_flag=True, help="Follow it to its end.")
@output_option
@connected
def resume(client: Client, name: str, snapshot: str, changes: str | None, wait: bool, form: str) -> int:
    """Go on with a stopped or failed runtime from a snapshot."""
    text = Path(changes).read_text() if changes else ""
    resumed = client.resume_runtime(runtime_name(client, name), snapshot_id=snapshot, changes=text)
    print_runtime(resumed, form)
    return _follow_to_end(client, resumed.name, None) if wait else Exit.OK


@runtime.command()
@run_argument()
@click.option("--set", "labels", multiple=True, metavar="KEY=TEXT", help="Set a label.")
@click.option("--remove", "removed", multiple=True, metavar="KEY", help="Take a label away.")
@output_option
@connected
def label(client: Client, name: str, labels: tuple[str, ...], removed: tuple[str, ...], form: str) -> None:
    """Label a runtime anew. Lists and filters see it at once."""
    if any("=" not in text for text in labels) or not (labels or removed):
        raise click.UsageError("labels are given as --set KEY=TEXT, those to take away as --remove KEY")
    given = dict(text.split("=", 1) for text in labels)
    request = runtime_api.LabelRuntimeRequest(name=runtime_name(client, name), labels=given, removed_labels=removed)
    print_runtime(client.runtimes.LabelRuntime(request).runtime, form)


@runtime.command()
@run_argument()
@click.option("--display-name", default="", help="Name of the new runtime.")
@click.option("--changes", help="File with what changes in the configuration.")
@output_option
@connected
def clone(client: Client, name: str, display_name: str, changes: str | None, form: str) -> None:
    """Start a new runtime with the configuration of an old one. Prints its id."""
    request = runtime_api.CloneRuntimeRequest(
        name=runtime_name(client, name),
        display_name=display_name,
        configuration_changes_text=Path(changes).read_text() if changes else "",
    )
    made = client.runtimes.CloneRuntime(request).runtime
    if form == JSON:
        print_runtime(made, form)
    else:
        output.show(made.runtime_id)


@runtime.command()
@run_argument()
@click.option(
    "--force", is_flag=True, help="Stop it first if it is in progress, and delete it although branches began at it."
)
@click.option("--purge", is_flag=True, help="Remove its data at once: it cannot be undeleted then.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@connected
def delete(client: Client, name: str, force: bool, purge: bool, yes: bool) -> None:
    """Hide a runtime, and remove its snapshots, metrics and logs when its restore window is over.

    Its audit trail stays. One that is hidden already is removed at once with --purge.
    """
    name = runtime_name(client, name)
    if not yes:
        how = "for good, with its snapshots, metrics and logs" if purge else "with its snapshots, metrics and logs"
        if not sys.stdin.isatty():
            raise click.UsageError(f"{name} would be deleted {how}; say so with -y")
        click.confirm(f"Delete {name} {how}?", abort=True, err=True)
    say(_what_became_of(client.delete_runtime(name, force=force, purge=purge)))


def _what_became_of(deleted: runtime_api.Runtime) -> str:
    if not deleted.HasField("purge_time"):
        return f"{deleted.name} is {output.enum_word(deleted, 'phase')}"
    identifier = deleted.runtime_id
    return (
        f"{deleted.name} is deleted; until {output.moment(deleted.purge_time)}: milepost runtime undelete {identifier}"
    )


@runtime.command()
@run_argument()
@click.option("--reason", default="", help="Why; it is recorded.")
@output_option
@connected
def undelete(client: Client, name: str, reason: str, form: str) -> None:
    """Bring back a deleted runtime whose data is not removed yet. NAME is its id, or the beginning of it."""
    print_runtime(client.undelete_runtime(runtime_name(client, name), reason=reason), form)
