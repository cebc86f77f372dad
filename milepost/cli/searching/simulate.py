"""`milepost search ...`: what can be asked of a search beside its trials."""

from __future__ import annotations

import math
from typing import Any

import click

from milepost import configuration as configurations
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.cli import output
from milepost.cli.completion import run_argument
from milepost.cli.connection import connected, output_option, runtime_name
from milepost.cli.output import JSON, say
from milepost.client import Client
from milepost.configuration.words import MODES, OBJECTIVE_VALUES, PRUNERS
from milepost.search.simulation import GivenUp, Simulation, check_playable
from milepost.search.simulation import simulate as play


@click.group()
def search() -> None:
    """Ask what another way to search would have come to."""


@search.command()
@run_argument()
@click.option("--pruner", type=click.Choice(list(PRUNERS)), required=True, help="Which one to play.")
@click.option("--first-step", type=int, help="No rung before this step. [default: 1]")
@click.option("--reduction-factor", type=int, help="asha, hyperband: one in so many goes on. [default: 3]")
@click.option("--max-step", type=int, help="hyperband: the steps of a whole trial.")
@click.option("--startup-trials", type=int, help="median: so many others before any is pruned. [default: 5]")
@click.option("--bound", type=float, help="threshold: worse than this is pruned.")
@click.option("--patience", type=int, help="patience: rungs in a row without a better value. [default: 5]")
@click.option("--metric", default="", help="Judge by this instead of the objective; a grid has none.")
@click.option("--mode", type=click.Choice(list(MODES)), default="min", show_default=True, help="Of --metric.")
@output_option
@connected
def simulate(client: Client, name: str, pruner: str, metric: str, mode: str, form: str, **fields: Any) -> None:
    """Play another pruner over trials that have run: steps spared, and whether the winner would have survived."""
    check_playable(pruner)
    wanted = configurations.resolve_pruner({"kind": pruner, **fields})
    objective = None
    if metric:
        objective = config.SearchObjective(metric=metric, mode=MODES[mode], value=OBJECTIVE_VALUES["best"])
    found = play(client, runtime_name(client, name), wanted, objective)
    if form == JSON:
        output.print_json(as_plain(found))
        return
    output.print_table(
        ["TRIAL NUMBER", "RUNG", "STEP", "VALUE", "CUT-OFF", "PLACE"],
        [
            (one.trial, one.rung, f"{one.step:,}", output.number(one.value), output.number(one.cut_off), _place(one))
            for one in found.pruned
        ],
    )
    say(_sentence(found))


def _place(one: GivenUp) -> str:
    return f"{one.rank} of {one.reached_count}"


def _sentence(found: Simulation) -> str:
    """Say in words what would have come of it."""
    spared = f"{len(found.pruned)} trials pruned: {found.spent:,} of {found.steps:,} steps, {found.saved:.0%} spared"
    if not found.winner or found.winner_value is None:
        fate = "no completed trial has a value"
    elif found.winner_survives:
        fate = f"the winner, trial {found.winner} with {found.winner_value:.6g}, survives"
    else:
        fate = f"the winner, trial {found.winner} with {found.winner_value:.6g}, is pruned"
        fate += f"; trial {found.left} with {found.left_value:.6g} is the best left" if found.left else "; none is left"
    short = f"; {found.cut_short} trials did not complete and might have shown more" if found.cut_short else ""
    return f"{spared}; {fate}{short}"


def _number(value: float) -> float | str:
    """Write a number as the JSON form of messages does: JSON has no NaN and no infinities."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def as_plain(found: Simulation) -> dict[str, Any]:
    """Write a simulation for programs."""
    return {
        "steps": found.steps,
        "spent": found.spent,
        "saved": found.saved,
        "rungs": found.rungs,
        "winner": {"trial": found.winner, "value": found.winner_value, "survives": found.winner_survives},
        "left": {"trial": found.left, "value": found.left_value},
        "cut_short": found.cut_short,
        "pruned": [
            {
                "trial": one.trial, "rung": one.rung, "step": one.step, "value": _number(one.value), "cut_off": one.cut_off,
                "rank": one.rank, "reached_count": one.reached_count,
            }
            for one in found.pruned
        ],
    }  # fmt: skip
