"""The password of a ClickHouse server comes from one place, or the service says why it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.metrics.storage.store import StoreFailed, open_server


@pytest.mark.parametrize(
    ("address", "content", "message"),
    [
        ("http://default:one@localhost:1/milepost", "other", "take one out"),
        ("http://localhost:1/milepost", "\n", "is empty"),
        ("http://localhost:1/milepost", None, "cannot be read"),
    ],
)
async def test_a_password_that_cannot_be_used_is_said(
    address: str, content: str | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    with pytest.raises(StoreFailed, match=message):
        await open_server(address, password_file=str(file))
