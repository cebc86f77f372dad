"""Population based training: whose place is taken at a rung, by whom, with whose weights. It follows from the log alone.

Whose weights are taken and how parameters change is drawn from the seed of the search and the number of the new trial, so
whoever decides again after a crash decides the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from milepost import configuration as configurations
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.domain import population, trial
from milepost.domain.search import Reached
from services.runtime.readmodel.family import origin_at
from services.runtime.readmodel.view import RuntimeView, configuration_of

SAMPLER = "pbt"
# Of one decision.
LET_GO_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Promotion:
    """A trial that begins with the weights of another one.

    Attributes:
        hold: of the donor. It decides nothing where the snapshot is held already, as it is while the search goes on.
    """

    promoted: facts.TrialPromoted
    suggested: facts.TrialSuggested
    create: trial.CreateTrial
    hold: trial.HoldSnapshot


def on_trial(view: RuntimeView, found: Reached, at_rung: Sequence[Reached]) -> list[Reached]:
    """List who is judged when a trial reaches a rung: that one, and who came before and is not at the next rung yet.

    Were only the last one judged, those that are always the first would never be given up. One that has completed stays
    what it is.
    """
    last = {one.trial: one.rung for one in view.state.history.rungs()}
    reported = view.state.history.reported
    return [found] + [
        one
        for one in at_rung
        if one.trial != found.trial and last[one.trial] == one.rung and one.trial not in reported
        if _is_under_way(view.trials[one.trial].state)
    ]


def _is_under_way(state: trial.Trial) -> bool:
    is_stopping = state.active is not None and state.active.stop is not None
    return isinstance(state.situation, trial.Active | trial.Queued | trial.Retrying) and not is_stopping


def promotion(view: RuntimeView, replaced: int, at_rung: Sequence[Reached], earlier: int = 0) -> Promotion | None:
    """Choose who takes the place of a trial; None: nobody can, and it goes on.

    Args:
        at_rung: all that have reached the rung, the one to be replaced included, in the order of the log.
        earlier: how many others take places in the same decision.
    """
    configuration, history = configuration_of(view), view.state.history
    wanted = configuration.search
    if not population.has_room(wanted, history, earlier):
        return None
    found = [
        (one, record)
        for one in population.donors(wanted.pruner, wanted.objective.mode, at_rung)
        if one.trial != replaced and (record := _snapshot(view, one)) is not None
    ]
    if not found:
        return None
    child = history.suggested_count + earlier + 1
    generator = random.Random(f"{wanted.seed}/{child}")
    donor, record = found[generator.randrange(len(found))]
    given = view.trials[donor.trial].searched
    point = configurations.perturb(wanted, given, generator)
    best = population.ranked(wanted.objective.mode, at_rung)
    rank = 1 + [one.trial for one in best].index(donor.trial)
    because = f"trial {donor.trial} is number {rank} of {len(at_rung)} at rung {donor.rung} with {donor.value:.6g}"
    changes = [
        facts.FieldChange(field=name, before=given.get(name, ""), after=point.get(name, ""))
        for name in sorted({*given, *point})
        if given.get(name) != point.get(name)
    ]
    promoted = facts.TrialPromoted(
        donor=donor.trial,
        child=child,
        replaced=replaced,
        rung=donor.rung,
        step=record.step,
        snapshot_id=record.snapshot_id,
        value=donor.value,
        rank=rank,
        reached_count=len(at_rung),
        metric=wanted.objective.metric,
        changes=changes,
        because=because,
    )
    suggested = facts.TrialSuggested(trial=child, parameters=point, sampler=SAMPLER, because=because)
    origin = origin_at(view, view.trials[donor.trial], record, frozenset({*given, *point}))
    # What the donor was given and has no more, it has not: a parameter whose condition does not hold.
    parameters = {**configuration.parameters, **point}
    create = trial.CreateTrial(view.runtime_id, child, parameters, point, origin, rung_steps=rung_steps_of(wanted))
    return Promotion(promoted, suggested, create, trial.HoldSnapshot(record.snapshot_id, view.runtime_id))


def rung_steps_of(search: config.Search) -> int:
    """Return at which multiples trials take snapshots for others to begin at; 0: at none."""
    return int(search.pruner.first_step) if is_population(search) else 0


def is_population(search: config.Search) -> bool:
    """Return whether trials take the places of others."""
    return search.pruner.kind == config.PRUNER_KIND_PBT


def snapshot_of(view: RuntimeView, number: int, rung: int) -> str:
    """Return the id of the snapshot of a trial at a rung; empty: it has none."""
    configuration = configuration_of(view)
    step = population.rung_step(configuration.search.pruner, rung)
    record = population.snapshot_at(view.trials[number].state, step) if step is not None else None
    return record.snapshot_id if record is not None else ""


def _snapshot(view: RuntimeView, one: Reached) -> trial.SnapshotRecord | None:
    """Return the snapshot that a trial had at its rung; None: it was deleted meanwhile, being damaged for example."""
    known = view.trials[one.trial].state.snapshots
    return next((record for record in known if record.snapshot_id == one.snapshot_id and not record.superseded), None)


def to_let_go(view: RuntimeView, ended: bool = False) -> dict[int | None, list[object]]:
    """Return commands for snapshots at which nobody will begin any more.

    Args:
        ended: the search ends with the same decision.
    """
    configuration, history = view.state.configuration, view.state.history
    if configuration is None or not is_population(configuration.search):
        return {}
    commands: dict[int | None, list[object]] = {}
    left = LET_GO_AT_ONCE
    for number, one in sorted(view.trials.items()):
        gone = population.unneeded(configuration.search, history, number, one.state, ended)[:left]
        left -= len(gone)
        if gone:
            commands[number] = [trial.LetSnapshotGo(record.snapshot_id, view.runtime_id) for record in gone]
    return commands
