"""Names of series as other libraries write them."""

from __future__ import annotations

import pytest

from milepost.integrations.names import SeriesNames, series_key


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("loss", "train/loss"), ("train_loss", "train/loss"), ("train_loss_step", "train/loss_step"),
        ("val_loss_epoch", "eval/loss_epoch"), ("eval_loss", "eval/loss"),
        ("val_loss", "eval/loss"), ("validation/accuracy", "eval/accuracy"), ("learning_rate", "train/learning_rate"),
        ("test_f1", "test/f1"), ("train/loss", "train/loss"), ("epoch", "epoch"), ("evaluate", "evaluate"),
    ],
)  # fmt: skip
def test_names_of_other_libraries(given: str, expected: str) -> None:
    assert series_key(given) == expected


def test_no_two_names_of_a_library_become_one_series() -> None:
    names = SeriesNames()
    assert names.series({"train_loss_step": 1, "train_loss_epoch": 2, "val_loss": 3}) == {
        "train/loss_step": 1, "train/loss_epoch": 2, "eval/loss": 3,
    }  # fmt: skip
    assert names.series({"eval_loss": 4, "val_loss": 5}) == {"eval_loss": 4, "eval/loss": 5}
    assert names.series({"valid/loss": 6}) == {"valid/loss": 6}
