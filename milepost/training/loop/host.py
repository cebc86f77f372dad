"""Whoever runs a trial, as the trial sees it. It is made before the trial, which is given it, and it alone changes later.

    Host            what a trial asks of it
    NullHost        records nothing and asks nobody
    RecordingHost   records what a trial does, by the thread beside the loop

A driver's process, a script, and a process that leaves the record to another are hosts of their own: `process.host`,
`script.host`, `script.silent_rank`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from google.protobuf.message import Message

from milepost.api.training.v1.training_pb2 import AttemptLaunch, InstanceReport, RankValues, SteerInstruction
from milepost.installation.endpoints import Endpoints
from milepost.training.loop.agreement import Agreement
from milepost.training.loop.parameters import Parameters
from milepost.training.samples.buffer import IgnoredSamples, Samples
from milepost.training.saving.keeper import Keeper, NoSnapshots, Record
from milepost.training.saving.snapshot_keeper import SnapshotKeeper
from milepost.training.telemetry.background import Background
from milepost.training.telemetry.batches import Position
from milepost.training.telemetry.marker import StepMarker
from milepost.training.telemetry.rows import IgnoredRows, Rows
from milepost.training.user_code.forks import rest_in_children


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of how many worker processes this is."""

    rank: int = 0
    world_size: int = 1
    # Whether a driver leads the ranks; processes of torchrun find together by themselves.
    led: bool = True

    @property
    def writers(self) -> int:
        """How many ranks write a part of each snapshot. Without a driver it is rank 0 alone."""
        return self.world_size if self.led else 1


class Host(Record, Protocol):
    """What a trial asks of whoever runs it."""

    @property
    def launch(self) -> AttemptLaunch:
        """The attempt. A process of a group may learn late which one it is; so of the rank and of the parameters."""
        ...

    @property
    def rank(self) -> Rank: ...

    @property
    def parameters(self) -> Parameters: ...

    @property
    def page(self) -> str:
        """Where it is looked at; empty: nowhere."""
        ...

    @property
    def endpoints(self) -> Endpoints | None:
        """Where it is read. None: the stack that is found."""
        ...

    @property
    def rows(self) -> Rows:
        """Where values go that are logged."""
        ...

    @property
    def samples(self) -> Samples:
        """Where rows go that are logged beside values."""
        ...

    @property
    def marker(self) -> memoryview:
        """Its only element is the last step of which everything was logged."""
        ...

    @property
    def keeper(self) -> Keeper:
        """Who takes its snapshots."""
        ...

    @property
    def agreement(self) -> Agreement | None:
        """By what ranks that a driver leads halt after the same step. None: the loop asks nobody."""
        ...

    @property
    def agree_to_stop(self) -> Callable[[int], bool] | None:
        """Has the processes of a group agree on a step to stop after. None: this one stops by itself. False: they do not."""
        ...

    @property
    def agree_to_steer(self) -> Callable[[SteerInstruction], bool] | None:
        """Has the processes of a group change values after the step of an order. None: nobody is asked. False: they do not."""
        ...

    @property
    def knows_snapshot(self) -> bool:
        """Whether it is known what to go on from."""
        ...

    def report_own(self, payload: Message) -> None:
        """Hand over a fact about this process."""
        ...

    def receive_values(self, values: RankValues) -> None:
        """Take in what another rank gives to a mean."""
        ...

    def record_stacks(self) -> None:
        """Record what the threads of this process are doing."""
        ...

    def expect(self, total_steps: int | None) -> None:
        """Note how many steps there are to be, as far as that is known."""
        ...

    def begin(self, step: int) -> None:
        """Measure speed from this step on."""
        ...

    def wake(self) -> None:
        """Pass on at once what was logged."""
        ...

    def join(self, at_step: bool) -> bool:
        """Look for the other processes of a group, which may be made after the trial. True: they need not be looked for again.

        Args:
            at_step: a step has been done.
        """
        ...

    def refuses_snapshot(self, step: int) -> bool:
        """Return whether the run has ended, so that no snapshot is taken any more."""
        ...

    def finish(self, exit_code: int | None) -> None:
        """End the run, where the loop may do that."""
        ...

    def leave_waiting_loop(self) -> None:
        """Go on in place of a loop that waits for data, after a stop was carried out. Called in a thread of its own."""
        ...


