"""What an instance tells of its machine and its speed."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from milepost.series_names import parse
from milepost.training.telemetry import system_metrics
from milepost.training.telemetry.batches import Position
from milepost.training.telemetry.system_metrics import SystemSampler

ALWAYS = {
    "steps_per_second", "samples_per_second", "cpu_percent", "host_cpu_percent", "memory_bytes", "host_memory_percent",
    "disk_read_bytes_per_second", "disk_write_bytes_per_second", "disk_used_percent",
    "network_sent_bytes_per_second", "network_received_bytes_per_second",
}  # fmt: skip


class _TwoGpus:
    """Stands for the management library where no GPU is."""

    NVMLError = OSError

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:
        return SimpleNamespace(gpu=40 + device)

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:
        return SimpleNamespace(used=(1 + device) << 30)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_metrics, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(system_metrics, "open_nvml", _TwoGpus)


def test_the_first_sample_has_everything_with_the_gpus(tmp_path: Path) -> None:
    sampler = SystemSampler(0, tmp_path)
    sampler.begin(100)
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    values = sampler.sample(Position(step=110, samples=32))
    gpus = {f"gpu_{n}_{what}" for n in (0, 1) for what in ("percent", "memory_bytes")}
    assert set(values) == {f"system/{name}" for name in ALWAYS | gpus}
    assert (values["system/gpu_1_percent"], values["system/gpu_1_memory_bytes"]) == (41.0, 2.0 * 2**30)
    assert values["system/samples_per_second"] == 32 * values["system/steps_per_second"] > 0
    assert values["system/memory_bytes"] > 1 << 20
    assert 0 < values["system/disk_used_percent"] <= 100


def test_each_instance_has_series_of_its_own(tmp_path: Path) -> None:
    values = SystemSampler(3, tmp_path).sample(Position(step=1))
    assert all(name.startswith("system/rank_3/") and parse(name) == name for name in values)
    assert "system/rank_3/samples_per_second" not in values


def test_nothing_is_said_while_no_step_is_done(tmp_path: Path) -> None:
    sampler = SystemSampler(0, tmp_path)
    sampler.begin(7)
    assert sampler.sample(Position(step=7)) == {}
