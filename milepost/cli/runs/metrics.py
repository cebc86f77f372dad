"""`milepost metrics ...`"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.cli import output
from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, output_option, parent_name, trial_name
from milepost.cli.exits import Exit
from milepost.cli.output import JSON, say
from milepost.client import Client
from milepost.series import known as known_series

# file ending -> format of an export
_ENDINGS = {".arrows": "arrow", ".parquet": "parquet", ".csv": "csv", ".ndjson": "ndjson"}


@click.group()
def metrics() -> None:
    """Read what was logged against the global step."""


@metrics.command()
@run_argument(trials=True)
@click.argument("keys", nargs=-1)
@click.option("--buckets", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--first-step", default=0, type=int)
@click.option("--last-step", default=0, type=int, help="0: to the end.")
@click.option("--superseded", is_flag=True, help="Abandoned tails too.")
@click.option("--ancestry", is_flag=True, help="Of a branch: the steps of its ancestors too.")
@output_option
@connected
def query(
    client: Client, name: str, keys: tuple[str, ...], buckets: int, first_step: int, last_step: int, superseded: bool,
    ancestry: bool, form: str,
) -> None:  # fmt: skip
    """Print series of a trial (rt-.../2; else trial 1) in buckets; without keys, which series there are."""
    parent = trial_name(client, name)
    if not keys:
        _print_summaries(_all_series(client, parent), form)
        return
    request = metric_api.QuerySeriesRequest(
        parents=[parent], keys=keys, bucket_count=buckets, first_step=first_step, last_step=last_step,
        include_superseded=superseded, ancestry=ancestry,
    )  # fmt: skip
    _print_series(client.metrics.QuerySeries(request), form)


def _all_series(client: Client, parent: str) -> metric_api.ListSeriesResponse:
    """Read which series a trial has, page by page."""
    request = metric_api.ListSeriesRequest(parent=parent)
    answer = client.metrics.ListSeries(request)
    while answer.next_page_token:
        request.page_token = answer.next_page_token
        page = client.metrics.ListSeries(request)
        answer.series.extend(page.series)
        answer.next_page_token = page.next_page_token
    return answer


def _print_summaries(answer: metric_api.ListSeriesResponse, form: str) -> None:
    if form == JSON:
        output.print_json(answer)
        return
    output.print_table(
        ("SERIES", "WHAT", "POINTS", "STEPS", "LAST", "MIN", "MAX", "BEST"),
        [
            (
                item.key, _what(item.key),
                f"{item.point_count:,}", f"{item.first_step:,}..{item.last_step:,}", output.number(item.last),
                output.number(item.min) if item.HasField("min") else "",
                output.number(item.max) if item.HasField("max") else "",
                f"{output.number(item.best)} at {item.best_step:,}" if item.HasField("best") else "",
            )
            for item in sorted(answer.series, key=lambda item: known_series.order(item.key))
        ],
    )  # fmt: skip


def _what(key: str) -> str:
    """Say what is known of a series, with its unit where the title does not say it."""
    found = known_series.known(key)
    if found is None:
        return ""
    return f"{found.title} ({found.unit})" if found.unit else found.title


def _print_series(answer: metric_api.QuerySeriesResponse, form: str) -> None:
    if form == JSON:
        output.print_json(answer)
        return
    rows = [
        (
            series.key, f"{series.first_steps[i]:,}..{series.last_steps[i]:,}", output.number(series.lasts[i]),
            output.number(series.mins[i]), output.number(series.means[i]), output.number(series.maxs[i]),
            series.counts[i], f"attempt {series.attempt}" if series.superseded else "",
        )
        for series in answer.series
        for i in range(len(series.first_steps))
    ]  # fmt: skip
    output.print_table(("SERIES", "STEPS", "LAST", "MIN", "MEAN", "MAX", "POINTS", ""), rows)


@metrics.command()
@run_argument(trials=True)
@click.argument("keys", nargs=-1)
@click.option("-f", "--file", "path", default="-", help="Where to write; `-` for stdout.")
@click.option("--format", "form", type=click.Choice(sorted(_ENDINGS.values())), help="Else as the file's name ends.")
@click.option("--superseded", is_flag=True, help="Abandoned tails too.")
@click.option("--ancestry", is_flag=True, help="Of a branch: the steps of its ancestors too.")
@connected
def export(
    client: Client, name: str, keys: tuple[str, ...], path: str, form: str | None, superseded: bool, ancestry: bool
) -> int:
    """Write every point of a trial: as an Arrow IPC stream, Parquet, CSV or a JSON object a line."""
    form = form or _ENDINGS.get(Path(path).suffix, "arrow")
    if path == "-" and form in ("arrow", "parquet") and sys.stdout.isatty():
        raise click.UsageError("this would write binary data to the terminal; give --file")
    request = metric_api.ExportSeriesRequest(
        parents=[trial_name(client, name)], keys=keys, include_superseded=superseded, ancestry=ancestry
    )
    pieces = _converted((chunk.arrow for chunk in client.metrics.ExportSeries(request)), form)
    if path == "-":
        output.write_bytes(pieces)
        return Exit.OK
    size = output.write_file(path, pieces)
    say(f"{size:,} bytes in {path}")
    return Exit.OK


def _converted(chunks: Iterator[bytes], form: str) -> Iterator[bytes]:
    """Turn an Arrow IPC stream into a format; Arrow itself needs no library."""
    if form == "arrow":
        return chunks
    try:
        from milepost.series.exports import convert
    except ImportError as error:
        raise click.UsageError(
            f"--format {form} needs {error.name}: pip install 'milepost[server]', or take --format arrow"
        ) from error
    return convert(lambda: next(chunks, b""), form)


@metrics.command()
@run_argument(trials=True)
@output_option
@connected
def completeness(client: Client, name: str, form: str) -> int:
    """Prove that what was sent is stored. Exit status 1 where something is missing."""
    request = metric_api.GetCompletenessRequest(parent=parent_name(client, name))
    return _print_completeness(client.metrics.GetCompleteness(request), form)


def _print_completeness(answer: metric_api.GetCompletenessResponse, form: str) -> int:
    if form == JSON:
        output.print_json(answer)
    else:
        output.print_table(
            ("TRIAL", "ATTEMPT", "SOURCE", "KIND", "SENT", "STORED", "DUPLICATES", "DROPPED", "GAPS"),
            [
                (
                    item.trial, item.attempt, item.source, item.kind, f"{item.sent_batches:,}",
                    f"{item.stored_batches:,}", item.duplicate_batches, item.dropped_batches,
                    " ".join(f"{gap.first}..{gap.last}" for gap in item.gaps),
                )
                for item in answer.senders
            ],
        )  # fmt: skip
        output.show(answer.message)
    return Exit.FAILED if answer.gap_count else Exit.OK
