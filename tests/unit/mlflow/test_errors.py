"""Our errors in MLflow's codes."""

from __future__ import annotations

from milepost.errors import InvalidArgument, MilepostError
from services.mlflow.errors import STATUSES, code_of


def test_every_error_has_a_code_of_mlflow() -> None:
    kinds = MilepostError.__subclasses__()
    assert kinds
    for kind in kinds:
        error = kind([]) if kind is InvalidArgument else kind("text")
        assert code_of(error) in STATUSES
