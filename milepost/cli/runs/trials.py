"""`milepost trial ...`"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import click

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as trial_api
from milepost.cli import output
from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, output_option, runtime_name, trial_name
from milepost.cli.output import JSON, say
from milepost.cli.runs.runtimes import STOP_MODES, print_runtime
from milepost.client import Client
from milepost.domain.sentences import OBJECTIVE_OUTCOMES, sentence
from milepost.domain.stalls import compact
from milepost.protojson import to_json
from milepost.series import known as known_series


@click.group()
def trial() -> None:
    """See how far trials are; stop, resume and roll back single ones."""


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
    chosen = any(item.HasField("suggestion") for item in answer.trials)
    headings += ["OBJECTIVE", "SAMPLER", "BECAUSE"] if chosen else []
    headings += [name.upper() for name in searched]
    rows = [
        (
            *((item.runtime_id,) if all_runtimes else ()), *_row(item), *(_suggestion(item) if chosen else ()),
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


def _suggestion(item: trial_api.Trial) -> tuple[str, str, str]:
    """Say what a trial of a search came to, who chose it, and from what."""
    found = item.suggestion
    if not found.sampler:
        return "", "", ""
    values = [found.value] if found.HasField("value") else [one.value for one in found.values]
    if values:
        came_to = ", ".join(map(output.number, values)) + (" best" if found.best else "")
        came_to += " infeasible" if found.infeasible else ""
    else:
        came_to = OBJECTIVE_OUTCOMES[found.outcome] if found.outcome else ""
    return came_to, found.sampler, found.because


def _began_with(item: trial_api.Trial) -> str:
    """Say whose weights a trial of a population began with; empty: nobody's."""
    found = item.suggestion
    if not found.donor:
        return ""
    at = f"the weights of trial {found.donor} at step {found.donor_step:,}"
    return f"{at}, in the place of trial {found.replaced}"


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
    objective, sampler, because = _suggestion(item)
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
            ("chosen by", f"{sampler}: {because}" if because else sampler),
            ("began with", _began_with(item)),
            ("objective", "; ".join(filter(None, (objective, item.suggestion.detail)))),
            ("parameters", ", ".join(f"{key}={value}" for key, value in sorted(item.parameters.items()))),
            ("steerable", ", ".join(map(_steerable, item.steerables))),
            ("last", ", ".join(f"{key} {output.number(value)}" for key, value in _in_order(item.last_values))),
            ("hints", "; ".join(item.hints)),
        ]
    )


def _in_order(values: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return values by series, those that are known first."""
    return sorted(values.items(), key=lambda item: known_series.order(item[0]))


def _steerable(one: trial_api.Steerable) -> str:
    value = f"{one.name}={one.steered_value or one.declared_value}"
    return f"{value} ({one.requested_value} is asked for)" if one.requested_value else value


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
@run_argument(trials=True)
@click.option("--reason", default="", help="Why; it is recorded.")
@output_option
@connected
def snapshot(client: Client, name: str, reason: str, form: str) -> None:
    """Have one trial take a snapshot at its next step, and go on."""
    request = runtime_api.SnapshotTrialRequest(name=trial_name(client, name), reason=reason)
    print_runtime(client.runtimes.SnapshotTrial(request).runtime, form)


@trial.command()
@run_argument(trials=True)
@click.option("--reason", default="", help="Why; it is recorded.")
@output_option
@connected
def evaluate(client: Client, name: str, reason: str, form: str) -> None:
    """Have one trial evaluate as soon as its loop can, and go on. `milepost runtime events` says what came of it."""
    request = runtime_api.EvaluateTrialRequest(name=trial_name(client, name), reason=reason)
    print_runtime(client.runtimes.EvaluateTrial(request).runtime, form)


@trial.command()
@run_argument(trials=True)
@click.option("--reason", default="", help="Why; it is recorded.")
@click.option("--wait", "seconds", default=15.0, show_default=True, type=click.FloatRange(0, 600), help="Seconds.")
@output_option
@connected
def stacks(client: Client, name: str, reason: str, seconds: float, form: str) -> None:
    """Show what the threads of every instance of one trial are doing. Training goes on.

    Ends with 1 if an instance has not answered in time.
    """
    request = runtime_api.RecordStacksRequest(
        name=trial_name(client, name), reason=reason, request_id=f"stacks-{uuid.uuid4()}"
    )
    answer = client.runtimes.RecordStacks(request)
    found = client.wait_stacks(request.name, answer.after_sequence, answer.ranks, seconds)
    if form == JSON:
        output.print_json([to_json(fact) for fact in found])
    else:
        for fact in found:
            say(f"{sentence(fact)}\n\n{fact.text}\n")
    missing = set(answer.ranks) - {fact.rank for fact in found}
    if missing:
        raise click.ClickException(
            f"rank {compact(missing)} did not answer within {seconds:g} s: its process hangs where it gives no other thread "
            "its turn, or its connection is away. `py-spy dump --pid` on its host shows it"
        )


@trial.command("roll-back")
@run_argument(trials=True)
@click.option("--snapshot", default="", help="Id of the snapshot to go back to.")
@click.option("--before", default=0, type=click.IntRange(0), help="Or a step: to the newest whole snapshot before it.")
@click.option("--set", "parameters", multiple=True, metavar="NAME=VALUE", help="Change a parameter from there on.")
@click.option("--multiply", "factors", multiple=True, metavar="NAME=FACTOR", help="Multiply a parameter from there on.")
@click.option("--skip-batches", default=0, type=click.IntRange(0), help="Pass over so many batches there.")
@click.option("--reason", default="", help="Why; it is recorded.")
@output_option
@connected
def roll_back(
    client: Client,
    name: str,
    snapshot: str,
    before: int,
    parameters: tuple[str, ...],
    factors: tuple[str, ...],
    skip_batches: int,
    reason: str,
    form: str,
) -> None:
    """Have one trial go on from an earlier snapshot. What it did since is superseded, and stays visible."""
    if bool(snapshot) == bool(before):
        raise click.UsageError("one of --snapshot and --before says where to go back to")
    request = runtime_api.RollBackTrialRequest(
        name=trial_name(client, name), skip_batches=skip_batches, reason=reason,
        parameters_text="\n".join(f"{key}: {value}" for key, value in map(_pair, parameters)),
        factors={key: _factor(value) for key, value in map(_pair, factors)},
    )  # fmt: skip
    if snapshot:
        request.snapshot_id = snapshot
    else:
        request.before_step = before
    answer = client.runtimes.RollBackTrial(request)
    if form != JSON:
        say(f"goes on from the snapshot at step {answer.snapshot_step:,}")
    print_runtime(answer.runtime, form)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.UsageError(f"expected NAME=VALUE, not {text!r}")
    return name, value


def _factor(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise click.UsageError(f"expected a number to multiply with, not {text!r}") from error


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
