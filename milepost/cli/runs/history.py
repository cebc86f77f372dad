"""`milepost runtime logs`, `events` and `why`: what happened in a run, one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from milepost.api.event.v1 import options_pb2 as options
from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli import output
from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, output_option, parent_name, runtime_name
from milepost.cli.output import JSON, say
from milepost.cli.runs.log_context import with_neighbours
from milepost.client import Client
from milepost.errors import NotFound

SCOPES = {"instance": options.SCOPE_INSTANCE, "deployment": options.SCOPE_DEPLOYMENT}
CATEGORIES: dict[str, Any] = {
    word.removeprefix("CATEGORY_").lower(): value for word, value in options.Category.items() if value
}
# Causes that were printed so long ago are named by their ids.
REMEMBERED_EVENTS = 10_000
# Events after which a trial is something else.
TRIAL_CHANGES = (
    *("trial_created", "attempt_launched", "attempt_started", "attempt_ended", "attempt_fenced", "retry_scheduled"),
    *("trial_stop_requested", "trial_stopped", "trial_resume_requested", "trial_roll_back_requested"),
    *("trial_completed", "trial_failed"),
)


@click.command()
@run_argument(trials=True)
@click.option("-f", "--follow", "follow_on", is_flag=True, help="Go on with new lines.")
@click.option("-n", "--lines", default=200, show_default=True, type=click.IntRange(1, 5000), help="Last lines to show.")
@click.option("--text", default="", help="Only lines with this text.")
@click.option("--regexp", default="", help="Only lines that match this regular expression (RE2).")
@click.option("--level", type=click.Choice(["debug", "info", "warning", "error", "critical"]), multiple=True)
@click.option("--rank", type=int, multiple=True)
@click.option("--superseded", is_flag=True, help="Lines of abandoned attempts too.")
@click.option("-C", "--context", default=0, type=click.IntRange(0, 1000), help="So many lines around each line too.")
@output_option
@connected
def logs(client: Client, name: str, follow_on: bool, lines: int, context: int, form: str, **terms: Any) -> None:
    """Show the log lines of a runtime or of a trial (rt-.../2)."""
    if follow_on and context:
        raise click.UsageError("--context shows what was found; it does not go with --follow")
    parent, chosen = parent_name(client, name), _log_filter(**terms)
    request = log_api.QueryLogsRequest(parent=parent, filter=chosen, page_size=lines, backwards=True)
    last = client.logs.QueryLogs(request)
    if not last.entries:
        client.get_runtime("/".join(parent.split("/")[:2]), show_deleted=True)  # says so where there is none
    found: Iterable[log_api.LogEntry | None] = last.entries
    if context:
        found = with_neighbours(client, parent, last.entries, context, chosen.include_superseded)
    for entry in found:
        if entry is not None:
            _print_log(entry, form)
        elif form != JSON:
            output.show("--")
    if follow_on:
        cursor = last.entries[-1].cursor if last.entries else ""
        for update in client.stream_logs(parent, chosen, cursor):
            for entry in update.entries:
                _print_log(entry, form)


def _log_filter(
    text: str, regexp: str, level: tuple[str, ...], rank: tuple[int, ...], superseded: bool
) -> log_api.LogFilter:
    return log_api.LogFilter(
        text=text,
        regular_expression=regexp,
        levels=[f"LOG_LEVEL_{word.upper()}" for word in level],
        ranks=rank,
        include_superseded=superseded,
    )


def _print_log(entry: log_api.LogEntry, form: str) -> None:
    if form == JSON:
        output.print_json_line(entry)
        return
    level = output.enum_word(entry, "level")
    where = f"{entry.trial}.{entry.attempt} rank {entry.rank}"
    output.show_coloured(f"{output.clock(entry.time)} {level:<8} {where} {entry.text}")


@click.command()
@run_argument()
@click.option("-f", "--follow", "follow_on", is_flag=True, help="Go on with new events.")
@click.option("--scope", type=click.Choice(list(SCOPES)))
@click.option("--category", "categories", type=click.Choice(list(CATEGORIES)), multiple=True)
@click.option("--trial", default=0, type=click.IntRange(0), help="Only of this trial.")
@click.option("--after", default=0, type=click.IntRange(0), help="Only events after this sequence.")
@click.option("-n", "--lines", default=1000, show_default=True, type=click.IntRange(1, 1000))
@click.option("--fold", is_flag=True, help="Events of the same type and reason in a row become one, with a count.")
@output_option
@connected
def events(
    client: Client,
    name: str,
    follow_on: bool,
    scope: str | None,
    categories: tuple[str, ...],
    trial: int,
    after: int,
    lines: int,
    fold: bool,
    form: str,
) -> None:
    """Show what happened to a runtime, who did it, and because of which earlier event. Oldest first."""
    chosen = runtime_api.EventFilter(trial=trial, categories=[CATEGORIES[word] for word in categories])
    if scope:
        chosen.scope = SCOPES[scope]
    parent = runtime_name(client, name)
    printer = EventPrinter(form)
    if follow_on:
        for update in client.watch_events(parent, after, chosen):
            if update.HasField("event"):
                printer.show(update.event)
        return
    request = runtime_api.ListEventsRequest(
        parent=parent, filter=chosen, page_size=lines, after_sequence=after, fold_repeats=fold
    )
    answer = client.runtimes.ListEvents(request)
    for event in answer.events:
        printer.show(event)
    if answer.next_page_token:
        say(f"there are more: --after {answer.events[-1].last_sequence}")


@click.command()
@run_argument(trials=True)
@click.option("--event", default="", help="Id of an event; default: the one that made it what it is now.")
@output_option
@connected
def why(client: Client, name: str, event: str, form: str) -> None:
    """Show why a runtime or a trial (rt-.../2) is what it is: the event behind it, its cause, and so on.

    The last line is the command or the crash with which it began.
    """
    parent = parent_name(client, name)
    runtime_part = "/".join(parent.split("/")[:2])
    if not event:
        event = _newest_change(client, parent)
    request = runtime_api.ListEventsRequest(parent=runtime_part, behind_event_id=event)
    chain = client.runtimes.ListEvents(request).events
    printer = EventPrinter(form, {behind.event_id: behind.sequence for behind in chain})
    for behind in chain:
        printer.show(behind)


def _newest_change(client: Client, parent: str) -> str:
    """Find the event that made a runtime, or a trial, what it is."""
    name, _, number = parent.partition("/trials/")
    found = client.get_runtime(name, show_deleted=True)
    if not number:
        return str(found.change_event_id)
    chosen = runtime_api.EventFilter(trial=int(number), types=[f"milepost.trial.{kind}.v1" for kind in TRIAL_CHANGES])
    request = runtime_api.ListEventsRequest(parent=name, filter=chosen, page_size=1, newest_first=True)
    newest = client.runtimes.ListEvents(request).events
    if not newest:
        raise NotFound(f"{name} has no trial {number}", reason="TRIAL_NOT_FOUND")
    return str(newest[0].event_id)


class EventPrinter:
    """Prints events, one a line, with who and what is behind each."""

    def __init__(self, form: str, sequences: Mapping[str, int] | None = None) -> None:
        self._form = form
        self._sequences = dict(sequences or {})

    def show(self, event: Any) -> None:
        """Print an event."""
        self._sequences[event.event_id] = event.sequence
        if len(self._sequences) > REMEMBERED_EVENTS:
            del self._sequences[next(iter(self._sequences))]
        if self._form == JSON:
            output.print_json_line(event)
            return
        kind = event.type.removeprefix("milepost.").removesuffix(".v1")
        if event.trial:
            kind = f"{event.trial} {kind}"
        times = f"(x{event.repeat_count})" if event.repeat_count > 1 else ""
        words = "  ".join(part for part in (event.message, times, "(ignored)" if event.ignored else "") if part)
        output.show_entry(
            f"{event.sequence:>8}  {output.clock(event.event_time)}  {kind:<34} {words}  [{self._origin(event)}]"
        )

    def _origin(self, event: Any) -> str:
        if event.cause in self._sequences:
            return f"{event.actor}, because of {self._sequences[event.cause]}"
        return f"{event.actor}, {event.cause}" if event.cause else str(event.actor)
