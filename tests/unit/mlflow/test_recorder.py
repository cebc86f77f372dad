"""Points that clients of MLflow send."""

from __future__ import annotations

import math

from services.mlflow.recorder import Point


def test_a_point_is_known_again_also_if_it_is_nan() -> None:
    assert Point("x", 1, 2, math.nan).identity == Point("x", 1, 2, float("nan")).identity
    assert Point("x", 1, 2, 3.0).identity != Point("x", 1, 3, 3.0).identity
