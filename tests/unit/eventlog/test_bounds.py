"""What is cut of an event that is too large, and that nothing of what our own clients may say is lost by it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from milepost.api.event.v1 import trial_events_pb2 as facts
from milepost.configuration import scalar_text
from milepost.eventlog import codec
from milepost.eventlog.bounds import MAX_VALUE, scalars
from milepost.training.loop.said import declared
from services.mlflow.bodies import MAX_PARAMETER, MAX_TAG

# Characters that JSON writes as one, two, six and twelve.
REPEATED = st.builds(
    lambda character, count: character * count,
    st.sampled_from('p"\n\x01\u00e9\U0001f600'),
    st.integers(MAX_PARAMETER - 2, MAX_VALUE + 2_000),
)


def read(parameter: str, label: str = "") -> facts.ParametersDeclared:
    """Write an event of an attempt, and read it as services do."""
    payload = facts.ParametersDeclared(attempt=1, parameters={"p": parameter}, labels={"t": label})
    decoded = codec.decode(*codec.encode(payload))
    assert isinstance(decoded, facts.ParametersDeclared)
    return decoded


def test_what_clients_may_give_is_within_the_bounds() -> None:
    assert max(MAX_PARAMETER, MAX_TAG, declared.MAX_TEXT, declared.MAX_LABEL) <= MAX_VALUE


@given(REPEATED, st.booleans())
def test_a_long_parameter_is_cut_and_never_lost(text: str, as_ascii: bool) -> None:
    """Its JSON text is longer than itself, and stays JSON."""
    kept = scalars(read(json.dumps(text) if as_ascii else scalar_text(text)).parameters)
    expected = text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
    assert json.loads(kept["p"]) == expected


def test_half_a_character_does_not_stop_the_reader() -> None:
    assert json.loads(scalars(read('"' + "\\ud800" * 9_000 + '"').parameters)["p"])[:2] == "\ud800\ud800"


def test_labels_are_cut_whatever_they_look_like() -> None:
    for label in ("t" * 9_000, '"' + "t" * 9_000, '"' + "t" * 9_000 + '"', '"' + "\\n" * 9_000 + '"'):
        assert len(read("1", label).labels["t"]) <= 2 * MAX_VALUE + 6
