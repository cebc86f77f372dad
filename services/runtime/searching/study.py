"""A sampler of Optuna for one search, made again from its history by asking and telling in the same order.

What a sampler of Optuna proposes follows from its seed and from what it was asked and told before, in order; adding
finished trials to a study instead would neither continue its random state nor give CMA-ES what it keeps of its own trials.
So a study is only ever extended: by what it has just proposed, or by what the log has. Runs in the process of the sampler.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, TPESampler
from optuna.trial import TrialState

from milepost.configuration.conditions import holds, in_order

VERSION = f"optuna {optuna.__version__}"
# Seeds of NumPy.
SEEDS = 2**32

# `["suggested", trial, parameters]`, `["reported", trial, values, violations]`, `["reached", trial, step, value]` of a rung,
# `["pruned", trial]`, and before them all `["earlier", trial, parameters, values, violations]` of another runtime. Parameters
# are JSON scalars as text; a trial that failed has no values.
Entry = Sequence[Any]
Definition = Mapping[str, Any]


def _qmc(seed: int, definition: Definition) -> BaseSampler:
    # Without scrambling the seed would change nothing, and the first points would lie on the edges.
    return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)


def _cmaes(seed: int, learned: list[optuna.trial.FrozenTrial] | None = None) -> BaseSampler:
    with warnings.catch_warnings():
        # Of what Optuna calls experimental.
        warnings.simplefilter("ignore")
        return CmaEsSampler(seed=seed, warn_independent_sampling=False, source_trials=learned)


_SAMPLERS: dict[str, Callable[[int, Definition], BaseSampler]] = {
    "tpe": lambda seed, definition: TPESampler(seed=seed),
    "gp": lambda seed, definition: GPSampler(seed=seed, warn_independent_sampling=False),
    "cmaes": lambda seed, definition: _cmaes(seed),
    "qmc": _qmc,
    "nsga2": lambda seed, definition: NSGAIISampler(seed=seed, population_size=definition["population_size"]),
}


class Study:
    """One search.

    Args:
        definition: `kind`, `seed`, `maximize` of each objective, `space`, `points` and so on, as `sampler.definition_of`
            writes them.
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = dict(definition)
        self._distributions = {
            name: distribution_of(dimension) for name, dimension in sorted(definition["space"].items())
        }
        self._conditions = {name: dimension.get("when", {}) for name, dimension in definition["space"].items()}
        self._ordered = in_order(self._conditions)
        with warnings.catch_warnings():
            # Of samplers that Optuna calls experimental.
            warnings.simplefilter("ignore")
            self._study = optuna.create_study(
                directions=["maximize" if larger else "minimize" for larger in definition["maximize"]],
                sampler=_SAMPLERS[definition["kind"]](definition["seed"] % SEEDS, definition),
            )
        for point in definition["points"]:
            self._study.enqueue_trial({name: self._value(name, text) for name, text in point.items()})
        self.entries: list[Entry] = []
        # Trials whose proposal was not what the log has: another version of Optuna, or of a library beneath it.
        self.differing: list[int] = []
        self._learned: list[optuna.trial.FrozenTrial] = []
        # Number in the study by number of the trial.
        self._numbers: dict[int, int] = {}
        # Asked, and not in the log as far as is known.
        self._proposed: tuple[optuna.Trial, dict[str, str]] | None = None

    def extend(self, entries: Sequence[Entry]) -> None:
        """Ask and tell what the log has next."""
        for entry in entries:
            self._extend(*entry)
            self.entries.append(entry)

    def _extend(self, kind: str, trial: int, *what: Any) -> None:
        match kind:
            case "suggested":
                self._adopt(trial, *what)
            case "reported":
                self._tell(trial, *what)
            case "reached":
                self._reach(trial, *what)
            case "pruned":
                # Optuna takes the value of its last rung for that of the trial.
                self._study.tell(self._numbers[trial], state=TrialState.PRUNED)
            case "earlier":
                self._learn(*what)
            case _:
                raise ValueError(f"{kind} is no entry of a history")

    def continues(self, entries: Sequence[Entry]) -> bool:
        """Return whether what was proposed and is not in the log is in the way of what the log has next."""
        if self._proposed is None or not entries:
            return True
        kind, _, *what = entries[0]
        return kind == "suggested" and dict(what[0]) == self._proposed[1]

    def propose(self) -> dict[str, str]:
        """Return the parameters of the next trial. The same until the log has them."""
        if self._proposed is None:
            self._proposed = self._ask()
        return self._proposed[1]

    def _ask(self) -> tuple[optuna.Trial, dict[str, str]]:
        if not any(self._conditions.values()):
            asked = self._study.ask(self._distributions)
            return asked, {name: self._text(name, asked.params[name]) for name in self._distributions}
        asked, point = self._study.ask(), dict[str, str]()
        for name in self._ordered:
            if holds(self._conditions[name], point):
                point[name] = self._text(name, _suggest(asked, name, self._distributions[name]))
        return asked, dict(sorted(point.items()))

    def _adopt(self, trial: int, parameters: Mapping[str, str]) -> None:
        proposed = self.propose()
        assert self._proposed is not None
        asked = self._proposed[0]
        self._proposed = None
        if proposed == dict(parameters):
            self._numbers[trial] = asked.number
            return
        self.differing.append(trial)
        self._study.tell(asked, state=TrialState.FAIL)
        taken = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={name: self._value(name, text) for name, text in parameters.items()},
            distributions={name: self._distributions[name] for name in parameters},
            # CMA-ES keeps there to which generation it belongs.
            system_attrs=self._study.get_trials(deepcopy=False)[asked.number].system_attrs,
        )
        self._study.add_trial(taken)
        self._numbers[trial] = len(self._study.get_trials(deepcopy=False)) - 1

    def _learn(self, parameters: Mapping[str, str], values: Sequence[float], violations: Sequence[float]) -> None:
        """Take a trial that another study chose. Before the first proposal, so that what follows from it is the same."""
        learned = optuna.trial.create_trial(
            params={name: self._value(name, text) for name, text in parameters.items()},
            distributions={name: self._distributions[name] for name in parameters},
            values=list(values),
            system_attrs={f"constraints:{index}": violation for index, violation in enumerate(violations)},
        )
        if self.definition["kind"] != "cmaes":
            self._study.add_trial(learned)
            return
        # It begins where those were good, and knows no trials that it did not choose itself.
        self._learned.append(learned)
        self._study.sampler = _cmaes(self.definition["seed"] % SEEDS, self._learned)

    def _tell(self, trial: int, values: Sequence[float], violations: Sequence[float]) -> None:
        number = self._numbers[trial]
        if not values:
            self._study.tell(number, state=TrialState.FAIL)
            return
        for index, violation in enumerate(violations):
            # As `optuna.Trial.set_constraint` does, which is not to be had of a trial that was adopted.
            self._study._storage.set_trial_system_attr(self._id(trial), f"constraints:{index}", violation)
        self._study.tell(number, list(values))

    def _reach(self, trial: int, step: int, value: float) -> None:
        # As `optuna.Trial.report` does.
        self._study._storage.set_trial_intermediate_value(self._id(trial), step, value)

    def _id(self, trial: int) -> int:
        """Return by what the storage knows a trial."""
        return self._study.get_trials(deepcopy=False)[self._numbers[trial]]._trial_id

    def _value(self, name: str, text: str) -> Any:
        """Read a value as the study has it: of a list its text, of a range a number."""
        distribution = self._distributions[name]
        if isinstance(distribution, CategoricalDistribution):
            return text
        return int(json.loads(text)) if isinstance(distribution, IntDistribution) else float(json.loads(text))

    def _text(self, name: str, value: Any) -> str:
        categorical = isinstance(self._distributions[name], CategoricalDistribution)
        return str(value) if categorical else json.dumps(value)


def _suggest(asked: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution():
            return asked.suggest_categorical(name, distribution.choices)
        case IntDistribution():
            return asked.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
        case FloatDistribution():
            return asked.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    raise TypeError(f"{distribution} is no distribution of a search")


def distribution_of(dimension: Mapping[str, Any]) -> BaseDistribution:
    """Return a dimension of a search as Optuna has it. Values of lists are texts: for Optuna 1, 1.0 and true are one."""
    if "values" in dimension:
        return CategoricalDistribution(dimension["values"])
    low, high, log = dimension["minimum"], dimension["maximum"], dimension["log_scale"]
    if dimension["integer"]:
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)
