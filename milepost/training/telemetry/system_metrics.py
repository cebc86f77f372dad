"""What a training process uses of its machine, as series under `system/`."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from milepost.series_names import SYSTEM
from milepost.training.telemetry.batches import Position

SAMPLE_SECONDS = 10.0
# Of a command, which has no steps of its own and may be short.
COMMAND_SAMPLE_SECONDS = 2.0


class SystemSampler:
    """Reads use of CPU, memory, disk, network and GPUs, and how fast it goes. Without psutil only the latter.

    Series are `system/<what>` of rank 0 and `system/rank_<n>/<what>` of the others: each instance has its own.

    Args:
        directory: on the disk whose use is of interest.
        command: id of another process to measure, with its children, in place of this one.
    """

    def __init__(self, rank: int = 0, directory: Path = Path(), command: int | None = None) -> None:
        self._prefix = SYSTEM if rank == 0 else f"{SYSTEM}rank_{rank}/"
        self._directory = directory
        self._command = command
        self._seconds = SAMPLE_SECONDS if command is None else COMMAND_SAMPLE_SECONDS
        self._family: dict[int, Any] = {}
        self._process: Any = None
        self._last: dict[str, float] = {}
        self._last_time = self._sampled = time.monotonic()
        self._sampled_step = self._sampled_tokens = 0
        self._nvml = open_nvml()
        with suppress(ImportError):
            import psutil

            self._psutil = psutil
            # These count from the call before.
            psutil.cpu_percent()
            with suppress(psutil.Error):
                self._process = psutil.Process(command or os.getpid())
                self._process.cpu_percent()
                self._last = self._counters()

    def sample(self, position: Position) -> dict[str, float]:
        """Return the values since the last sample; empty while it is not time, or no step was done since.

        Args:
            position: where the instance is. Its samples and tokens are those of the whole attempt.
        """
        now, step, samples, tokens = time.monotonic(), position.step, position.samples, position.tokens_at_boundary
        if now - self._sampled < self._seconds or step <= self._sampled_step:
            return {}
        speed = (step - self._sampled_step) / (now - self._sampled)
        values = {"steps_per_second": speed} if self._command is None else {}
        if samples:
            values["samples_per_second"] = speed * samples
        if tokens > self._sampled_tokens and self._prefix == SYSTEM:
            values["tokens_per_second"] = (tokens - self._sampled_tokens) / (now - self._sampled)
            if position.mfu_per_token:
                values["mfu_percent"] = 100 * values["tokens_per_second"] * position.mfu_per_token
        self._sampled, self._sampled_step, self._sampled_tokens = now, step, tokens
        if self._process is not None:
            with suppress(self._psutil.Error, OSError):
                values |= self._read_process(now)
        if self._nvml is not None:
            values |= _read_gpus(self._nvml)
        return {self._prefix + name: value for name, value in values.items()}

    def begin(self, step: int, tokens: int = 0) -> None:
        """Count steps and tokens from here: those before belong to earlier attempts."""
        self._sampled, self._sampled_step, self._sampled_tokens = time.monotonic(), step, tokens

    def _members(self) -> list[Any]:
        """List the processes to measure; those known stay, because use of CPU is counted between two looks."""
        if self._command is None:
            return [self._process]
        children = self._process.children(recursive=True)
        self._family = {p.pid: self._family.get(p.pid, p) for p in (self._process, *children)}
        return list(self._family.values())

    def _read_process(self, now: float) -> dict[str, float]:
        family = self._members()
        values = {
            "cpu_percent": sum(_read(self._psutil, process.cpu_percent) for process in family),
            "memory_bytes": sum(_read(self._psutil, partial(_memory, process)) for process in family),
            "host_memory_percent": self._psutil.virtual_memory().percent,
            "host_cpu_percent": self._psutil.cpu_percent(),
            "disk_used_percent": self._psutil.disk_usage(str(self._directory)).percent,
        }
        counters, elapsed = self._counters(), max(1e-3, now - self._last_time)
        if self._last:
            values |= {
                f"{name}_per_second": max(0.0, count - self._last[name]) / elapsed
                for name, count in counters.items()
                if name in self._last
            }
        self._last, self._last_time = counters, now
        return values

    def _counters(self) -> dict[str, float]:
        """Read what only ever grows: of the disk by this process, of the network by the whole machine."""
        with suppress(self._psutil.Error, OSError, AttributeError):
            disk = self._process.io_counters()
            network = self._psutil.net_io_counters()
            return {
                "disk_read_bytes": float(disk.read_bytes),
                "disk_write_bytes": float(disk.write_bytes),
                "network_sent_bytes": float(network.bytes_sent),
                "network_received_bytes": float(network.bytes_recv),
            }
        return {}


def _memory(process: Any) -> float:
    return float(process.memory_info().rss)


def _read(psutil: Any, ask: Callable[[], float]) -> float:
    """Ask a process for a number; one that has ended uses nothing."""
    try:
        return float(ask())
    except psutil.Error:
        return 0.0


def open_nvml() -> Any | None:
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
            values[f"gpu_{index}_percent"] = float(nvml.nvmlDeviceGetUtilizationRates(device).gpu)
            values[f"gpu_{index}_memory_bytes"] = float(nvml.nvmlDeviceGetMemoryInfo(device).used)
    return values
