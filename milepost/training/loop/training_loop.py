"""One loop, put together of its parts, and what whoever runs it asks of it."""

from __future__ import annotations

import threading

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import InstanceInstruction, SteerInstruction
from milepost.training.loop.beginning import Beginning
from milepost.training.loop.epochs import Epochs
from milepost.training.loop.evaluation import Evaluations
from milepost.training.loop.host import Host
from milepost.training.loop.progress import Progress
from milepost.training.loop.said import declared
from milepost.training.loop.said.alerts import Alerts
from milepost.training.loop.said.plan import Plan
from milepost.training.loop.said.samples import SaidSamples
from milepost.training.loop.saving import Saving
from milepost.training.loop.snapshot_requests import SnapshotRequests
from milepost.training.loop.steering.steering import Steering
from milepost.training.loop.steps import Steps
from milepost.training.loop.stop import StopOrder
from milepost.training.loop.stopping import Stopping
from milepost.training.loop.values.averages import Averages
from milepost.training.loop.values.optimizer_watch import OptimizerWatches
from milepost.training.loop.values.step_values import StepValues
from milepost.training.loop.values.tokens import Tokens
from milepost.training.telemetry.batches import FINISHING


class TrainingLoop:
    """What stands behind a `Trial`. Whoever runs it makes it, and hands its `Trial` to the code that trains."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.plan = Plan(host)
        self.progress = Progress(host)
        self.steering = Steering(host)
        self.beginning = Beginning(host, self.progress, self.steering)
        self.values = StepValues(host, self.beginning)
        self.averages = Averages()
        self.tokens = Tokens(host, self.values.pending, self.declare_read)
        self.watches = OptimizerWatches(self.values.pending.update, host.warn)
        self.saving = Saving(host, self.progress, self.plan)
        self.stopping = Stopping(host, self.progress, self.saving, self.steering)
        self.alerts = Alerts(host)
        self.samples = SaidSamples(host)
        self.evaluations = Evaluations(host, self.progress, self.beginning, self.values, self.stopping)
        self.epochs = Epochs(host, self.progress, self.beginning, self.evaluations, self.stopping)
        self.steps = Steps(host, self.progress, self.beginning, self.values, self.stopping, self.steering)
        self.snapshots = SnapshotRequests(
            host, self.progress, self.beginning, self.saving, self.stopping, self.evaluations
        )

    @property
    def thread(self) -> threading.Thread | None:
        """The one that has done the first step."""
        return self.beginning.thread

    def go_on_after(self, step: int | None) -> None:
        """Go on after a step of which the script has a checkpoint of its own. None: the first step it logs says it."""
        self.beginning.go_on_after(step)

    def declare_read(self, said: declared.Declared) -> None:
        """Record what was read, and say what of it could not be kept as it was given."""
        declared.record(said, self.host)

    # --- stops

    def on_instruction(self, instruction: InstanceInstruction) -> None:
        """Take an instruction of the driver. Called in the background thread."""
        if instruction.WhichOneof("instruction") == "evaluate":
            self.evaluations.ask_for(instruction.evaluate.step)
        elif instruction.WhichOneof("instruction") == "stacks":
            self.host.record_stacks()
        self.stopping.obey(instruction)

    def request_stop(self, order: StopOrder) -> None:
        """Stop at the next boundary, or after the step that the order names. May come from any thread."""
        self.stopping.request(order)

    def request_steer(self, order: SteerInstruction) -> None:
        """Change values after the step that the order names. May come from any thread."""
        self.steering.order(order)

    @property
    def left_for_stop(self) -> bool:
        """Whether the loop was told of a stop by `should_stop`."""
        return self.stopping.loop_was_told

    @property
    def is_stopped(self) -> bool:
        """Whether a stop was asked for, and the loop has left because it was told."""
        return self.stopping.order is not None and self.stopping.loop_was_told

    # --- the end

    def save_for_stop(self) -> None:
        """Commit a snapshot of the last boundary, unless there is one."""
        self.stopping.save()

    def take_no_more_snapshots(self) -> None:
        """Save nothing from now on: the attempt was given up, and nobody would know of it."""
        self.host.keeper.close()

    def complete(self) -> None:
        """Take the last evaluation and the last snapshot when the entrypoint has returned."""
        if self.beginning.is_done and self.progress.at_boundary:
            self.evaluations.run_if_next()
            if self.saving.has_news:
                self.saving.take(facts.SNAPSHOT_REASON_END)
        self.end()
        self.host.keeper.wait()

    def end(self) -> None:
        """Note that the loop is over."""
        self.values.end()
        self.stopping.end()
        self.progress.is_over = True
        self.progress.position.phase = FINISHING

    def early_end(self) -> str:
        """Say that the loop has left before the last step of its plan. Empty: it has not, or there is no plan."""
        return self.plan.early_end(self.progress.position.step, self.values.count_from_zero)
