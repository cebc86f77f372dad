"""`milepost trial ...`"""

from __future__ import annotations

import click

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli import output
from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, output_option, runtime_name, trial_name
from milepost.cli.output import JSON
from milepost.cli.runs.runtimes import STOP_MODES, print_runtime
from milepost.client import Client


@click.group()
def trial() -> None:
    """See how far trials are; stop and resume single ones."""


@trial.command("list")
@run_argument(default="-")
@click.option("--filter", "terms", default="", help="For example: status=Running")
@click.option("--order-by", default="", help="trial (default), status, completion desc, best, elapsed desc")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@output_option
@connected
def list_trials(client: Client, name: str, terms: str, order_by: str, limit: int, form: str) -> None:
    """List the trials of a runtime, or of all of them."""
    request = trial_api.ListTrialsRequest(
        parent=runtime_name(client, name), page_size=limit, filter=terms, order_by=order_by, brief=True
    )
    _print_list(client.trials.ListTrials(request), form, all_runtimes=name == "-")


def _print_list(answer: trial_api.ListTrialsResponse, form: str, all_runtimes: bool) -> None:
    if form == JSON:
        output.print_json(answer)
        return
    searched = sorted({name for item in answer.trials for name in item.searched_parameters})
    headings = ["TRIAL NUMBER", "TRIAL STATUS", "COMPLETION", "ELAPSED", "ESTIMATED", "STEP", "BEST"]
    headings += [name.upper() for name in searched]
    rows = [
        (
            *((item.runtime_id,) if all_runtimes else ()), *_row(item),
            *(item.searched_parameters.get(name, "").strip('"') for name in searched),
        )
        for item in answer.trials
    ]  # fmt: skip
    output.print_table((*(("RUNTIME",) if all_runtimes else ()), *headings), rows)


def _row(item: trial_api.Trial) -> tuple[object, ...]:
    progress = item.progress
    return (
        item.trial,
        output.trial_status(item),
        f"{progress.completion_percent:.1f} %" if progress.HasField("completion_percent") else "",
        output.duration(item.elapsed) if item.HasField("elapsed") else "",
        output.duration(item.estimate.remaining) if item.HasField("estimate") else "",
        f"{progress.step:,}" + (f" / {progress.total_steps:,}" if progress.HasField("total_steps") else ""),
        f"{item.best.metric} {output.number(item.best.value)}" if item.HasField("best") else "",
    )


@trial.command()
@run_argument(trials=True)
@output_option
@connected
def get(client: Client, name: str, form: str) -> None:
    """Show one trial (rt-.../2; trial 1 when none is named)."""
    _print_trial(client.trials.GetTrial(trial_api.GetTrialRequest(name=trial_name(client, name))).trial, form)


def _print_trial(item: trial_api.Trial, form: str) -> None:
    if form == JSON:
        output.print_json(item)
        return
    progress = item.progress
    steps = f"{progress.step:,}" + (f" / {progress.total_steps:,}" if progress.HasField("total_steps") else "")
    lineage = ", ".join(f"attempt {s.attempt}: {s.first_step:,}..{s.last_step or ''}" for s in item.lineage)
    output.print_fields(
        [
            ("trial", item.name),
            ("status", output.trial_status(item)),
            ("reason", item.reason),
            ("step", steps),
            ("batch", progress.batch_text),
            ("elapsed", output.duration(item.elapsed) if item.HasField("elapsed") else ""),
            ("with ancestors", _with_ancestors(item)),
            ("estimated", output.duration(item.estimate.remaining) if item.HasField("estimate") else ""),
            ("attempt", f"{item.attempt} of {item.attempt_count}"),
            ("lineage", lineage),
            ("snapshot", f"step {item.newest_snapshot_step:,}" if item.newest_snapshot_id else ""),
            ("parameters", ", ".join(f"{key}={value}" for key, value in sorted(item.parameters.items()))),
            ("last", ", ".join(f"{key} {output.number(value)}" for key, value in sorted(item.last_values.items()))),
            ("hints", "; ".join(item.hints)),
        ]
    )


@trial.command()
@run_argument(trials=True)
@click.option("--mode", type=click.Choice(list(STOP_MODES)), default="graceful", show_default=True)
@click.option("--reason", default="", help="Why; it is recorded.")
@output_option
@connected
def stop(client: Client, name: str, mode: str, reason: str, form: str) -> None:
    """Stop one trial. It waits then and can be resumed."""
    request = runtime_api.StopTrialRequest(name=trial_name(client, name), mode=STOP_MODES[mode], reason=reason)
    print_runtime(client.runtimes.StopTrial(request).runtime, form)


def _with_ancestors(item: trial_api.Trial) -> str:
    """Say how long a branch took with what came before it; empty: it is none."""
    if not item.HasField("inherited_elapsed"):
        return ""
    return output.duration(
        item.elapsed.ToTimedelta().total_seconds() + item.inherited_elapsed.ToTimedelta().total_seconds()
    )


@trial.command()
@run_argument(trials=True)
@click.option("--snapshot", default="", help="Id of the snapshot to go on from; default: the newest valid one.")
@output_option
@connected
def resume(client: Client, name: str, snapshot: str, form: str) -> None:
    """Go on with one trial."""
    request = runtime_api.ResumeTrialRequest(name=trial_name(client, name), snapshot_id=snapshot)
    print_runtime(client.runtimes.ResumeTrial(request).runtime, form)


@trial.command()
@run_argument("names", trials=True, nargs=-1, required=True)
@output_option
@connected
def compare(client: Client, names: tuple[str, ...], form: str) -> None:
    """Show trials side by side: what differs in their parameters, and what came of it."""
    request = trial_api.CompareTrialsRequest(names=[trial_name(client, name) for name in names])
    _print_comparison(client.trials.CompareTrials(request), form)


def _print_comparison(answer: trial_api.CompareTrialsResponse, form: str) -> None:
    if form == JSON:
        output.print_json(answer)
        return
    differing = list(answer.differing_parameters)
    output.print_table(
        ("TRIAL", "STATUS", "STEP", "BEST", *differing),
        [
            (
                item.name.removeprefix("runtimes/"),
                output.trial_status(item),
                f"{item.progress.step:,}",
                f"{item.best.metric} {output.number(item.best.value)}" if item.HasField("best") else "",
                *(item.parameters.get(name, "") for name in differing),
            )
            for item in answer.trials
        ],
    )
