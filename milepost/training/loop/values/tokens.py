"""Tokens that a model reads: how many, how fast, and what share of the devices' speed that takes (MFU)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from milepost.training.loop.host import Host
from milepost.training.loop.said.declared import Declared, read
from milepost.training.loop.values.peaks import peak_of
from milepost.training.user_code import given

TOKENS = "train/tokens"
# Of each parameter a token takes a multiplication and an addition forwards, and twice as many backwards.
_PER_PARAMETER = 6


class Tokens:
    """Those of one loop. A snapshot has their number, so it goes on after a resume.

    Args:
        pending: takes values of the step under way.
        declare: records what the code says of itself.
    """

    def __init__(self, host: Host, pending: dict[str, Any], declare: Callable[[Declared], None]) -> None:
        self._host = host
        self._pending = pending
        self._declare = declare

    def count(self, tokens: Any) -> None:
        """Add tokens to the step under way; see `Trial.tokens`."""
        found = given.whole(tokens)
        if found is None or found < 0:
            self._host.warn("tokens", f"tokens={given.line(tokens)[:60]} is no whole number from 0; not counted")
            return
        position = self._host.position
        position.read_tokens(found)
        self._pending[TOKENS] = position.tokens

    def flops(self, parameters: Any, per_token: Any, peak: Any) -> None:
        """Say what a token takes; see `Trial.flops`."""
        source = "declared"
        each = None if per_token is None else given.number(per_token)
        if per_token is None:
            number = _parameters(parameters)
            each = None if number is None else _PER_PARAMETER * number
            source = f"6 x {number:,} parameters" if number is not None else ""
        if each is None or each <= 0:
            self._host.warn("flops", "flops takes a number of parameters, a module of PyTorch, or per_token above 0")
            return
        speed, device = (None, "") if peak is None else (given.number(peak), "declared")
        if peak is None:
            speed, device = self._peak_of_devices()
        said: dict[str, Any] = {"flops_per_token": each, "flops_per_token_is": source}
        if speed is not None and speed > 0:
            self._host.position.mfu_per_token = each / speed
            said |= {"peak_flops_per_second": speed, "peak_is": device}
        else:
            self._host.warn("mfu", f"there is no MFU: {device or 'peak is no number above 0'}")
        self._declare(read({"compute": said}))

    def _peak_of_devices(self) -> tuple[float | None, str]:
        """Return the peak of the devices of all ranks, and where it is from, or why there is none."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_available():
            return None, "no device is known by its peak here; flops(peak=...) says it"
        name = str(torch.cuda.get_device_name())
        peak, ranks = peak_of(name), self._host.rank.world_size
        if peak is None:
            return None, f"the peak of {name} is not known; flops(peak=...) says it"
        return peak * ranks, f"table: {ranks} x {name}, {peak / 1e12:,.0f}e12 dense in 16 bits"


def _parameters(found: Any) -> int | None:
    """Count the parameters of a module; a number is one already."""
    if hasattr(found, "parameters"):
        return given.ask(lambda: sum(one.numel() for one in found.parameters()), None)
    return given.whole(found)
