"""Every fault is made in `make test-faults`; those without the mark `faults` are quick enough for each test run too."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick ones, before the marks are looked at."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("faults") is None:
            item.add_marker(pytest.mark.quick_faults)
