"""How fast devices multiply matrices at best: dense, in 16 bits, as their makers say. Pure."""

from __future__ import annotations

# Operations per second by what the name of a device has in it, the more particular ones first.
_PEAKS = (
    ("GB200", 2_500e12),
    ("B200", 2_250e12),
    ("GH200", 989e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H800", 989e12),
    ("A100", 312e12),
    ("A800", 312e12),
    ("A40", 150e12),
    ("A30", 165e12),
    ("A10G", 70e12),
    ("A10", 125e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
    ("V100", 125e12),
    ("T4", 65e12),
    ("RTX 4090", 165e12),
    ("RTX 3090", 71e12),
    ("MI325X", 1_307e12),
    ("MI300X", 1_307e12),
    ("MI250X", 383e12),
)


def peak_of(device: str) -> float | None:
    """Return the peak of a device by its name, such as `NVIDIA H100 80GB HBM3`. None: it is not known."""
    words = f" {device.replace('-', ' ')} "
    return next((peak for name, peak in _PEAKS if f" {name} " in words), None)
