"""How much of the values of trials follows from each parameter, as Optuna estimates it. Runs in the process of a sampler.

PED-ANOVA (Watanabe, Bansal and Hutter, 2023) asks how far the best tenth of the trials is from all of them in each
parameter alone. It needs no model, so a thousand trials take some hundredths of a second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator

from services.runtime.searching.study import VERSION, distribution_of

METHOD = f"PED-ANOVA of {VERSION}"


def importances(
    definition: Mapping[str, Any], points: Sequence[tuple[Mapping[str, str], float]]
) -> tuple[list[tuple[str, float]], str]:
    """Return the share of each parameter, 0 to 1 and 1 together, the largest first; and by what method.

    Args:
        definition: as `sampler.definition_of` writes it.
        points: parameters as JSON scalars as text, and the value; those of one space.
    """
    distributions = {name: distribution_of(one) for name, one in sorted(definition["space"].items())}
    study = optuna.create_study(direction="maximize" if definition["maximize"][0] else "minimize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: value_of(distributions[name], text) for name, text in parameters.items()},
                distributions={name: distributions[name] for name in parameters},
                value=value,
            )
            for parameters, value in points
        ]
    )
    found = optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return sorted(found.items(), key=lambda one: (-one[1], one[0])), METHOD


def value_of(distribution: BaseDistribution, text: str) -> Any:
    """Read a value as a study has it: of a list its text, of a range a number."""
    if isinstance(distribution, CategoricalDistribution):
        return text
    return int(json.loads(text)) if isinstance(distribution, IntDistribution) else float(json.loads(text))
