"""What a stop at this moment would lose. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from milepost.api.runtime.v1 import runtime_service_pb2 as api
from milepost.domain import trial
from milepost.domain.sentences import duration, number, plural
from milepost.names import AttemptKey
from services.runtime.readmodel.view import RuntimeView, TrialView

# The last step that an attempt has done, as far as is known.
CurrentStep = Callable[[AttemptKey], int]


def preview(view: RuntimeView, only: int, current_step: CurrentStep, now: datetime) -> api.PreviewStopResponse:
    """Say what an abrupt stop of a runtime, or of one trial, would lose now.

    Args:
        only: number of the trial; 0: all.
    """
    losses = [
        _loss(view, one, current_step, now)
        for one in view.trials.values()
        if only in (0, one.number) and one.state.active is not None
    ]
    return api.PreviewStopResponse(
        losses=losses,
        abrupt_message=_abrupt_words(losses),
        graceful_message=_graceful_words(losses),
        stoppable=view.state.in_progress,
    )


def _loss(view: RuntimeView, one: TrialView, current_step: CurrentStep, now: datetime) -> api.StopLoss:
    active = one.state.active
    assert active is not None, "only running trials are asked about"
    step = max(active.last_step, current_step(AttemptKey(view.runtime_id, one.number, active.attempt)))
    snapshots = trial.restorable_snapshots(one.state)
    saves = one.state.plan.gives_state or any(s.attempt == active.attempt for s in snapshots)
    loss = api.StopLoss(trial=one.number, current_step=step, graceful_saves=saves)
    origin = trial.origin_record(one.state)
    since = one.last["AttemptStarted"].time if active.started and "AttemptStarted" in one.last else now
    if snapshots:
        newest = snapshots[0]
        loss.snapshot_step, loss.snapshot_id = newest.step, newest.snapshot_id
        committed = one.snapshots[newest.snapshot_id].commit_time.ToDatetime(now.tzinfo)
        since = max(since, committed)
    elif origin is not None:
        loss.snapshot_step, loss.snapshot_id = origin.step, origin.snapshot_id
    loss.lost_steps = max(0, step - loss.snapshot_step)
    loss.lost_time.FromTimedelta(max(now - since, now - now) if loss.lost_steps else now - now)
    return loss


def _graceful_words(losses: list[api.StopLoss]) -> str:
    lost = [loss for loss in losses if not loss.graceful_saves and loss.lost_steps]
    if lost:
        return (
            "the training code has given no state to save (trial.maybe_snapshot): unless it saves a checkpoint of its own, "
            f"this is lost: {_abrupt_words(lost)}"
        )
    if all(loss.graceful_saves for loss in losses):
        return "takes a snapshot at the next step, so nothing is lost" if losses else "nothing is lost"
    return "nothing is lost: no step has been done that is not saved"


def _abrupt_words(losses: list[api.StopLoss]) -> str:
    if not losses:
        return "nothing is lost: no trial runs"
    if len(losses) == 1:
        return _words(losses[0])
    steps = sum(loss.lost_steps for loss in losses)
    return f"{plural(steps, 'step')} in {len(losses)} trials: " + "; ".join(
        f"trial {o.trial}: {_words(o)}" for o in losses
    )


def _words(loss: api.StopLoss) -> str:
    time = duration(loss.lost_time.ToTimedelta().total_seconds())
    if not loss.snapshot_id:
        return f"{plural(loss.lost_steps, 'step')}, {time}: there is no snapshot yet"
    if not loss.lost_steps:
        return f"nothing since the snapshot at step {number(loss.snapshot_step)}"
    return f"{plural(loss.lost_steps, 'step')}, {time} since the snapshot at step {number(loss.snapshot_step)}"
