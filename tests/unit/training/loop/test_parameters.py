"""Parameters of an entrypoint."""

from __future__ import annotations

import pytest

from milepost.training.loop.parameters import BadParameter, Parameters, bind


def test_parameters_must_be_those_that_the_entrypoint_names() -> None:
    def train(trial: object, *, rate: float, steps: int = 3) -> None: ...

    assert bind(train, Parameters({"rate": "0.1"})) == {"rate": 0.1}
    with pytest.raises(BadParameter, match="takes no parameter speed"):
        bind(train, Parameters({"rate": "0.1", "speed": "1"}))
    with pytest.raises(BadParameter, match="needs rate"):
        bind(train, Parameters({}))
