"""The words of closed sets, and the numbers they have in the message."""

from __future__ import annotations

from milepost.api.config.v1 import configuration_pb2 as config

LAUNCHERS = {"local": config.LAUNCHER_LOCAL, "ray": config.LAUNCHER_RAY, "external": config.LAUNCHER_EXTERNAL}
KINDS = {"grid": config.SEARCH_KIND_GRID, "random": config.SEARCH_KIND_RANDOM}
ON_FAILURE = {"continue": config.ON_TRIAL_FAILURE_CONTINUE, "stop": config.ON_TRIAL_FAILURE_STOP}
MODES = {"min": config.METRIC_MODE_MIN, "max": config.METRIC_MODE_MAX}
