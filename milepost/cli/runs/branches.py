"""`milepost runtime steer`, `branch` and `tree`: other values while it runs, going back to a snapshot, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import click

from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.cli import output
from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, output_option, runtime_name, trial_name
from milepost.cli.output import JSON, say
from milepost.cli.runs.runtimes import print_runtime
from milepost.client import Client

BRANCH_KEEPS = {"all": runtime_api.BRANCH_KEEP_ALL, "weights": runtime_api.BRANCH_KEEP_WEIGHTS}


@click.command()
@run_argument(trials=True)
@click.option("--at", "step", type=click.IntRange(0), help="Step of the snapshot to begin at.")
@click.option("--snapshot", default="", help="Or its id, also of one that was superseded.")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Change a parameter.")
@click.option(
    "--changes", help="File with what else changes: search, name, labels, limits, retries, snapshots, priority."
)
@click.option("--keep", type=click.Choice(sorted(BRANCH_KEEPS)), default="all", show_default=True,
              help="The whole state, or the weights alone, with steps from 1.")  # fmt: skip
@click.option(
    "--runs", default=1, show_default=True, type=click.IntRange(1, 100), help="So many runtimes of this kind."
)
@click.option("--validate-only", is_flag=True, help="Only check it, and print what would run.")
@click.option("--request-id", default="", help="The same id gives the same branch for a day.")
@output_option
@connected
def branch(
    client: Client, name: str, step: int | None, snapshot: str, parameters: tuple[str, ...], changes: str | None,
    keep: str, runs: int, validate_only: bool, request_id: str, form: str,
) -> None:  # fmt: skip
    """Start a runtime at a snapshot of a trial (rt-.../2; else trial 1), with parameters changed. Prints its id."""
    if (step is None) == (not snapshot):
        raise click.UsageError("one of --at and --snapshot says where it begins")
    request = runtime_api.BranchTrialRequest(
        name=trial_name(client, name),
        keep=BRANCH_KEEPS[keep],
        parameters_text="\n".join(f"{json.dumps(key)}: {value}" for key, value in map(_pair, parameters)),
        configuration_changes_text=Path(changes).read_text() if changes else "",
        validate_only=validate_only,
    )
    if step is not None:
        request.step = step
    else:
        request.snapshot_id = snapshot
    if validate_only:
        answer = client.runtimes.BranchTrial(request).runtime
        output.show(answer.resolved_text) if form != JSON else print_runtime(answer, form)
        return
    # Given again after a crash, the same ids make no others.
    identifier = request_id or str(uuid4())
    for number in range(1, runs + 1):
        request.request_id = f"{identifier}-{number}" if runs > 1 else identifier
        made = client.runtimes.BranchTrial(request).runtime
        if form == JSON:
            print_runtime(made, form)
        else:
            output.show(made.runtime_id)


@click.command()
@run_argument(trials=True)
@click.option("-p", "--parameter", "parameters", multiple=True, required=True, metavar="NAME=VALUE",
              help="A value that the code has declared steerable.")  # fmt: skip
@click.option("--reason", default="", help="Why; it is recorded.")
@click.option("--validate-only", is_flag=True, help="Only check whether it may be changed so.")
@click.option("--request-id", default="", help="The same id changes it once, for a day.")
@output_option
@connected
def steer(
    client: Client, name: str, parameters: tuple[str, ...], reason: str, validate_only: bool, request_id: str, form: str
) -> None:
    """Change values of a trial (rt-.../2; else trial 1) while it runs, after a step that all its ranks agree on."""
    request = runtime_api.SteerTrialRequest(
        name=trial_name(client, name),
        parameters_text="\n".join(f"{json.dumps(key)}: {value}" for key, value in map(_pair, parameters)),
        reason=reason,
        request_id=request_id or str(uuid4()),
        validate_only=validate_only,
    )
    answer = client.runtimes.SteerTrial(request)
    if form == JSON:
        output.print_json(answer)
    elif validate_only:
        output.show("it may be changed so")
    else:
        output.show(f"request {answer.number}: changed after the next step, or as soon as the trial goes on")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.UsageError(f"expected NAME=VALUE, not {text!r}")
    return name, value


@click.command()
@run_argument()
@output_option
@connected
def tree(client: Client, name: str, form: str) -> None:
    """Print the tree of branches that a runtime is part of: where each began, what it changed, how it ended."""
    answer = client.runtimes.ListLineage(runtime_api.ListLineageRequest(name=runtime_name(client, name)))
    if form == JSON:
        output.print_json(answer)
        return
    asked = runtime_name(client, name)
    for line, node in zip(tree_lines(answer.nodes), answer.nodes, strict=True):
        output.show(f"{'*' if node.name == asked else ' '} {line}")
    if answer.truncated:
        say(f"only the first {len(answer.nodes):,} are shown")


def tree_lines(nodes: Sequence[runtime_api.LineageNode]) -> Iterator[str]:
    """Draw a tree, a line for each runtime: where it began, what is other in it, how far it came."""
    children: dict[str, list[str]] = {}
    for node in nodes:
        children.setdefault(node.branch.origin.runtime_id, []).append(node.runtime_id)
    # What is drawn before the children of a runtime.
    margins = {"": ""}
    for node in nodes:
        parent = node.branch.origin.runtime_id
        margin = margins.get(parent, "")
        is_last = children[parent][-1] == node.runtime_id
        has_parent = node.HasField("branch") and parent in margins
        stem = ("└─ " if is_last else "├─ ") if has_parent else ""
        margins[node.runtime_id] = margin + (("   " if is_last else "│  ") if has_parent else "")
        yield f"{margin}{stem}{node.runtime_id}  {_words(node)}"


def _words(node: runtime_api.LineageNode) -> str:
    status = "deleted" if node.deleted else output.enum_word(node, "status")
    reached = f"step {node.last_step:,}" if node.last_step else "no step known"
    words = [node.display_name, status, reached, _spent(node)]
    if node.HasField("branch"):
        words.insert(0, f"{_where(node.branch)}:")
    return "  ".join(filter(None, words))


def _spent(node: runtime_api.LineageNode) -> str:
    """What it took itself, and in all."""
    if not node.spent.elapsed.ToMilliseconds():
        return ""
    own = output.duration(node.spent.elapsed.ToTimedelta().total_seconds())
    if not node.HasField("spent_with_ancestors"):
        return own
    in_all = output.duration(node.spent_with_ancestors.elapsed.ToTimedelta().total_seconds())
    return f"{own} ({in_all} with ancestors)"


def _where(branch: facts.Branch) -> str:
    changes = ", ".join(
        f"{change.field.removeprefix('parameters.')} {change.after or 'none'}" for change in branch.changes
    )
    at = f"weights of step {branch.origin.step:,}" if branch.weights_only else f"from step {branch.origin.step:,}"
    of = f" of trial {branch.origin.trial}" if branch.origin.trial != 1 else ""
    return f"{at}{of}{f', {changes}' if changes else ''}"


COMMANDS = (branch, steer, tree)
