"""Milepost for the Trainer of Hugging Face Transformers.

    import milepost.integrations.transformers            # then TrainingArguments(report_to="milepost")

or, with settings: `Trainer(..., callbacks=[MilepostCallback(name="mine")])`. Records plan, steps, batches, what the
Trainer logs, evaluations, and its checkpoints as snapshots; a stop saves a checkpoint and ends training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import integration_utils

from milepost.integrations.names import series
from milepost.integrations.run import Run
from milepost.training.evaluation import Evaluation
from milepost.training.trial import Trial

NAME = "milepost"


class MilepostCallback(TrainerCallback):
    """Records the training of one Trainer.

    Args:
        trial: where to record; None: the trial of this process, or a new one.
        name: of a new one. Default: the run's name, or that of its output folder.
        options: of `milepost.init`: `labels`, `snapshots`, `resume` ...
    """

    def __init__(self, trial: Trial | None = None, name: str = "", **options: Any) -> None:
        self._run = Run(trial, name, options)
        self._batch = 0
        self._evaluation: Evaluation | None = None

    def checkpoint(self) -> str | None:
        """Return the checkpoint that a resumed run goes on from, for `train(resume_from_checkpoint=...)`."""
        restored = self._run.open().restored_checkpoint()
        return str(restored) if restored is not None else None

    # --- training

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Declare the plan and the parameters."""
        trial = self._run.open(args.run_name or Path(args.output_dir or "trainer").name)
        # From now on a stop ends training by the Trainer's own means.
        trial.should_stop()
        every = int(state.eval_steps or 0) if args.eval_strategy == "steps" else 0
        loader = more.get("train_dataloader")
        batches = _length(loader)
        per_epoch = None if batches is None else -(-batches // args.gradient_accumulation_steps)
        trial.plan(
            state.max_steps if state.max_steps > 0 else None,
            steps_per_epoch=per_epoch,
            epochs=int(state.num_train_epochs) if state.num_train_epochs else None,
            eval_every=every or (per_epoch if args.eval_strategy == "epoch" else None),
            batches_per_epoch=batches,
        )
        trial.position.epoch_batches = batches
        trial.declare(_parameters(args, more.get("model")))
        trial.advance(state.global_step)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Count batches anew."""
        self._batch = 0

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Count a micro-batch."""
        self._batch += 1
        if self._run.trial is not None:
            self._run.trial.advance(state.global_step, epoch=int(state.epoch or 0), batch=self._batch)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Count a step, and obey a stop."""
        self._batch += 1
        trial = self._run.trial
        if trial is None:
            return
        # At the end of an epoch the Trainer names the next one already.
        epoch = max(0, int((state.epoch or 0) - 1e-9))
        trial.advance(state.global_step, epoch=epoch, batch=self._batch)
        if trial.should_stop():
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Note the end of an epoch."""
        trial = self._run.trial
        if trial is not None and not trial.left_for_stop:
            trial.complete_epoch(trial.position.epoch)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Log what the Trainer logs, but for what evaluations log themselves."""
        trial = self._run.trial
        if trial is None or not logs or any(name.startswith(("eval_", "test_")) for name in logs):
            return
        # The summary at the end calls the mean over all steps `train_loss`; that is no point of the loss.
        names = {"train_loss": "train/mean_loss"} if "train_runtime" in logs else {}
        values = series({names.get(name, name): value for name, value in logs.items() if name != "epoch"})
        trial.log(values, step=state.global_step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Record a checkpoint as a snapshot."""
        folder = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
        if self._run.trial is not None and folder.is_dir():
            self._run.trial.adopt(folder)

    # --- evaluations

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Open an evaluation at its first batch, and count its batches."""
        trial = self._run.trial
        if trial is None:
            return
        if self._evaluation is None:
            loader = more.get("eval_dataloader")
            self._evaluation = trial.evaluation(_length(loader), keep_random=False)
            self._evaluation.__enter__()
        self._evaluation.count()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Close the evaluation, with its values."""
        if self._evaluation is None:
            return
        evaluation, self._evaluation = self._evaluation, None
        evaluation.log(series({name: value for name, value in (metrics or {}).items() if name != "epoch"}))
        evaluation.__exit__(None, None, None)

    def on_predict(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any, **more: Any
    ) -> None:
        """Close what a prediction had opened."""
        self.on_evaluate(args, state, control, metrics)


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


def _parameters(args: TrainingArguments, model: Any) -> dict[str, Any]:
    configuration = getattr(model, "config", None)
    found = dict(args.to_sanitized_dict())
    if configuration is not None and hasattr(configuration, "to_dict"):
        found["model"] = configuration.to_dict()
    return found


# What `report_to` may name.
integration_utils.INTEGRATION_TO_CALLBACK[NAME] = MilepostCallback
