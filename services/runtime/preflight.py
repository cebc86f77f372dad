"""What can be known to be wrong before a runtime is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Violation
from services.runtime.entrypoints import why_missing
from services.runtime.launchers import Launcher
from services.runtime.placement_policy import need_of, why_never


class Preflight:
    """Checks a resolved configuration against where it would run."""

    def __init__(self, launchers: Mapping[config.Launcher, Launcher]) -> None:
        self._launchers = launchers

    async def check(self, configuration: RuntimeConfiguration) -> None:
        """Refuse what can never run.

        Raises:
            InvalidArgument: the entrypoint is not there.
            ResourceExhausted: it needs more than there is.
            FailedPrecondition: its launcher is not set up.
        """
        launcher = self._launchers.get(configuration.launcher)
        if launcher is None:
            raise FailedPrecondition(
                "the launcher ray needs the address of a cluster: set MILEPOST_RAY_ADDRESS",
                reason="LAUNCHER_UNAVAILABLE",
            )
        capacity = launcher.capacity()
        if capacity is not None:
            lack = why_never(need_of(configuration), capacity)
            if lack:
                raise ResourceExhausted(f"it can never run: {lack}", reason="INFEASIBLE_RESOURCES")
        if configuration.launcher == config.LAUNCHER_LOCAL:
            _check_files(configuration)


def _check_files(configuration: RuntimeConfiguration) -> None:
    violations = []
    folder = configuration.working_directory
    if folder and not Path(folder).is_dir():
        violations.append(Violation("working_directory", f"there is no folder {folder}"))
    target = configuration.entrypoint.partition(":")[0]
    if target.endswith(".py") and not configuration.HasField("code"):
        if not folder:
            violations.append(Violation("working_directory", "is required with an entrypoint in a file"))
    if not violations and not configuration.HasField("code"):
        missing = why_missing(configuration.entrypoint, folder)
        if missing:
            violations.append(Violation("entrypoint", missing))
    if violations:
        raise InvalidArgument(violations)
