"""Milepost for PyTorch Lightning: a logger for what a module logs, a callback for everything around it.

    pl.Trainer(logger=MilepostLogger(), callbacks=[MilepostCallback()])

The logger alone records values; with the callback steps and batches are counted, the optimizers are watched,
evaluations are marked, checkpoints become snapshots, and a stop saves one and ends training.
"""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers.logger import Logger
    from lightning.pytorch.utilities import rank_zero_only
except ImportError:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers.logger import Logger
    from pytorch_lightning.utilities import rank_zero_only

from milepost.integrations.names import series
from milepost.integrations.run import Run
from milepost.training.evaluation import Evaluation
from milepost.training.trial import Trial


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
        self._counted = False
        # Whether a callback logs the loss that `training_step` returns.
        self.loss_is_logged = False
        self._saved = ""

    @property
    def experiment(self) -> Trial:
        """The trial."""
        return self._run.open()

    @property
    def name(self) -> str:
        """The name of a new run."""
        return self._name

    @property
    def version(self) -> str:
        """The id of the runtime."""
        return self.experiment.runtime_id if rank_zero_only.rank == 0 else ""

    def counts(self) -> None:
        """Leave the steps to a callback."""
        self._counted = True

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *arguments: Any, **more: Any) -> None:
        """Declare parameters."""
        self.experiment.declare(vars(params) if isinstance(params, Namespace) else params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values at the step that was done last; a logger alone counts from Lightning's, which begin at 0."""
        trial = self.experiment
        values = series({name: value for name, value in metrics.items() if name != "epoch"})
        if self._counted:
            values = {key: value for key, value in values.items() if not self._is_callbacks(key)}
        if values:
            trial.log(values, step=trial.step if self._counted else (step or 0) + 1)

    def _is_callbacks(self, key: str) -> bool:
        """Tell whether the callback logs a series itself: each point is to be there once."""
        return key.startswith("eval/") or (key == "train/loss" and self.loss_is_logged)

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Record a checkpoint as a snapshot."""
        path = checkpoint_callback.last_model_path or checkpoint_callback.best_model_path
        newest = getattr(checkpoint_callback, "_last_checkpoint_saved", "") or path
        if newest and newest != self._saved and Path(newest).exists():
            self._saved = newest
            self.experiment.adopt(newest)

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
        self._trial: Trial | None = trial
        self._evaluation: Evaluation | None = None
        self._watched = False

    def checkpoint(self) -> str | None:
        """Return the checkpoint that a resumed run goes on from, for `fit(ckpt_path=...)`."""
        folder = self._run.open().restored_checkpoint()
        return str(next(folder.iterdir())) if folder is not None else None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the trial. Every process of a torchrun group has one."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, MilepostLogger)]
        self._trial = loggers[0].experiment if loggers and trainer.global_rank == 0 else self._run.open()
        for logger in loggers:
            logger.counts()
        self._trial.should_stop()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Declare the plan, and watch the optimizers."""
        trial = self._current()
        batches = _finite(trainer.num_training_batches)
        per_epoch = None if batches is None else max(1, -(-batches // trainer.accumulate_grad_batches))
        total = _finite(trainer.estimated_stepping_batches)
        trial.plan(
            total if total and total > 0 else None,
            steps_per_epoch=per_epoch,
            epochs=trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None,
            eval_every=_eval_every(trainer, per_epoch),
            batches_per_epoch=batches,
        )
        trial.position.epoch_batches = batches
        trial.advance(trainer.global_step)
        if not self._watched:
            self._watched = True
            for index, optimizer in enumerate(trainer.optimizers):
                trial.watch(optimizer, "train" if index == 0 else f"train/optimizer_{index}")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch, and a step where it ended one; log its loss; obey a stop."""
        trial = self._current()
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None:
            for logger in trainer.loggers:
                if isinstance(logger, MilepostLogger):
                    logger.loss_is_logged = True
            # Lightning has divided it by the number of micro-batches already.
            trial.accumulate({"train/loss": loss * trainer.accumulate_grad_batches})
        if trainer.global_step > trial.step:
            values = trial.local_mean()
            trial.advance(trainer.global_step, epoch=trainer.current_epoch, batch=batch_idx + 1)
            if values:
                trial.log(values, step=trainer.global_step)
        else:
            trial.advance(trial.step, epoch=trainer.current_epoch, batch=batch_idx + 1)
        if trial.should_stop() and not trainer.should_stop:
            trainer.should_stop = True
            self._save(trainer, trial)

    def _save(self, trainer: pl.Trainer, trial: Trial) -> None:
        """Save the state as it is; every process takes part."""
        with tempfile.TemporaryDirectory(prefix="milepost-") as folder:
            path = os.path.join(folder, f"step-{trainer.global_step}.ckpt")  # noqa: PTH118
            trainer.save_checkpoint(path)
            if Path(path).exists():
                trial.adopt(path)
                trial.wait_for_snapshot()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the end of an epoch."""
        if not self._current().left_for_stop:
            self._current().complete_epoch(trainer.current_epoch)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open an evaluation, but for the sanity check before training."""
        if trainer.sanity_checking or self._trial is None:
            return
        batches = [_finite(count) for count in trainer.num_val_batches]
        total = sum(count for count in batches if count is not None) if None not in batches else None
        self._evaluation = self._trial.evaluation(total, keep_random=False)
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

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the evaluation, with the values that the module has logged."""
        if self._evaluation is None:
            return
        evaluation, self._evaluation = self._evaluation, None
        found = series(dict(trainer.callback_metrics))
        evaluation.log({key: value for key, value in found.items() if key.startswith("eval/")})
        evaluation.__exit__(None, None, None)

    def _current(self) -> Trial:
        assert self._trial is not None, "fit has begun"
        return self._trial


def _finite(value: float) -> int | None:
    return None if value in (float("inf"), float("-inf")) else int(value)


def _eval_every(trainer: pl.Trainer, per_epoch: int | None) -> int | None:
    if per_epoch is None or not any(trainer.num_val_batches or ()):
        return per_epoch
    return per_epoch * (trainer.check_val_every_n_epoch or 1)
