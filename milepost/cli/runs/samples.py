"""`milepost runtime samples`: what a model said, one sample after another."""

from __future__ import annotations

from itertools import islice

import click

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.api.telemetry.v1.telemetry_pb2 import ROW_FORM_HISTOGRAM
from milepost.cli import output
from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, output_option, trial_name
from milepost.cli.output import JSON
from milepost.client import Client
from milepost.series.samples import read_samples


@click.command()
@run_argument(trials=True)
@click.option("--series", multiple=True, help="These series alone, such as eval/samples.")
@click.option("--step", type=int, default=0, help="The last samples up to this step. 0: the newest of all steps.")
@click.option("--text", default="", help="Only those with this text in prompt or completion, of any case.")
@click.option("--score", multiple=True, help="Only those of which this is true, such as 'reward >= 0.5'.")
@click.option("--group", default="", help="Only those of this group.")
@click.option("--prompt-id", default="", help="Only those of this prompt, as `-o json` names it.")
@click.option("-n", "--samples", "most", default=20, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--superseded", is_flag=True, help="Those of abandoned attempts too.")
@click.option("--ancestry", is_flag=True, help="Of a branch: those of its ancestors too.")
@output_option
@connected
def samples(
    client: Client, name: str, series: tuple[str, ...], step: int, text: str, score: tuple[str, ...], group: str,
    prompt_id: str, most: int, superseded: bool, ancestry: bool, form: str,
) -> None:  # fmt: skip
    """Show what the model of a trial (rt-.../2; else trial 1) said, the newest first."""
    parent = trial_name(client, name)
    found = read_samples(
        client, parent, keys=series, last_step=step, latest=bool(step), text=text, scores=score, group=group,
        prompt_id=prompt_id, include_superseded=superseded, ancestry=ancestry, page_size=min(most, 100),
    )  # fmt: skip
    for sample in islice(found, most):
        if form == JSON:
            output.print_json_line(sample)
        else:
            _show(sample)


def _show(sample: metric_api.Sample) -> None:
    row = sample.row
    scores = "".join(f"  {score.name} {output.number(score.value)}" for score in row.scores)
    marks = "".join(f"  {mark}" for mark in (row.group, *row.tags) if mark)
    abandoned = "  superseded" if sample.superseded else ""
    output.show(f"{row.key}  step {row.step:,}  attempt {sample.attempt}{scores}{marks}{abandoned}")
    if row.form == ROW_FORM_HISTOGRAM:
        edges = ", ".join(output.number(edge) for edge in (row.edges[0], row.edges[-1]))
        output.show(f"  {len(row.counts)} bins over {edges}: {' '.join(output.number(count) for count in row.counts)}")
    for label, text in (("<", row.prompt), (">", row.completion), ("=", row.content)):
        for line in text.splitlines():
            output.show(f"  {label} {line}")
