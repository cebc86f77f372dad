"""What a trial is: which run, which attempt, which process, and where it is looked at."""

from __future__ import annotations

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.installation.endpoints import Endpoints
from milepost.names import trial_name
from milepost.training.loop.host import Host
from milepost.training.loop.parameters import Parameters
from milepost.training.loop.progress import Progress
from milepost.training.loop.said.card import card
from milepost.training.loop.said.plan import Plan
from milepost.training.telemetry.batches import HEADLINE_KEYS


class TrialInfo:
    """The part of a `Trial` that is only looked at."""

    def __init__(self, host: Host, progress: Progress, plan: Plan) -> None:
        self._host = host
        self._progress = progress
        self._plan = plan
        self.position = host.position

    @property
    def step(self) -> int:
        """The last step that was done; 0 before the first."""
        return self.position.step

    @property
    def epoch(self) -> int:
        """The current epoch, from 0; between two epochs the next one."""
        return self._progress.epoch

    @property
    def batch(self) -> int:
        """The current batch of this epoch, from 1."""
        return self.position.batch

    @property
    def runtime_id(self) -> str:
        return self._host.launch.runtime_id

    @property
    def number(self) -> int:
        """The number of this trial among those of its runtime, from 1."""
        return self._host.launch.trial

    @property
    def attempt(self) -> int:
        """Which execution of the trial this is, from 1."""
        return self._host.launch.attempt

    @property
    def skip_batches(self) -> int:
        """Batches behind the snapshot to pass over, as a roll back asked for. `batches` and `track` do it by themselves."""
        launch = self._host.launch
        return launch.skip_batches if launch.snapshot_id else 0

    @property
    def rank(self) -> int:
        """Which of the worker processes this is, from 0."""
        return self._host.rank.rank

    @property
    def world_size(self) -> int:
        """How many worker processes there are."""
        return self._host.rank.world_size

    @property
    def parameters(self) -> Parameters:
        """What the run was given, by name."""
        return self._host.parameters

    @property
    def page(self) -> str:
        """Where it is looked at; empty: nowhere."""
        return self._host.page

    @property
    def endpoints(self) -> Endpoints | None:
        """Where it is read. None: the stack that is found."""
        return self._host.endpoints

    @property
    def name(self) -> str:
        return trial_name(self.runtime_id, self.number)

    @property
    def configuration(self) -> RuntimeConfiguration:
        """The configuration of the runtime, as resolved."""
        return self._host.launch.configuration

    def __repr__(self) -> str:
        return f"<milepost.Trial {self.name} attempt {self.attempt}, step {self.step:,}, rank {self.rank} of {self.world_size}>"

    def _repr_html_(self) -> str:
        last_values = self._host.last_values
        values = {key: last_values[key] for key in HEADLINE_KEYS if key in last_values}
        name = self._host.launch.configuration.name or self.runtime_id
        return card(name, self.page, self.step, self._plan.total_steps, values)
