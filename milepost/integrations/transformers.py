"""Milepost for the Trainer of Hugging Face Transformers.

    import milepost.integrations.transformers            # then TrainingArguments(report_to="milepost")

or, with settings: `Trainer(..., callbacks=[MilepostCallback(name="mine")])`. Records plan, steps, batches, what the
Trainer logs, evaluations, and its checkpoints as snapshots; a stop saves a checkpoint and ends training. Learning rate,
early stop, and the intervals of evaluations and checkpoints can be changed while it trains.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import integration_utils

from milepost.integrations.run import Run, series
from milepost.integrations.steered import (
    EARLY_STOP,
    EVALUATION_INTERVAL,
    LEARNING_RATE,
    SNAPSHOT_INTERVAL,
    Steered,
    rates_of,
)
from milepost.training.loop.data.feed import loader_length
from milepost.training.loop.evaluation import Evaluation
from milepost.training.loop.trial import Trial
from milepost.training.loop.values.tokens import TOKENS

NAME = "milepost"
# What the Trainer and TRL call the tokens that were read. Only the Trainer's number is part of a checkpoint.
_KEPT_TOKENS, _OWN_TOKENS = "num_input_tokens_seen", "num_tokens"
# What a Trainer that resumes reads with `torch.load(weights_only=True)`.
_PLAIN = ("optimizer.pt", "scheduler.pt", "scaler.pt", "pytorch_model*.bin")


class MilepostCallback(TrainerCallback):
    """Records the training of one Trainer.

    Args:
        trial: where to record; None: the trial of this process, or a new one.
        name: of a new one. Default: the run's name, or that of its output folder.
        options: of `milepost.init`: `labels`, `snapshots`, `resume` ...
    """

    def __init__(self, trial: Trial | None = None, name: str = "", **options: Any) -> None:
        self._run = Run(trial, name, options)
        self._epoch = self._batch = 0
        # Batches of an epoch; None: the loader has no length.
        self._batches: int | None = None
        self._resumed = False
        self._evaluation: Evaluation | None = None
        self._steered: Steered | None = None
        # Somebody has asked for an end of training.
        self._ends = False
        # Tokens that were read when this training began: as the trial has them, and as the Trainer does.
        self._tokens_before = self._kept_before = 0
        self._counts_tokens = False

    def checkpoint(self) -> str | None:
        """Return the checkpoint that a resumed run goes on from, for `train(resume_from_checkpoint=...)`."""
        restored = self._run.open().restored_checkpoint()
        return str(restored) if restored is not None else None

    # --- training

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Declare the plan and the parameters."""
        trial = self._run.begin(state.global_step, _name(args))
        # From now on a stop ends training by the Trainer's own means.
        trial.should_stop()
        self._batches = loader_length(more.get("train_dataloader"))
        if self._batches is None and state.global_step and trial.position.epoch:
            trial.warn(
                "stream",
                "the Trainer skips batches from the start of a stream, and this one was in a later pass: it begins anew, so "
                f"the first {trial.position.batch:,} batches of the pass come again",
            )
        self._epoch, self._batch = _place(args, state, self._batches)
        self._resumed = True
        self._tokens_before, self._kept_before = trial.position.tokens, int(state.num_input_tokens_seen)
        self._plan(trial, args, state)
        trial.position.epoch_batches = self._batches
        trial.declare(_parameters(args, more.get("model")))
        self._steer(trial, args, state, more)
        trial.advance(self._run.base + state.global_step)

    def _steer(self, trial: Trial, args: TrainingArguments, state: TrainerState, more: dict[str, Any]) -> None:
        """Declare what may be changed while it trains, and begin with what it was changed to before."""
        steered = self._steered = Steered(trial)
        self._ends = False
        rates = rates_of(more.get("optimizer"), filter(None, [more.get("lr_scheduler")]))
        if rates is not None:
            steered.add(LEARNING_RATE, rates.base, rates.become, minimum=0.0)
        # Who goes on with a run that was ended so wants it to train.
        steered.add(EARLY_STOP, False, self._end_if, from_now_on=True)
        if args.eval_strategy == "steps" and state.eval_steps >= 1:

            def evaluate_every(steps: int) -> None:
                state.eval_steps = steps
                self._plan(trial, args, state)

            steered.add(EVALUATION_INTERVAL, int(state.eval_steps), evaluate_every, minimum=1)
        if args.save_strategy == "steps" and state.save_steps >= 1:

            def save_every(steps: int) -> None:
                state.save_steps = steps

            steered.add(SNAPSHOT_INTERVAL, int(state.save_steps), save_every, minimum=1)

    def _end_if(self, ends: bool) -> None:
        self._ends = ends

    def _plan(self, trial: Trial, args: TrainingArguments, state: TrainerState) -> None:
        per_epoch = None if self._batches is None else -(-self._batches // args.gradient_accumulation_steps)
        every = int(state.eval_steps or 0) if args.eval_strategy == "steps" else 0
        # A stream has as many epochs as it takes; the Trainer says the largest number that there is.
        bounded = self._batches is not None or args.max_steps <= 0
        trial.plan(
            self._run.base + state.max_steps if state.max_steps > 0 else None,
            steps_per_epoch=per_epoch,
            epochs=int(state.num_train_epochs) if state.num_train_epochs and bounded else None,
            eval_every=every or (per_epoch if args.eval_strategy == "epoch" else None),
            batches_per_epoch=self._batches,
        )

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Count batches anew; the first epoch after a resume goes on where it was."""
        if not self._resumed:
            self._epoch, self._batch = self._epoch + 1, 0
        self._resumed = False

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Count a micro-batch."""
        self._advance(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Count a step, obey a stop, and evaluate if somebody asks for that."""
        self._advance(state)
        trial = self._run.trial
        if trial is None:
            return
        stops = trial.should_stop()
        if self._steered is not None:
            self._steered.carry_out()
        if self._ends:
            trial.explain_end("early stop asked for")
        if stops or self._ends:
            control.should_save = control.should_training_stop = True
        elif args.eval_strategy != "no" and trial.evaluation_due():
            # Without a strategy it may have nothing to evaluate with.
            control.should_evaluate = True
        if control.should_save and self._counts_tokens:
            # So that the snapshot has the tokens of its step, not those of the last one that was logged.
            control.should_log = True

    def _advance(self, state: TrainerState) -> None:
        self._batch += 1
        if self._run.trial is not None:
            self._run.trial.advance(self._run.base + state.global_step, epoch=self._epoch, batch=self._batch)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Note the end of an epoch, but not where training ends within it."""
        whole = self._batches is not None and self._batch >= self._batches
        if self._run.trial is not None and (whole or not control.should_training_stop):
            self._run.trial.complete_epoch(self._epoch)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Log what the Trainer logs; while it evaluates, as values of the evaluation."""
        if not logs:
            return
        trial = self._run.open(_name(args))
        # The summary at the end calls the mean over all steps `train_loss`; that is no point of the loss.
        names = {"train_loss": "train/mean_loss"} if "train_runtime" in logs else {}
        apart = ("epoch", _KEPT_TOKENS, _OWN_TOKENS)
        values = series(trial, {names.get(name, name): value for name, value in logs.items() if name not in apart})
        if self._evaluation is None and self._note_tokens(trial, state, logs):
            values[TOKENS] = trial.position.tokens
        if self._evaluation is not None:
            self._evaluation.log(values)
        else:
            trial.log(values, step=self._run.base + state.global_step)

    def _note_tokens(self, trial: Trial, state: TrainerState, logs: dict[str, Any]) -> bool:
        """Note how many tokens were read, if the library says it. What it counts from 0 after a resume goes on here."""
        counted = logs.get(_KEPT_TOKENS) or logs.get(_OWN_TOKENS)
        if not counted:
            return False
        self._counts_tokens = True
        is_kept = counted == state.num_input_tokens_seen
        before = max(0, self._tokens_before - self._kept_before) if is_kept else self._tokens_before
        trial.position.reach_tokens(before + int(counted))
        return True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Record a checkpoint as a snapshot."""
        folder = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
        if self._run.trial is not None and folder.is_dir():
            self._run.trial.adopt(folder, parts=_parts(args), plain=_PLAIN)

    # --- evaluations

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Open an evaluation at its first batch, and count its batches. It may be all that a Trainer is used for."""
        if self._evaluation is None:
            trial = self._run.open(_name(args))
            self._evaluation = trial.evaluation(loader_length(more.get("eval_dataloader")), keep_random=False)
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
        """Close the evaluation, with those of its values that were not logged, and the time that the Trainer took."""
        if self._evaluation is None:
            return
        evaluation, self._evaluation = self._evaluation, None
        found = {name: value for name, value in (metrics or {}).items() if name != "epoch"}
        rest = {key: value for key, value in series(self._run.open(), found).items() if key not in evaluation.values}
        if rest:
            evaluation.log(rest)
        # Its first batch was over when it was opened here.
        seconds = next((value for name, value in found.items() if name.endswith("_runtime")), None)
        if seconds is not None:
            evaluation.began(seconds)
        evaluation.__exit__(None, None, None)

    def on_predict(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any, **more: Any
    ) -> None:
        """Close what a prediction had opened."""
        self.on_evaluate(args, state, control, metrics)


def _parts(args: TrainingArguments) -> list[str]:
    """Name what the other processes of this machine write into a checkpoint; nothing says when they have."""
    if args.world_size == 1 or args.save_only_model:
        return []
    return [f"rng_state_{rank}.pth" for rank in range(int(os.environ.get("LOCAL_WORLD_SIZE", args.world_size)))]


def _name(args: TrainingArguments) -> str:
    return args.run_name or Path(args.output_dir or "trainer").name


def _place(args: TrainingArguments, state: TrainerState, batches: int | None) -> tuple[int, int]:
    """Return the epoch that training goes on in, and how many of its batches it skips."""
    accumulated = args.gradient_accumulation_steps
    # As the Trainer reckons it: to it a stream is one epoch.
    per_epoch = state.max_steps if batches is None else max(1, -(-batches // accumulated))
    epoch, steps = divmod(state.global_step, per_epoch)
    return epoch, 0 if args.ignore_data_skip else steps * accumulated


def _parameters(args: TrainingArguments, model: Any) -> dict[str, Any]:
    configuration = getattr(model, "config", None)
    found = dict(args.to_sanitized_dict())
    if configuration is not None and hasattr(configuration, "to_dict"):
        found["model"] = configuration.to_dict()
    return found


# What `report_to` may name.
integration_utils.INTEGRATION_TO_CALLBACK[NAME] = MilepostCallback
