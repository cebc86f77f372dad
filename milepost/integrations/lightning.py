"""Milepost for PyTorch Lightning: a logger for what a module logs, a callback for everything around it.

    pl.Trainer(logger=MilepostLogger(), callbacks=[MilepostCallback()])

The logger alone records values; with the callback steps and batches are counted, the optimizers are watched,
evaluations are marked, checkpoints become snapshots, and a stop saves one and ends training. Learning rates, early stop,
and the intervals of evaluations and checkpoints can be changed while it trains.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers.logger import Logger
    from lightning.pytorch.utilities import rank_zero_only
    from lightning.pytorch.utilities.exceptions import MisconfigurationException
except ImportError:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers.logger import Logger
    from pytorch_lightning.utilities import rank_zero_only
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

from milepost.integrations.experiment import Experiment
from milepost.integrations.run import Run, series
from milepost.integrations.steered import (
    EARLY_STOP,
    EVALUATION_INTERVAL,
    LEARNING_RATE,
    SNAPSHOT_INTERVAL,
    Steered,
    rates_of,
)
from milepost.training.loop.evaluation import Evaluation
from milepost.training.loop.trial import Trial
from milepost.training.telemetry.batches import EVALUATING


class MilepostLogger(Logger):
    """Records what modules log.

    Args:
        trial: where to record; None: the trial of this process, or a new one.
        name: of a new one.
        options: of `milepost.init`: `labels`, `snapshots`, `resume` ...
    """

    def __init__(self, trial: Trial | None = None, name: str = "lightning", **options: Any) -> None:
        super().__init__()
        self._name = name
        self._run = Run(trial, name, options)
        self._counted = self._begun = False
        # Whether a callback logs the loss that `training_step` returns.
        self.loss_is_logged = False
        self._saved = ""

    @property
    def experiment(self) -> Experiment:
        """The trial, which also takes what modules tell a writer of TensorBoard."""
        return Experiment(self._run.open(), self._place)

    def _place(self, global_step: int | None) -> tuple[int | None, bool]:
        """Return the step of the trial that Lightning's global step means, which begins at 0, and whether it ends now."""
        trial = self._run.open()
        if self._counted and trial.position.phase == EVALUATING:
            return trial.step, False
        return None if global_step is None else self._run.base + global_step + 1, not self._counted

    @property
    def name(self) -> str:
        """The name of a new run."""
        return self._name

    @property
    def version(self) -> str:
        """The id of the runtime."""
        return self._run.open().runtime_id if rank_zero_only.rank == 0 else ""

    def follow(self, run: Run) -> None:
        """Record where a callback does, and leave the steps to it."""
        self._run, self._counted = run, True

    @property
    def run(self) -> Run:
        """Where it records."""
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: Any, *arguments: Any, **more: Any) -> None:
        """Declare parameters."""
        self._run.open().declare(params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values at the step that was done last; a logger alone counts from Lightning's, which begin at 0."""
        if not self._counted and not self._begun:
            # The next fold of a script: a step of it is not one of the training before.
            self._run.begin(step or 0)
        self._begun = True
        trial = self._run.open()
        values = series(trial, {name: value for name, value in metrics.items() if name != "epoch"})
        if self._counted:
            values = {key: value for key, value in values.items() if not self._is_callbacks(key)}
        if values:
            trial.log(values, step=trial.step if self._counted else self._run.base + (step or 0) + 1)

    def _is_callbacks(self, key: str) -> bool:
        """Return whether the callback logs a series itself: each point is to be there once."""
        return key.startswith(("eval/", "test/")) or (key == "train/loss" and self.loss_is_logged)

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Record a checkpoint as a snapshot."""
        path = checkpoint_callback.last_model_path or checkpoint_callback.best_model_path
        newest = getattr(checkpoint_callback, "_last_checkpoint_saved", "") or path
        if newest and newest != self._saved and Path(newest).exists():
            self._saved = newest
            self._run.open().adopt(newest)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Leave the run open: it ends with the script, or with `milepost.finish`."""


class MilepostCallback(pl.Callback):
    """Counts steps and batches, watches the optimizers, marks evaluations and obeys a stop.

    Args:
        trial: where to record. None: that of a `MilepostLogger` of the same Trainer, or of this process, or a new one.
        options: of `milepost.init`, for a new one.
    """

    def __init__(self, trial: Trial | None = None, name: str = "lightning", **options: Any) -> None:
        self._run = Run(trial, name, options)
        self._trial: Trial | None = None
        self._evaluation: Evaluation | None = None
        self._watched = False
        self._total: int | None = None
        self._steered: Steered | None = None
        # Somebody has asked for an end of training.
        self._ends = False

    def checkpoint(self) -> str | None:
        """Return the checkpoint that a resumed run goes on from, for `fit(ckpt_path=...)`."""
        folder = self._run.open().restored_checkpoint()
        if folder is None:
            return None
        files = list(folder.iterdir())
        # Strategies that shard a model write a folder.
        return str(files[0] if len(files) == 1 else folder)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the trial out where Lightning copies its callbacks into other processes."""
        return {**self.__dict__, "_trial": None, "_evaluation": None, "_steered": None}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find the run that the loggers have, and count their steps. `validate` and `test` need no training before."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, MilepostLogger)]
        if loggers:
            self._run = loggers[0].run
        for logger in loggers:
            logger.follow(self._run)
        if stage != "fit":
            self._trial = self._run.open()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the trial. Every process of a group has one."""
        trial = self._run.begin(_steps(trainer))
        self._watched = self._watched and trial is self._trial
        self._trial = trial
        trial.should_stop()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Declare the plan, and watch the optimizers."""
        trial = self._current()
        self._total = _total(trainer)
        self._plan(trainer)
        trial.position.epoch_batches = _finite(trainer.num_training_batches)
        self._steer(trainer, trial)
        trial.advance(self._run.base + _steps(trainer))
        if not self._watched:
            self._watched = True
            for index, optimizer in enumerate(trainer.optimizers):
                trial.watch(optimizer, "train" if index == 0 else f"train/optimizer_{index}")

    def _steer(self, trainer: pl.Trainer, trial: Trial) -> None:
        """Declare what may be changed while it trains, and begin with what it was changed to before."""
        steered = self._steered = Steered(trial)
        self._ends = False
        schedules = [configured.scheduler for configured in trainer.lr_scheduler_configs]
        for index, optimizer in enumerate(trainer.optimizers):
            rates = rates_of(optimizer, [one for one in schedules if getattr(one, "optimizer", None) is optimizer])
            if rates is not None:
                name = LEARNING_RATE if index == 0 else f"{LEARNING_RATE}_{index}"
                steered.add(name, rates.base, rates.become, minimum=0.0)
        # Who goes on with a run that was ended so wants it to train.
        steered.add(EARLY_STOP, False, self._end_if, from_now_on=True)
        self._steer_evaluations(trainer, steered)
        savers = [one for one in trainer.checkpoint_callbacks if getattr(one, "_every_n_train_steps", 0) >= 1]
        if len(savers) == 1 and not _counts_batches(trainer):
            (saver,) = savers

            def save_every(steps: int) -> None:
                # Lightning has no public way to change it.
                saver._every_n_train_steps = steps  # type: ignore[attr-defined]

            every = saver._every_n_train_steps  # type: ignore[attr-defined]
            steered.add(SNAPSHOT_INTERVAL, int(every), save_every, minimum=1)

    def _steer_evaluations(self, trainer: pl.Trainer, steered: Steered) -> None:
        """Let the interval of evaluations be changed where it is a number of steps, also that of once an epoch."""
        every, accumulated = trainer.val_check_batch, trainer.accumulate_grad_batches
        if not trainer.enable_validation or every is None or every == float("inf") or every % accumulated:
            return

        def evaluate_every(steps: int) -> None:
            trainer.val_check_batch = steps * accumulated
            self._plan(trainer)

        # Within epochs Lightning counts anew in each, so one that is longer never comes.
        within = _finite(trainer.num_training_batches) if trainer.check_val_every_n_epoch is not None else None
        longest = within // accumulated if within else None
        steered.add(EVALUATION_INTERVAL, int(every) // accumulated, evaluate_every, minimum=1, maximum=longest)

    def _end_if(self, ends: bool) -> None:
        self._ends = ends

    def _plan(self, trainer: pl.Trainer) -> None:
        batches = _finite(trainer.num_training_batches)
        per_epoch = None if batches is None else max(1, -(-batches // trainer.accumulate_grad_batches))
        eval_every, eval_every_epochs = _evaluations(trainer, batches, per_epoch)
        self._current().plan(
            None if self._total is None else self._run.base + self._total,
            steps_per_epoch=per_epoch,
            epochs=trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None,
            eval_every=eval_every,
            eval_every_epochs=eval_every_epochs,
            batches_per_epoch=batches,
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch, and a step where it ended one; log its loss; obey a stop."""
        trial, step = self._current(), self._run.base + _steps(trainer)
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None:
            for logger in trainer.loggers:
                if isinstance(logger, MilepostLogger):
                    logger.loss_is_logged = True
            # Lightning has divided it by the number of micro-batches already.
            trial.accumulate({"train/loss": loss * trainer.accumulate_grad_batches})
        if step <= trial.step:
            trial.advance(trial.step, epoch=trainer.current_epoch, batch=batch_idx + 1)
            return
        values = trial.local_mean()
        trial.advance(step, epoch=trainer.current_epoch, batch=batch_idx + 1)
        if values:
            trial.log(values, step=step)
        self._correct_total(trainer)
        # Between two steps only: the gradients of micro-batches are in no checkpoint.
        stops = trial.should_stop()
        if self._steered is not None:
            self._steered.carry_out()
        if (stops or self._ends) and not trainer.should_stop:
            self._stop(trainer, trial)

    def _correct_total(self, trainer: pl.Trainer) -> None:
        """Plan anew where `max_steps` counts more than one update a batch: how many, only the batches tell."""
        done = _steps(trainer)
        # At each power of two the guess gets better.
        if _counts_batches(trainer) and trainer.max_steps > 0 and done & (done - 1) == 0:
            total = _total(trainer)
            if total != self._total:
                self._total = total
                self._plan(trainer)

    def _stop(self, trainer: pl.Trainer, trial: Trial) -> None:
        """Save the state as it is, and have the Trainer end; what it must do at least does not hold for a stop."""
        trainer.should_stop = True
        trainer.fit_loop.min_epochs = 0
        trainer.fit_loop.epoch_loop.min_steps = None
        self._save(trainer, trial)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take what was done for the plan where that was a guess, and keep why training ended early."""
        trial = self._current()
        if self._ends:
            trial.explain_end("early stop asked for")
        if _counts_batches(trainer) and 0 < trainer.max_steps <= trainer.global_step:
            self._total = _steps(trainer)
            self._plan(trainer)
        for callback in trainer.early_stopping_callbacks:
            if reason := getattr(callback, "stopping_reason_message", None):
                trial.explain_end(f"early stopping: {reason}"[:200])

    def _save(self, trainer: pl.Trainer, trial: Trial) -> None:
        """Save the state as it is; every process takes part."""
        with tempfile.TemporaryDirectory(prefix="milepost-") as folder:
            path = os.path.join(folder, f"step-{trainer.global_step}.ckpt")  # noqa: PTH118
            trainer.save_checkpoint(path)
            if Path(path).exists():
                trial.adopt(path)
                trial.wait_for_snapshot()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the end of an epoch, but not where training ends within it."""
        batches = trainer.fit_loop.epoch_loop.batch_progress
        done, count = batches.current.ready, _finite(trainer.num_training_batches)
        whole = batches.is_last_batch or (count is not None and done >= count)
        if whole:
            self._current().complete_epoch(trainer.current_epoch)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open an evaluation, but for the sanity check before training."""
        if not trainer.sanity_checking:
            self._open_evaluation(trainer.num_val_batches)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open an evaluation."""
        self._open_evaluation(trainer.num_test_batches)

    def _open_evaluation(self, counts: list[int | float]) -> None:
        batches = [_finite(count) for count in counts]
        total = sum(count for count in batches if count is not None) if None not in batches else None
        self._evaluation = self._current().evaluation(total, keep_random=False)
        self._evaluation.__enter__()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch of the evaluation."""
        if self._evaluation is not None:
            self._evaluation.count()

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the evaluation, with the values that the module has logged."""
        self._close_evaluation(trainer, "eval/")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the evaluation, with the values that the module has logged."""
        self._close_evaluation(trainer, "test/")

    def _close_evaluation(self, trainer: pl.Trainer, prefix: str) -> None:
        if self._evaluation is None:
            return
        evaluation, self._evaluation = self._evaluation, None
        found = series(self._current(), dict(trainer.callback_metrics))
        evaluation.log({key: value for key, value in found.items() if key.startswith(prefix)})
        evaluation.__exit__(None, None, None)

    def _current(self) -> Trial:
        assert self._trial is not None, "fit has begun"
        return self._trial


def _finite(value: float) -> int | None:
    return None if value in (float("inf"), float("-inf")) else int(value)


def _counts_batches(trainer: pl.Trainer) -> bool:
    """Return whether a module steps its optimizers itself: Lightning's global step then counts each of them."""
    return trainer.lightning_module is not None and not trainer.lightning_module.automatic_optimization


def _steps(trainer: pl.Trainer) -> int:
    """Return the steps that are done, those of the batch under way included.

    A step is an update of the optimizer; of a module that steps its optimizers itself it is a batch, as on the axis that
    Lightning gives to its loggers.
    """
    return trainer.fit_loop.total_batch_idx + 1 if _counts_batches(trainer) else trainer.global_step


def _total(trainer: pl.Trainer) -> int | None:
    """Return the steps of the whole training; None: nobody knows."""
    if not _counts_batches(trainer):
        try:
            total = _finite(trainer.estimated_stepping_batches)
        except MisconfigurationException:
            # Epochs that accumulate differently.
            return None
        return total if total and total > 0 else None
    batches, epochs, done = _finite(trainer.num_training_batches), trainer.max_epochs, _steps(trainer)
    limits = [batches * epochs] if batches and epochs and epochs > 0 else []
    if trainer.max_steps > 0:
        updates = trainer.global_step / done if trainer.global_step else max(1, len(trainer.optimizers))
        limits.append(math.ceil(trainer.max_steps / updates))
    return min(limits, default=None)


def _evaluations(trainer: pl.Trainer, batches: int | None, per_epoch: int | None) -> tuple[int | None, int | None]:
    """Return the steps between two evaluations, and, where they are counted within epochs, in each how many-th."""
    every, epochs, accumulated = (
        trainer.val_check_batch,
        trainer.check_val_every_n_epoch,
        trainer.accumulate_grad_batches,
    )
    if not trainer.enable_validation or every is None:
        # None at all, or by the clock.
        return None, None
    if every == float("inf") or every == batches:
        return (per_epoch * epochs, None) if per_epoch and epochs else (per_epoch, None)
    if every % accumulated or (epochs is None and batches and batches % accumulated):
        # Between steps: no regular distance.
        return None, None
    steps = int(every) // accumulated
    if epochs is None or (epochs == 1 and batches is not None and batches % every == 0):
        return steps, None
    return steps, epochs
