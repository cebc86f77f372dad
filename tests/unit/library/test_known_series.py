"""Series of training libraries, known by their names: the command line and the page have one table."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deploy.vendor_web import node
from milepost.series.known import TABLE, known, order

PAGE = Path(__file__).resolve().parents[3] / "services" / "gateway" / "web" / "functions" / "known.js"


def test_the_page_has_the_same_table() -> None:
    program = f"import {{ table }} from '{PAGE.as_uri()}'; console.log(JSON.stringify(table))"
    done = subprocess.run([*node(), "--input-type=module", "-e", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [list(row) for row in TABLE]


@pytest.mark.parametrize(
    ("key", "title", "unit"),
    [
        ("train/tokens", "Tokens seen", "tokens"),
        ("system/mfu_percent", "MFU", "%"),
        ("train/learning_rate_1", "Learning rate, group 1", ""),
        ("rewards/short_answer/mean", "Reward: short answer", ""),
        ("critic/vf_loss", "Loss: vf", ""),
        ("actor/pg_clipfrac", "Clip fraction", ""),
        ("completions/mean_length", "Completion length", "tokens"),
        ("timing_s/gen", "Rollout time", "s"),
    ],
)
def test_a_series_is_known_by_its_whole_name(key: str, title: str, unit: str) -> None:
    found = known(key)
    assert found is not None and (found.title, found.unit) == (title, unit)
    assert known(f"my/{key}/too") is None


def test_known_series_come_first_in_their_order() -> None:
    keys = ["zeta", "kl", "alpha", "train/loss", "reward", "train/tokens"]
    assert sorted(keys, key=order) == ["train/tokens", "train/loss", "reward", "kl", "alpha", "zeta"]
