"""Messages that a service could not take in: it goes on without them, says so, and they are listed.

A stream is read again from the same place by every start, so a message that a reader breaks on would break it for ever.
What can be in a message is tested with hostile ones; this is for the fault that is left: it costs one message, not the
service.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from milepost.installation import observability

log = logging.getLogger(__name__)

# Sequences that are kept; of more there is only the number.
MAX_LISTED = 1_000


class SetAside:
    """What one reader of one stream has set aside, by sequence.

    Args:
        reader: who could not take it in, for logs and metrics.
        stream: of which stream.
    """

    def __init__(self, reader: str, stream: str) -> None:
        self.count = 0
        # Sequence -> subject and error, of the first ones.
        self.listed: dict[int, tuple[str, str]] = {}
        self._names = {"reader": reader, "stream": stream}
        self._counter = observability.counter(
            "milepost.set_aside", "Messages of a stream that a service could not take in and goes on without"
        )
        self._counter.add(0, self._names)

    def add(self, sequence: int, subject: str, error: BaseException) -> None:
        """Note a message, with what it led to. Call it where the error was caught: the trace is logged."""
        self.count += 1
        self._counter.add(1, self._names)
        if len(self.listed) < MAX_LISTED:
            self.listed[sequence] = (subject, f"{type(error).__name__}: {error}"[:300])
            log.error(
                "message.set_aside", exc_info=error, extra={"sequence": sequence, "subject": subject, **self._names}
            )

    def sentences(self, runtime_id: str = "") -> list[str]:
        """Say what was set aside, of one runtime or of all."""
        return [
            f"{self._names['reader']} set message {sequence} on {subject} aside: {error}"
            for sequence, (subject, error) in self.listed.items()
            if not runtime_id or subject.split(".")[1:2] == [runtime_id]
        ]

    def to_json(self) -> dict[str, list[str]]:
        """Write down what is listed."""
        return {str(sequence): list(words) for sequence, words in self.listed.items()}

    def restore(self, written: Mapping[str, list[str]]) -> None:
        """Take over what `to_json` wrote."""
        self.listed = {int(sequence): (words[0], words[1]) for sequence, words in written.items()}
        self.count = len(self.listed)
