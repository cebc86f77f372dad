"""What is behind an event. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from milepost.api.event.v1 import recorded_event_pb2 as events_api

# More than any chain of one runtime has between two commands of a person.
MAX_CHAIN = 1_000


def cause_chain(
    event: events_api.RecordedEvent, known: Mapping[str, events_api.RecordedEvent]
) -> list[events_api.RecordedEvent]:
    """List an event, its cause, the cause of that, and so on: the newest first.

    It ends with an event that a command brought about (its actor says who gave it), or whose cause is not known.
    """
    chain = [event]
    while len(chain) < MAX_CHAIN:
        cause = known.get(chain[-1].cause)
        # A cause is always earlier; anything else is a forgery, and might go round for ever.
        if cause is None or cause.sequence >= chain[-1].sequence:
            break
        chain.append(cause)
    return chain
