"""A process of torchrun knows its place in the group."""

from __future__ import annotations

import pytest

from milepost.training.script.group import Place, place_of_this_process


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, Place()),
        ({"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "3"}, Place(1, 2, "3")),
        ({"RANK": "2", "WORLD_SIZE": "2"}, Place()),
        # As Lightning starts the processes of the other ranks.
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, Place(1, 2)),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1", "WORLD_SIZE": "4"}, Place(1, 4)),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, Place()),
        ({"RANK": "x", "WORLD_SIZE": "2"}, Place()),
    ],
)
def test_a_process_knows_its_place(environment: dict[str, str], place: Place) -> None:
    assert place_of_this_process(environment) == place
