"""Puts the page's third-party files into every wheel and source distribution that is built, or fails the build.

They are no part of the repository. A source distribution carries them, so a wheel that is made of one needs no network.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Fetch what `services/gateway/web/vendor/` lacks before anything is built."""

    def dependencies(self) -> list[str]:
        """Ask for npm, where it is needed and this machine has none."""
        vendor = _vendor_web(Path(self.root))
        has_npm = shutil.which("npm") and shutil.which("node")
        return [] if vendor.page_is_current() or has_npm or self._is_editable() else [vendor.NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the files, or leave with what to do.

        An editable installation reads the folder as it is later: `make vendor` fetches into it.
        """
        if version == "editable":
            return
        vendor = _vendor_web(Path(self.root))
        if vendor.page_is_current():
            return
        try:
            vendor.vendor_page()
        except vendor.VendorError as error:
            raise SystemExit(f"milepost: the page's files are missing and could not be fetched: {error}") from error

    def _is_editable(self) -> bool:
        return self.target_name == "wheel" and "editable" in self.build_config.versions


def _vendor_web(root: Path) -> ModuleType:
    """Load `deploy/vendor_web.py`, which is no package."""
    spec = importlib.util.spec_from_file_location("milepost_vendor_web", root / "deploy" / "vendor_web.py")
    assert spec is not None and spec.loader is not None, "it is beside this file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
