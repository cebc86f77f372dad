"""One stack serves most end-to-end tests: starting one takes seconds, and a stack must survive all of them anyway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import StackProcess


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """A running stack, shared by all tests that do not stop it for good."""
    running = StackProcess(tmp_path_factory.mktemp("stack") / "data")
    try:
        yield running.start()
    finally:
        running.end()


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[StackProcess]:
    """A stack for one test, not started yet."""
    made = StackProcess(tmp_path / "data")
    try:
        yield made
    finally:
        made.end()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the last lines of the stack beside a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    for name in ("stack", "own_stack"):
        used = getattr(item, "funcargs", {}).get(name)
        if report.failed and isinstance(used, StackProcess) and used.output.exists():
            report.sections.append((f"last lines of {name}", used.tail()))
