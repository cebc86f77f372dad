"""What a training process uses of its machine, as series under `system/`."""

from __future__ import annotations

import importlib
import os
import time
from contextlib import suppress
from typing import Any

SAMPLE_SECONDS = 10.0


class SystemSampler:
    """Reads use of CPU, memory, disk, network and GPUs. Without psutil it reads nothing."""

    def __init__(self) -> None:
        self._process: Any = None
        self._last: dict[str, float] = {}
        self._last_time = 0.0
        self._sampled = time.monotonic()
        self._sampled_step = 0
        self._nvml = _open_nvml()
        with suppress(ImportError):
            import psutil

            self._psutil = psutil
            self._process = psutil.Process(os.getpid())
            self._process.cpu_percent()

    def sample(self, step: int) -> dict[str, float]:
        """Return the values since the last sample; empty while it is not time, or no step was done since."""
        now = time.monotonic()
        if now - self._sampled < SAMPLE_SECONDS or step <= self._sampled_step:
            return {}
        values = {"system/steps_per_second": (step - self._sampled_step) / (now - self._sampled)}
        self._sampled, self._sampled_step = now, step
        if self._process is not None:
            with suppress(self._psutil.Error, OSError):
                values |= self._read_process(now)
        if self._nvml is not None:
            values |= _read_gpus(self._nvml)
        return values

    def begin(self, step: int) -> None:
        """Count steps from here: those before belong to earlier attempts."""
        self._sampled, self._sampled_step = time.monotonic(), step

    def _read_process(self, now: float) -> dict[str, float]:
        values = {
            "system/cpu_percent": self._process.cpu_percent(),
            "system/memory_bytes": float(self._process.memory_info().rss),
            "system/host_memory_percent": self._psutil.virtual_memory().percent,
        }
        disk = self._process.io_counters()
        network = self._psutil.net_io_counters()
        counters = {
            "system/disk_read_bytes_per_second": float(disk.read_bytes),
            "system/disk_write_bytes_per_second": float(disk.write_bytes),
            "system/network_sent_bytes_per_second": float(network.bytes_sent),
            "system/network_received_bytes_per_second": float(network.bytes_recv),
        }
        if self._last:
            elapsed = now - self._last_time
            values |= {key: max(0.0, value - self._last[key]) / elapsed for key, value in counters.items()}
        self._last, self._last_time = counters, now
        return values


def _open_nvml() -> Any | None:
    """Open NVIDIA's management library; None where there is none."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # absent, or its library is: both are no reason to stop
        return None
    return nvml


def _read_gpus(nvml: Any) -> dict[str, float]:
    values: dict[str, float] = {}
    with suppress(nvml.NVMLError):
        for index in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            values[f"system/gpu_{index}_percent"] = float(nvml.nvmlDeviceGetUtilizationRates(device).gpu)
            values[f"system/gpu_{index}_memory_bytes"] = float(nvml.nvmlDeviceGetMemoryInfo(device).used)
    return values
