"""Tokens, tokens a second and MFU, against numbers that are reckoned here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import milepost
from milepost.snapshots import Manifest
from milepost.training.loop.host import NullHost, Rank
from milepost.training.loop.said.declared import Declared
from milepost.training.loop.values.peaks import peak_of
from milepost.training.loop.values.tokens import Tokens
from milepost.training.telemetry import system_metrics
from milepost.training.telemetry.batches import Position
from milepost.training.telemetry.system_metrics import SystemSampler


class Loop:
    """Tokens of a loop, what it would log, what it declares and what is warned of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ranks: int = 1) -> None:
        self.host = NullHost(milepost.training.loop.host.AttemptLaunch(), Rank(0, ranks))
        self.said: list[str] = []
        monkeypatch.setattr(self.host, "warn", lambda problem, text: self.said.append(text))
        self.pending: dict[str, Any] = {}
        self.declared: dict[str, Any] = {}
        self.tokens = Tokens(self.host, self.pending, self._declare)

    def _declare(self, said: Declared) -> None:
        self.declared |= {name: json.loads(text) for name, text in said.parameters.items()}


def test_tokens_of_micro_batches_add_up_and_a_boundary_has_those_of_whole_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = Loop(monkeypatch)
    position = loop.host.position
    loop.tokens.count(100)
    loop.tokens.count(torch.tensor(28))
    assert loop.pending == {"train/tokens": 128}
    assert position.tokens_at_boundary == 0, "the step is not over"
    position.step = 1
    assert position.tokens_at_boundary == 128
    loop.tokens.count(64)
    assert (loop.pending["train/tokens"], position.tokens_at_boundary) == (192, 128)
    for wrong in (-1, 0.5, "many", None):
        loop.tokens.count(wrong)
    assert position.tokens == 192
    assert len(loop.said) == 4


@pytest.mark.parametrize("peak", [312e12, None])
def test_mfu_is_six_operations_for_each_parameter_over_the_peak_of_all_devices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, peak: float | None
) -> None:
    ranks = 1 if peak else 4
    loop = Loop(monkeypatch, ranks)
    if peak is None:
        cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda: "NVIDIA A100-SXM4-80GB")
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    loop.tokens.flops(1_000_000_000, peak=peak, per_token=None)
    assert loop.declared["compute.flops_per_token"] == 6e9
    assert loop.declared["compute.flops_per_token_is"] == "6 x 1,000,000,000 parameters"
    table = "table: 4 x NVIDIA A100-SXM4-80GB, 312e12 dense in 16 bits"
    assert loop.declared["compute.peak_is"] == (table if peak is None else "declared")
    assert loop.declared["compute.peak_flops_per_second"] == ranks * 312e12

    now = iter([100.0, 110.0, 120.0])
    monkeypatch.setattr(system_metrics, "time", SimpleNamespace(monotonic=lambda: next(now)))
    sampler = SystemSampler.__new__(SystemSampler)
    sampler._prefix, sampler._seconds, sampler._command = "system/", 10.0, None
    sampler._process = sampler._nvml = None
    position = loop.host.position
    position.tokens = 5_000
    sampler.begin(0, position.tokens)
    loop.tokens.count(200_000)
    position.step = 5
    first = sampler.sample(position)
    assert first["system/tokens_per_second"] == 20_000, "those of earlier attempts are not of this one"
    # 20,000 tokens a second at 6e9 operations each are 1.2e14; a device does 3.12e14.
    assert first["system/mfu_percent"] == pytest.approx(100 * 1.2e14 / (ranks * 3.12e14))
    position.step = 6
    assert "system/tokens_per_second" not in sampler.sample(position), "no tokens were counted since"


def test_what_is_declared_wins_and_a_module_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(monkeypatch)
    loop.tokens.flops(torch.nn.Linear(9, 10), per_token=None, peak=6e6)
    assert loop.declared["compute.flops_per_token_is"] == "6 x 100 parameters"
    assert loop.host.position.mfu_per_token == pytest.approx(600 / 6e6)
    loop.tokens.flops(None, per_token=50.0, peak=1e3)
    assert loop.declared["compute.flops_per_token_is"] == "declared"
    assert loop.host.position.mfu_per_token == pytest.approx(0.05)


def test_without_a_peak_or_a_size_there_is_no_mfu_and_a_word_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loop.tokens.flops(10, per_token=None, peak=None)
    assert "flops(peak=...)" in loop.said[-1] and loop.host.position.mfu_per_token == 0
    loop.tokens.flops(None, per_token=None, peak=1.0)
    assert "a number of parameters" in loop.said[-1]


def test_ranks_other_than_the_first_say_nothing_of_tokens_of_all(tmp_path: Path) -> None:
    sampler = SystemSampler(3, tmp_path)
    sampler._seconds = 0.0
    found = sampler.sample(Position(step=1, tokens=100))
    assert found and not any("tokens" in name for name in found)


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("Tesla T4", 65e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_a_device_is_known_by_its_name(device: str, peak: float | None) -> None:
    assert peak_of(device) == peak


def test_a_manifest_names_tokens_only_where_some_were_counted() -> None:
    """An earlier version does not know of them."""
    plain = Manifest("rt-1", 1, 1, "step-1", 1, 0, 0, 1)
    assert "tokens" not in json.loads(plain.encode())
    counted = Manifest("rt-1", 1, 1, "step-1", 1, 0, 0, 1, tokens=7)
    assert Manifest(**json.loads(counted.encode())) == counted
