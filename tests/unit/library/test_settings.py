"""Settings come from flags, then variables, then a file, then defaults, and each knows its origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from services import settings


def test_a_flag_wins_over_a_variable_over_a_file_over_a_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("data_dir: /from/file\nnats_url: nats://file:1\nlog_level: DEBUG\n")
    environment = {
        "MILEPOST_CONFIG": str(file),
        "MILEPOST_DATA_DIR": "/from/variable",
        "MILEPOST_NATS_URL": "nats://v:1",
    }

    loaded = settings.load(["--data-dir", "/from/flag"], environment)

    assert (loaded["data_dir"], loaded.origin("data_dir")) == ("/from/flag", "flag")
    assert (loaded["nats_url"], loaded.origin("nats_url")) == ("nats://v:1", "environment")
    assert (loaded["log_level"], loaded.origin("log_level")) == ("DEBUG", "file")
    assert (loaded["replicas"], loaded.origin("replicas")) == ("1", "default")


def test_an_unknown_setting_in_the_file_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("data_dri: /typo\n")

    with pytest.raises(SystemExit):
        settings.load([], {"MILEPOST_CONFIG": str(file)})

    assert "data_dri" in capsys.readouterr().err
