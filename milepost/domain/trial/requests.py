"""Decisions about what people, searches and rules ask of a trial: to be, to stop, to resume, to go back, to change."""

from __future__ import annotations

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.domain import stalls, steering
from milepost.domain.decider import to_timestamp
from milepost.domain.trial.attempts import stopped_fact
from milepost.domain.trial.commands import (
    CreateTrial,
    RequestEvaluation,
    RequestSnapshot,
    RequestStacks,
    ResumeTrial,
    RollBackTrial,
    SteerTrial,
    StopTrial,
)
from milepost.domain.trial.lineage import goes_back_to, is_step_of, known_snapshots
from milepost.domain.trial.states import (
    Active,
    Completed,
    Failed,
    Queued,
    Retrying,
    SnapshotRecord,
    Stopped,
    Trial,
    describe,
    label,
)
from milepost.errors import AlreadyExists, FailedPrecondition, NotFound


def create(state: Trial, command: CreateTrial) -> list[Message]:
    if state.situation is not None:
        if (state.runtime_id, state.number) == (command.runtime_id, command.trial):
            return []
        raise AlreadyExists(f"trial {command.trial} exists", reason="TRIAL_EXISTS")
    return [
        facts.TrialCreated(
            runtime_id=command.runtime_id,
            trial=command.trial,
            parameters=command.parameters,
            searched_parameters=command.searched_parameters,
            origin=command.origin,
            rung_steps=command.rung_steps,
        )
    ]


def stop(state: Trial, command: StopTrial) -> list[Message]:
    situation = state.situation
    if isinstance(situation, Stopped):
        return []
    if isinstance(situation, Completed | Failed):
        raise FailedPrecondition(
            f"{label(state)} is {describe(state)}; only a running or waiting trial can be stopped",
            reason="TRIAL_ENDED",
        )
    order = facts.TrialStopRequested(
        mode=command.mode,
        deadline_time=to_timestamp(command.deadline_time),
        reason=command.reason,
        pruned=command.pruned,
    )
    if isinstance(situation, Active):
        known = situation.stop
        # Also one that is to go on elsewhere: a stop wins.
        no_stronger = known is not None and (
            known.mode == common.STOP_MODE_ABRUPT or command.mode != common.STOP_MODE_ABRUPT
        )
        # An attempt that has ended but is not concluded takes the order too: a stop wins over a retry.
        return [] if no_stronger else [order]
    return [order, stopped_fact(state, command.reason, pruned=command.pruned)]


def resume(state: Trial, command: ResumeTrial) -> list[Message]:
    situation = state.situation
    if isinstance(situation, Queued | Retrying):
        return []
    if isinstance(situation, Active):
        if situation.stop is not None:
            raise FailedPrecondition(
                f"{label(state)} is stopping; resume it when it is stopped", reason="TRIAL_STOPPING"
            )
        return []
    if isinstance(situation, Completed) and not command.extends:
        raise FailedPrecondition(
            f"{label(state)} is Completed; it can go on only with a larger total", reason="TRIAL_COMPLETED"
        )
    if command.snapshot_id:
        named = _named_snapshot(state, command.snapshot_id)
        if named.superseded:
            # Its steps belong to another attempt now; going on from it would make two histories of one trial.
            raise FailedPrecondition(
                f"{label(state)}: {command.snapshot_id} was superseded by a later attempt; branch the trial there to go on "
                "from it",
                reason="SNAPSHOT_SUPERSEDED",
            )
    return [facts.TrialResumeRequested(snapshot_id=command.snapshot_id)]


def _training(state: Trial, so_that: str) -> Active:
    """Return the attempt that trains.

    Raises:
        FailedPrecondition: none does, or it is being ended.
    """
    active = state.active
    if active is None or not active.may_write or not active.started:
        raise FailedPrecondition(
            f"{label(state)} is {describe(state)}, and no attempt of it trains: {so_that}", reason="NOT_TRAINING"
        )
    if active.stop is not None or active.roll_back is not None:
        raise FailedPrecondition(f"{label(state)}: attempt {active.attempt} is being ended", reason="TRIAL_STOPPING")
    return active


def request_snapshot(state: Trial, command: RequestSnapshot) -> list[Message]:
    active = _training(state, "there is nothing new to save")
    if active.snapshot_wanted or (command.request_id and command.request_id == active.snapshot_request_id):
        return []
    return [facts.TrialSnapshotRequested(attempt=active.attempt, reason=command.reason, request_id=command.request_id)]


