"""Settings of a service: flags of its command line, then `MILEPOST_*` variables, then a file, then defaults."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence

from milepost.installation.settings import SETTINGS, InvalidSettings, Settings, collect


def load(
    arguments: Sequence[str] | None = None,
    environment: Mapping[str, str] = os.environ,
    program: str = "milepost",
) -> Settings:
    """Collect the settings of this process.

    Raises:
        SystemExit: a flag is unknown, or the settings file is not readable; the message says which.
    """
    parser = argparse.ArgumentParser(
        prog=program, description="Settings come from flags, MILEPOST_* variables, a file, defaults."
    )
    parser.add_argument("--config", help="YAML file with settings (MILEPOST_CONFIG)")
    for setting in SETTINGS:
        parser.add_argument(
            setting.flag, help=f"{setting.description} ({setting.variable}; default {setting.default or 'none'})"
        )
    try:
        return collect(vars(parser.parse_args(arguments)), environment)
    except InvalidSettings as error:
        parser.error(str(error))
