"""What trials of runtimes that have ended came to, for a search that begins with that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.event.v1 import runtime_events_pb2 as facts
from milepost.configuration import has_sampler, point_of
from milepost.domain import trial
from milepost.domain.search import Reported, Values, metrics_of, objective_of, objectives_of
from services.runtime.readmodel.views import RuntimeView

# Told of all runtimes together, the newest of each first: a sampler takes longer with each one that it knows.
MAX_TRIALS = 1_000
# Of one event.
MAX_BYTES = 256 << 10


class Reader(Protocol):
    """Where values are read that no history has."""

    async def read(
        self, runtime_id: str, number: int, attempt: int, metrics: Sequence[str], sequence: int
    ) -> Values: ...


async def earlier_trials(
    search: config.Search, source: RuntimeView, reader: Reader
) -> tuple[list[facts.EarlierTrial], int]:
    """Return the completed trials of a runtime that have a point and values of a search, and how many have none.

    Raises:
        Unavailable: the metric service does not answer.
        EventLogError: the log does not answer.
    """
    configuration = source.state.configuration
    assert configuration is not None, "an existing runtime has a configuration"
    known = _known(source) if _looks_for_the_same(configuration, search) else {}
    found: list[facts.EarlierTrial] = []
    completed = [n for n, one in sorted(source.trials.items()) if isinstance(one.state.situation, trial.Completed)]
    for number in completed[-MAX_TRIALS:]:
        one = source.trials[number]
        point = point_of(search, {**configuration.parameters, **one.searched})
        if point is None:
            continue
        report = known.get(number)
        if report is None:
            sequence = one.last["TrialCompleted"].sequence
            values = await reader.read(source.runtime_id, number, one.state.attempt, metrics_of(search), sequence)
            report = _report_of(search, number, values)
        if report.values:
            found.append(
                facts.EarlierTrial(
                    runtime_id=source.runtime_id,
                    trial=number,
                    parameters=point,
                    values=report.values,
                    violations=report.violations,
                )
            )
    return found, len(completed) - len(found)


def in_events(trials: Sequence[facts.EarlierTrial], detail: str) -> Iterator[facts.EarlierTrialsTold]:
    """Yield facts with all of the trials, none too large for the log; at least one."""
    told = facts.EarlierTrialsTold(detail=detail)
    size = 0
    for one in trials:
        size += one.ByteSize()
        if told.trials and size > MAX_BYTES:
            yield told
            told, size = facts.EarlierTrialsTold(), one.ByteSize()
        told.trials.append(one)
    yield told


def _looks_for_the_same(configuration: config.RuntimeConfiguration, search: config.Search) -> bool:
    """Return whether the values that a runtime's own search was told are those that another one looks for."""
    own = configuration.search
    return (
        has_sampler(configuration)
        and objectives_of(own) == objectives_of(search)
        and list(own.constraints) == list(search.constraints)
    )


def _known(source: RuntimeView) -> dict[int, Reported]:
    return {entry.trial: entry for entry in source.state.history.entries if isinstance(entry, Reported)}


def _report_of(search: config.Search, number: int, values: Values) -> Reported:
    fact = objective_of(search, number, values)
    told = (fact.value,) if fact.HasField("value") else tuple(one.value for one in fact.values)
    return Reported(number, told, tuple(one.violation for one in fact.constraints))
