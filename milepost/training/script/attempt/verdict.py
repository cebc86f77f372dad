"""What was decided about the attempt of a script, perhaps while there was no contact with it."""

from __future__ import annotations

from google.protobuf.message import Message

from milepost.api.event.v1 import trial_events_pb2 as facts


class Verdict:
    """Takes in the facts of a trial and says, to the script of one attempt, what they mean for it."""

    def __init__(self, attempt: int) -> None:
        self._attempt = attempt
        self._fence: facts.AttemptFenced | None = None
        self._stop: facts.TrialStopRequested | None = None
        self._next: facts.AttemptLaunched | None = None
        self._current = 0
        self._ended = False

    def note(self, payload: Message) -> None:
        """Take in the next fact."""
        match payload:
            case facts.AttemptLaunched():
                self._current = payload.attempt
                if payload.attempt > self._attempt and self._next is None:
                    self._next = payload
            case facts.TrialStopRequested() if self._current == self._attempt:
                self._stop = payload
            case facts.AttemptFenced() if payload.attempt == self._attempt:
                self._fence = payload
            case facts.AttemptEnded() if payload.attempt == self._attempt:
                self._ended = True

    @property
    def is_given_up(self) -> bool:
        """Whether others ended the attempt: it may write nothing more, and has not said its own end."""
        return not self._ended and (self._fence is not None or self._next is not None)

    def words(self) -> str:
        """Say what was decided, and what that means."""
        if self._stop is not None:
            why = f" ({self._stop.reason})" if self._stop.reason else ""
            return f"this run was stopped{why}; what it did after that is not recorded, and it stops at its next step"
        if self._next is not None:
            other = f"attempt {self._next.attempt} goes on with this run{_by(self._next)}"
            return f"{other}; nothing more of this process is recorded"
        detail = f": {self._fence.detail}" if self._fence is not None and self._fence.detail else ""
        return f"this run was given up{detail}; nothing more of it is recorded"


def _by(launched: facts.AttemptLaunched) -> str:
    if not launched.HasField("process"):
        return ""
    return f" in process {launched.process.process_id} on {launched.process.host}"
