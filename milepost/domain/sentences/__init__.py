"""Every event as one sentence for people, and the words of the closed sets.

In: a fact. Out: `Snapshot at step 400 committed (3.4 MB in 0.2 s)`, without the name of its runtime or trial.

- `of_runtimes`, `of_trials`, `of_the_platform`: a table of the sentences of each kind of chain, and what they are made of.
- `words`: what a member of a closed set is called. `quantities`: how a count, a duration, a size is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from milepost.domain.sentences import of_runtimes, of_the_platform, of_trials
from milepost.domain.sentences.of_runtimes import pruning
from milepost.domain.sentences.quantities import duration, number, plural
from milepost.domain.sentences.words import (
    ACCESS_RESULTS,
    CLEAR_REASONS,
    EXIT_CAUSES,
    FAILURE_REASONS,
    FENCE_REASONS,
    HEALTHS,
    LAUNCH_REASONS,
    OBJECTIVE_OUTCOMES,
    OUTCOMES,
    PENDING_REASONS,
    SEARCH_ENDS,
    SNAPSHOT_DELETE_REASONS,
    SNAPSHOT_REASONS,
    STOP_MODES,
)

__all__ = [
    "ACCESS_RESULTS",
    "CLEAR_REASONS",
    "EXIT_CAUSES",
    "FAILURE_REASONS",
    "FENCE_REASONS",
    "HEALTHS",
    "LAUNCH_REASONS",
    "OBJECTIVE_OUTCOMES",
    "OUTCOMES",
    "PENDING_REASONS",
    "SEARCH_ENDS",
    "SENTENCES",
    "SNAPSHOT_DELETE_REASONS",
    "SNAPSHOT_REASONS",
    "STOP_MODES",
    "duration",
    "number",
    "plural",
    "pruning",
    "sentence",
]

SENTENCES: dict[type[Message], Callable[[Any], str]] = {
    **of_runtimes.SENTENCES,
    **of_trials.SENTENCES,
    **of_the_platform.SENTENCES,
}


def sentence(payload: Message) -> str:
    """Say an event in one sentence, without the name of its runtime or trial."""
    return SENTENCES[type(payload)](payload)