def request_evaluation(state: Trial, command: RequestEvaluation) -> list[Message]:
    active = _training(state, "there is nobody to evaluate")
    if active.evaluation_wanted or (command.request_id and command.request_id == active.evaluation_request_id):
        return []
    return [
        facts.TrialEvaluationRequested(attempt=active.attempt, reason=command.reason, request_id=command.request_id)
    ]


def request_stacks(state: Trial, command: RequestStacks) -> list[Message]:
    active = _training(state, "there is nothing to look at")
    if command.request_id and command.request_id == active.stalls.request_id:
        return []
    if active.stalls.requests >= stalls.MAX_REQUESTS:
        raise FailedPrecondition(
            f"{label(state)}: the stacks of attempt {active.attempt} were asked for {stalls.MAX_REQUESTS} times, and are in "
            "its events",
            reason="TOO_MANY_REQUESTS",
        )
    return [facts.TrialStacksRequested(attempt=active.attempt, reason=command.reason, request_id=command.request_id)]


def _named_snapshot(state: Trial, snapshot_id: str) -> SnapshotRecord:
    named = next((s for s in known_snapshots(state) if s.snapshot_id == snapshot_id), None)
    if named is None:
        raise NotFound(f"{label(state)} has no snapshot {snapshot_id}", reason="SNAPSHOT_NOT_FOUND")
    return named


def roll_back(state: Trial, command: RollBackTrial) -> list[Message]:
    active = state.active
    if command.request_id and command.request_id in state.roll_backs:
        return []
    named = _named_snapshot(state, command.snapshot_id)
    if named.superseded:
        raise FailedPrecondition(
            f"{label(state)}: {command.snapshot_id} was superseded by a later attempt", reason="SNAPSHOT_SUPERSEDED"
        )
    if command.attempt and not is_step_of(state, command.step, command.attempt):
        raise FailedPrecondition(
            f"{label(state)}: step {command.step} of attempt {command.attempt} is abandoned already",
            reason="STEPS_ABANDONED",
        )
    if active is not None and active.stop is not None:
        raise FailedPrecondition(
            f"{label(state)} is stopping; roll it back when it is stopped", reason="TRIAL_STOPPING"
        )
    if command.snapshot_id == goes_back_to(state):
        return []
    if command.max_times and len(state.roll_backs) >= command.max_times:
        times = "once" if command.max_times == 1 else f"{command.max_times} times"
        raise FailedPrecondition(f"{label(state)} was rolled back {times} already", reason="ROLLED_BACK_OFTEN")
    return [
        facts.TrialRollBackRequested(
            snapshot_id=named.snapshot_id,
            snapshot_step=named.step,
            attempt=active.attempt if active is not None else 0,
            parameters=command.parameters,
            skip_batches=state.skip_of(named.snapshot_id) + command.skip_batches,
            reason=command.reason,
            request_id=command.request_id,
        )
    ]


def steer(state: Trial, command: SteerTrial) -> list[Message]:
    known = state.steering
    if command.request_id and command.request_id in known.request_ids:
        return []
    if isinstance(state.situation, Completed | Failed):
        raise FailedPrecondition(
            f"{label(state)} is {describe(state)}; only a running or waiting trial can be steered",
            reason="TRIAL_ENDED",
        )
    if not known.steerables:
        raise FailedPrecondition(
            f"the code of {label(state)} has declared nothing steerable: it says trial.steerable(name, value), and has to "
            "run once to say so",
            reason="NOT_STEERABLE",
        )
    parameters = steering.read(known, command.values)
    if known.count >= steering.MAX_REQUESTS or len(known.waiting) >= steering.MAX_WAITING:
        waits = len(known.waiting) >= steering.MAX_WAITING
        raise FailedPrecondition(
            f"{label(state)} was asked to change values {known.count:,} times"
            f"{', and the last are still to be carried out' if waits else ''}; it takes no more",
            reason="STEERED_OFTEN",
        )
    return [
        facts.TrialSteerRequested(
            number=known.count + 1,
            parameters=parameters,
            actor=command.actor,
            reason=command.reason,
            request_id=command.request_id,
        )
    ]
