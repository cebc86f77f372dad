"""The trial that an integration records into: the one of this process, or one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from milepost.errors import FailedPrecondition
from milepost.training import external
from milepost.training.trial import Trial


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
        self._own = False

    def open(self, name: str = "") -> Trial:
        """Return the trial; it is made at the first call. `name` is used where none was given."""
        if self._trial is None:
            try:
                found = external.current()
                self._trial = None if external.is_finished() else found
            except FailedPrecondition:
                self._trial = None
        if self._trial is None:
            self._trial = external.init(self._name or name, **self._options)
            self._own = True
        return self._trial

    @property
    def trial(self) -> Trial | None:
        """The trial, if it is open."""
        return self._trial

    def finish(self) -> None:
        """End the trial if the integration has made it."""
        if self._own and self._trial is not None:
            self._trial.finish()
            self._trial, self._own = None, False
