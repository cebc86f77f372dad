"""A sampler whose studies know their first trials without having chosen them; its argument says how many.

To ask for ten thousand trials one after the other takes minutes, in plain Optuna too. What one more question takes does
not depend on how the trials before it came about.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import optuna
from optuna.trial import TrialState

from services.runtime.searching import process
from services.runtime.searching.study import Study


class Filled(Study):
    """A study that takes the first trials as they are."""

    known = 0

    def _adopt(self, trial: int, parameters: Mapping[str, str]) -> None:
        if trial > self.known:
            super()._adopt(trial, parameters)
            return
        taken = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={name: self._value(name, text) for name, text in parameters.items()},
            distributions={name: self._distributions[name] for name in parameters},
        )
        self._study.add_trial(taken)
        self._numbers[trial] = trial - 1


if __name__ == "__main__":
    Filled.known = int(sys.argv[1])
    process.Study = Filled  # type: ignore[misc]
    process.main()
