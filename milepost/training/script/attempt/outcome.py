"""What the end of a process means for the run that it was."""

from __future__ import annotations

from google.protobuf.message import Message

from milepost.api.event.v1 import common_pb2 as common
from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.api.training.v1.training_pb2 import Finished
from milepost.training.process.process_end import Ending
from milepost.training.process.worker import classify


def outcome_of(ending: Ending) -> Finished:
    """Return what the end of a process means for what it did: Completed is what ends with status 0, nothing else."""
    said = Finished(outcome=facts.ATTEMPT_OUTCOME_COMPLETED, cause=common.EXIT_CAUSE_FINISHED)
    if ending.status is None:
        said.outcome, said.cause = facts.ATTEMPT_OUTCOME_FAILED, common.EXIT_CAUSE_EXCEPTION
        said.detail = "left by a SystemExit whose status cannot be known on this system; leave with sys.exit instead"
        return said
    if ending.interrupted:
        said.outcome, said.cause = facts.ATTEMPT_OUTCOME_STOPPED, common.EXIT_CAUSE_STOPPED
    elif ending.failed:
        said.outcome, said.detail = facts.ATTEMPT_OUTCOME_FAILED, ending.words()
        said.cause = common.EXIT_CAUSE_SIGNAL if ending.signal else _cause_of(ending.cause)
    if ending.signal:
        said.signal = ending.signal
    else:
        said.exit_code = ending.status
    return said


def _cause_of(error: BaseException | None) -> common.ExitCause:
    return common.EXIT_CAUSE_EXCEPTION if error is None else classify(error).cause


def facts_of_end(said: Finished, attempt: int) -> tuple[Message, Message]:
    """State how an attempt has ended."""
    exited = facts.InstanceExited(attempt=attempt, cause=said.cause, detail=said.detail)
    if said.HasField("signal"):
        exited.signal = said.signal
    elif said.HasField("exit_code"):
        exited.exit_code = said.exit_code
    ended = facts.AttemptEnded(
        attempt=attempt,
        outcome=said.outcome,
        cause=said.cause,
        detail=said.detail,
        last_step=said.last_step,
        unsent_batch_count=said.unsent_batch_count,
    )
    return exited, ended
