"""What can be known to be wrong before a runtime is accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from milepost import code_archive
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Violation
from milepost.storage import StorageUnavailable, StorageUnsupported, check_writable
from services.runtime.entrypoints import why_missing
from services.runtime.launchers import Launcher
from services.runtime.placement_policy import need_of, why_never
from services.runtime.snapshots import SnapshotStorage
from services.runtime.views import Views

# How long a storage may take to be written to.
STORAGE_SECONDS = 20.0
# How long a service that has just started may take to look at its cluster. Afterwards a runtime waits, and says for what.
LOOK_SECONDS = 5.0


class Preflight:
    """Checks a resolved configuration against where it would run."""

    def __init__(
        self,
        launchers: Mapping[config.Launcher, Launcher],
        views: Views,
        storage: SnapshotStorage,
        secrets: Callable[[str], str | None],
    ) -> None:
        self._launchers = launchers
        self._views = views
        self._storage = storage
        self._secrets = secrets

    async def check(self, configuration: RuntimeConfiguration) -> None:
        """Refuse what can never run.

        Raises:
            InvalidArgument: the entrypoint or the storage is not there.
            NotFound: the snapshot to start from is not there.
            ResourceExhausted: it needs more than there is.
            FailedPrecondition: its launcher is not set up, a secret is not known, or the snapshot to start from is bad.
        """
        launcher = self._launchers.get(configuration.launcher)
        if launcher is None:
            raise FailedPrecondition(
                "the launcher ray needs the address of a cluster: set MILEPOST_RAY_ADDRESS",
                reason="LAUNCHER_UNAVAILABLE",
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await launcher.looked()
        outage = launcher.outage()
        if outage is not None and not outage.passes:
            raise FailedPrecondition(outage.detail, reason=outage.reason)
        capacity = launcher.capacity()
        if capacity is not None:
            lack = why_never(need_of(configuration), capacity)
            if lack:
                raise ResourceExhausted(f"it can never run: {lack}", reason="INFEASIBLE_RESOURCES")
        # What is installed on a cluster is not known here; a file that is packed can be looked for.
        in_file = configuration.entrypoint.partition(":")[0].endswith(".py")
        packed = configuration.launcher == config.LAUNCHER_RAY and configuration.HasField("code") and in_file
        if configuration.launcher == config.LAUNCHER_LOCAL or packed:
            folder = configuration.working_directory
            if configuration.HasField("code"):
                archives = self._storage.data_dir / "code"
                folder = str(await asyncio.to_thread(code_archive.fetch, configuration.code, archives))
            _check_files(configuration, folder)
        if configuration.launcher != config.LAUNCHER_EXTERNAL:
            self._check_secrets(configuration)
            await self._check_storage(configuration.snapshots.storage)
        if configuration.initialize_from:
            await self._check_snapshot(configuration.initialize_from)

    def _check_secrets(self, configuration: RuntimeConfiguration) -> None:
        for name, entry in sorted(configuration.environment.items()):
            if entry.WhichOneof("kind") == "secret" and self._secrets(entry.secret) is None:
                raise FailedPrecondition(
                    f"the secret {entry.secret} of {name} is not known here: set MILEPOST_SECRET_{entry.secret} "
                    "for the runtime service, or write it to secrets/ in its data directory",
                    reason="SECRET_UNKNOWN",
                )

    async def _check_storage(self, storage: str) -> None:
        """Refuse a storage for snapshots that cannot be written to. Raises InvalidArgument."""
        if not storage:
            return
        try:
            async with asyncio.timeout(STORAGE_SECONDS):
                await asyncio.to_thread(check_writable, storage)
            return
        except (StorageUnsupported, StorageUnavailable) as error:
            problem = error.message
        except TimeoutError:
            problem = f"does not answer within {STORAGE_SECONDS:.0f} s"
        except OSError as error:
            problem = f"cannot be written to: {error.strerror}"
        raise InvalidArgument([Violation("snapshots.storage", problem)])

    async def _check_snapshot(self, name: str) -> None:
        found = self._views.snapshot(name)
        if found is None:
            raise NotFound(f"there is no snapshot {name}", reason="SNAPSHOT_NOT_FOUND")
        problem = await self._storage.verify_files(found.uri, found.manifest_sha256)
        if problem:
            raise FailedPrecondition(f"initialize_from: {problem}", reason="SNAPSHOT_INVALID")


def _check_files(configuration: RuntimeConfiguration, folder: str) -> None:
    violations = []
    if folder and not Path(folder).is_dir():
        violations.append(Violation("working_directory", f"there is no folder {folder}"))
    target = configuration.entrypoint.partition(":")[0]
    if target.endswith(".py") and not folder:
        violations.append(Violation("working_directory", "is required with an entrypoint in a file"))
    if not violations:
        missing = why_missing(configuration.entrypoint, folder)
        if missing:
            violations.append(Violation("entrypoint", missing))
    if violations:
        raise InvalidArgument(violations)
