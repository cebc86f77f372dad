"""The trial that an integration records into: the one of this process, or one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from milepost.errors import FailedPrecondition
from milepost.integrations.names import SeriesNames
from milepost.training.loop.trial import Trial
from milepost.training.script import external

# Trials that had a training, and who has made them; the others are those of their script.
_trained: WeakSet[Trial] = WeakSet()
_makers: WeakKeyDictionary[Trial, Run] = WeakKeyDictionary()
_names: WeakKeyDictionary[Trial, SeriesNames] = WeakKeyDictionary()


def series(trial: Trial, values: Mapping[str, Any]) -> dict[str, Any]:
    """Name what a library gives as series of a trial; see `SeriesNames`."""
    return _names.setdefault(trial, SeriesNames()).series(values)


class Run:
    """A trial, and whether the integration has made it.

    Args:
        trial: the one to use. None: that of this process, or else a new one.
        name: of a new one.
        options: of `milepost.init`, for a new one.
    """

    def __init__(self, trial: Trial | None, name: str, options: Mapping[str, Any]) -> None:
        self._trial = trial
        self._name = name
        self._options = dict(options)
        # Steps of this process's trial before the training that is under way.
        self.base = 0

    def open(self, name: str = "") -> Trial:
        """Return the trial; it is made at the first call. `name` is used where none was given."""
        if self._trial is None:
            self._trial = _open_one()
        if self._trial is None:
            self._trial = external.init(self._name or name, **self._options)
            _makers[self._trial] = self
        return self._trial

    def begin(self, step: int, name: str = "") -> Trial:
        """Return the trial for a training that begins after a step as its library counts.

        The first training of a process has the trial that there is. Another one, such as the next fold, gets a run of its
        own where an integration has made that of the one before; where the script has made it, its steps are counted on,
        so that no step has two values.
        """
        trial = self.open(name)
        self.base = 0
        if trial in _trained and step < trial.step:
            maker = _makers.get(trial)
            if maker is not None:
                trial = self._begin_anew(trial, maker)
            else:
                self.base = trial.step - step
                trial.warn(
                    "second_training",
                    f"a second training begins in this run: its steps are counted on from step {trial.step:,}; call "
                    "milepost.finish() and milepost.init() between two trainings to give each a run of its own",
                )
        _trained.add(trial)
        return trial

    def _begin_anew(self, before: Trial, maker: Run) -> Trial:
        """End the run of a training, and begin one for the next."""
        name = before.configuration.name
        stem, _, number = name.rpartition(" #")
        following = f"{stem} #{int(number) + 1}" if stem and number.isdigit() else f"{name} #2"
        before.finish()
        maker._trial = None
        options = {key: value for key, value in self._options.items() if key != "resume"}
        self._trial = external.init(following, **options)
        _makers[self._trial] = self
        return self._trial

    @property
    def trial(self) -> Trial | None:
        """The trial, if it is open."""
        return self._trial

    def finish(self) -> None:
        """End the trial if the integration has made it."""
        if self._trial is not None and _makers.get(self._trial) is self:
            self._trial.finish()
            self._trial = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the trial out where a library copies itself into other processes: there each finds its own."""
        return {**self.__dict__, "_trial": None, "base": 0}


def _open_one() -> Trial | None:
    """Return the trial of this process that is open, if there is one."""
    try:
        found = external.current()
    except FailedPrecondition:
        return None
    return None if external.is_finished() else found
