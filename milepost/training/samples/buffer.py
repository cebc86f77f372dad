"""Rows as the loop logs them: copied and counted in the caller, read and made into messages beside the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from milepost import series_names
from milepost.api.telemetry.v1.telemetry_pb2 import Row, RowForm
from milepost.training.samples.reading import MAX_ROWS, Reader, count_of, hold
from milepost.training.samples.thinning import is_kept

# Series of rows of one trial.
MAX_SERIES = 100
# Rows that wait for the thread beside the loop; it takes them at least once a second.
MAX_WAITING = 20_000


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows that are not recorded, and why."""

    reason: str
    rows: int
    first_step: int
    last_step: int


class Samples(Protocol):
    """Takes rows that a loop logs. The loop waits for it."""

    def append(self, step: int, time: float, name: object, form: RowForm, given: Any, /) -> None:
        """Take what was logged at a step under a name; the time is in seconds since 1970."""
        ...

    @property
    def kept_steps(self) -> Mapping[str, int]:
        """The last step of which rows were kept, by series: what the rule of thinning needs after a resume."""
        ...

    def go_on_from(self, kept_steps: Mapping[str, int]) -> None:
        """Go on as after these."""
        ...


class IgnoredSamples:
    """Those of a process that records nothing. `note` is told of each."""

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note
        self.kept_steps: Mapping[str, int] = {}

    def append(self, step: int, time: float, name: object, form: RowForm, given: Any, /) -> None:
        self._note()

    def go_on_from(self, kept_steps: Mapping[str, int]) -> None:
        self.kept_steps = kept_steps


@dataclass(frozen=True, slots=True)
class _Held:
    step: int
    time: float
    key: str
    form: RowForm
    given: Any


class SampleBuffer:
    """Collects rows of one trial.

    `warn(problem, message)` is called for what cannot be rows; it says each problem once.
    """

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        self._warn = warn
        self._reader = Reader(warn)
        self._held: deque[_Held] = deque()
        self._waiting = 0
        # The last step that was kept, and how many of its rows, by series.
        self._kept: dict[str, tuple[int, int]] = {}
        self._left_out: dict[str, LeftOut] = {}

    @property
    def kept_steps(self) -> dict[str, int]:
        return {key: step for key, (step, _) in list(self._kept.items())}

    def go_on_from(self, kept_steps: Mapping[str, int]) -> None:
        """Go on as after these; how many rows there are of a step that is logged again is counted anew."""
        self._kept = {key: (step, 0) for key, step in kept_steps.items()}

    def append(self, step: int, time: float, name: object, form: RowForm, given: Any, /) -> None:
        """Copy what was logged at a step, as far as it is kept."""
        key = series_names.key_of(series_names.text_of(name))
        count = count_of(form, given)
        if not count:
            self._warn(
                f"rows:{key}", f"{key}: {self._reader.wanted(form)}, not {type(given).__name__}; nothing is recorded"
            )
            return
        last, taken = self._kept.get(key, (None, 0))
        if last is None and len(self._kept) >= MAX_SERIES:
            self._leave_out(f"more than {MAX_SERIES} series of samples in one trial", count, step)
            return
        if not is_kept(step, last):
            self._leave_out("thinned: of long runs one step in so many is kept", count, step)
            return
        room = min(count, MAX_ROWS - (taken if step == last else 0))
        if room < count:
            self._leave_out(f"more than {MAX_ROWS} rows of one series at one step", count - room, step)
        if self._waiting + room > MAX_WAITING:
            self._leave_out("they came faster than they could be written", room, step)
            return
        if room > 0:
            self._kept[key] = (step, room + (taken if step == last else 0))
            self._waiting += room
            self._held.append(_Held(step, time, key, form, hold(form, given, room)))

    def _leave_out(self, reason: str, rows: int, step: int) -> None:
        before = self._left_out.get(reason)
        if before is None:
            self._warn(f"samples left out:{reason}", f"samples at step {step:,} are not recorded: {reason}")
            self._left_out[reason] = LeftOut(reason, rows, step, step)
        else:
            self._left_out[reason] = LeftOut(
                reason, before.rows + rows, min(before.first_step, step), max(before.last_step, step)
            )

    def take_left_out(self) -> list[LeftOut]:
        """Return what was not recorded since the last time."""
        left_out, self._left_out = self._left_out, {}
        return list(left_out.values())

    def take(self) -> Iterator[Row]:
        """Take everything that was added so far, as rows in the order in which they were logged."""
        while self._held:
            one = self._held.popleft()
            rows = list(self._reader.read(one.form, one.given))
            self._waiting = max(0, self._waiting - max(1, len(rows)))
            for row in rows:
                row.key, row.step, row.time_ms, row.form = one.key, one.step, int(one.time * 1000), one.form
                yield row
        self._waiting = 0