class NullHost:
    """Records nothing and asks nobody."""

    def __init__(self, launch: AttemptLaunch, rank: Rank, position: Position | None = None) -> None:
        self.launch = launch
        self.rank = rank
        self.parameters = Parameters(launch.parameters)
        self.position = position or Position()
        self.page = ""
        self.endpoints: Endpoints | None = None
        self.rows: Rows = IgnoredRows(self.ignore)
        self.samples: Samples = IgnoredSamples(self.ignore)
        # Nobody reads it.
        self.marker = StepMarker(None).cell
        self.keeper: Keeper = NoSnapshots()
        self.agreement: Agreement | None = None
        self.agree_to_stop: Callable[[int], bool] | None = None
        self.agree_to_steer: Callable[[SteerInstruction], bool] | None = None
        self.knows_snapshot = True
        rest_in_children(self)

    def rest_in_child(self) -> None:
        """Have a child that was forked off, such as a worker of a data loader, count along and record nothing."""
        self.rows, self.keeper = IgnoredRows(self.ignore), NoSnapshots()
        self.samples = IgnoredSamples(self.ignore)
        # The page of the marker is shared with the parent.
        self.marker = StepMarker(None).cell
        self.agreement = self.agree_to_stop = self.agree_to_steer = None

    def belong_to(self, launch: AttemptLaunch, rank: Rank) -> None:
        """Take part in the run of another process, which records it."""
        self.launch, self.rank = AttemptLaunch(), rank
        self.launch.CopyFrom(launch)
        self.parameters = Parameters(launch.parameters)
        self.knows_snapshot = True

    def stop_by(self, agree: Callable[[int], bool]) -> None:
        """Ask before a stop; see `Host.agree_to_stop`."""
        self.agree_to_stop = agree

    def steer_by(self, agree: Callable[[SteerInstruction], bool]) -> None:
        """Ask before values are changed; see `Host.agree_to_steer`."""
        self.agree_to_steer = agree

    def ignore(self) -> None:
        """Note that something is logged which is not recorded."""

    @property
    def last_values(self) -> Mapping[str, float]:
        return {}

    def report(self, payload: Message) -> None:
        """Keep it to oneself."""

    def report_own(self, payload: Message) -> None:
        """Keep it to oneself."""

    def send(self, report: InstanceReport) -> None:
        """There is no driver."""

    def say(self, what: str, values: Mapping[str, float]) -> None:
        """There is no log."""

    def warn(self, problem: str, text: str) -> None:
        """The process that records says each problem; the others need not repeat it."""

    def receive_values(self, values: RankValues) -> None:
        """No rank gives any."""

    def record_stacks(self) -> None:
        """There is no log."""

    def expect(self, total_steps: int | None) -> None:
        """Nobody asks how far it is."""

    def begin(self, step: int) -> None:
        """Nothing is measured."""

    def wake(self) -> None:
        """There is nobody to wake."""

    def wait_stored(self, seconds: float) -> bool:
        """Nothing is stored, so nothing is waited for."""
        return True

    def copy_unstored(self, path: Path) -> int:
        """There is nothing to copy."""
        return 0

    def join(self, at_step: bool) -> bool:
        """There is nobody to look for."""
        return True

    def refuses_snapshot(self, step: int) -> bool:
        return False

    def finish(self, exit_code: int | None) -> None:
        """It ends with whoever has made it."""

    def leave_waiting_loop(self) -> None:
        """The loop finds that it is stopped when it has its data."""


class RecordingHost(NullHost):
    """Records what a trial does, by the thread beside the loop."""

    def __init__(self, launch: AttemptLaunch, rank: Rank, background: Background, marker: StepMarker) -> None:
        super().__init__(launch, rank, background.position)
        self._background = background
        self.rows = background.buffer
        # Rank 0 alone speaks for the trial; the others may say the same.
        self.samples = background.samples if rank.rank == 0 else IgnoredSamples(lambda: None)
        self.marker = marker.cell
        self.keeper = SnapshotKeeper(launch, rank.rank, rank.writers, self)

    def ignore(self) -> None:
        """Say once, for all children, that what a child logs is not recorded."""
        self._background.ignore()

    @property
    def last_values(self) -> Mapping[str, float]:
        return self._background.last_values

    def report(self, payload: Message) -> None:
        """Hand over a fact about the attempt. Only rank 0 speaks for it."""
        if self.rank.rank == 0:
            self._background.report(payload)

    def report_own(self, payload: Message) -> None:
        """Hand over a fact about this process."""
        self._background.report(payload)

    def send(self, report: InstanceReport) -> None:
        """Hand something to the driver."""
        self._background.send(report)

    def say(self, what: str, values: Mapping[str, float]) -> None:
        """Write a line about progress into the trial's log."""
        if self.rank.rank == 0:
            self._background.progress.say(what, dict(values))

    def warn(self, problem: str, text: str) -> None:
        """Say a problem, once."""
        self._background.warnings.say(problem, text)

    def receive_values(self, values: RankValues) -> None:
        """Take in what another rank gives to a mean."""
        self._background.receive_values(values)

    def record_stacks(self) -> None:
        """Record what the threads of this process are doing."""
        self._background.record_stacks()

    def expect(self, total_steps: int | None) -> None:
        """Name the last step in lines about progress."""
        self._background.progress.total_steps = total_steps

    def begin(self, step: int) -> None:
        """Measure speed from this step on."""
        self._background.begin(step)

    def wake(self) -> None:
        """Cut a batch now."""
        self._background.wake()

    def wait_stored(self, seconds: float) -> bool:
        """Wait until everything that was logged so far is stored."""
        return self._background.wait_stored(seconds)

    def copy_unstored(self, path: Path) -> int:
        """Write every batch that is not known to be stored into another spool. Returns how many there are."""
        return self._background.copy_unstored(path)
