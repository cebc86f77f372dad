"""What can be known to be wrong before a runtime is accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.configuration import Plain
from milepost.configuration.watching import RunRules
from milepost.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Violation,
)
from milepost.rules import of_runs
from milepost.security.egress import AddressRefused
from milepost.storage import StorageUnavailable, StorageUnsupported
from services.access.authentication import current_caller
from services.rpc.threads import Result, Threads
from services.runtime.commands.entrypoints import examine, wrong_parameters
from services.runtime.launchers import Launcher
from services.runtime.policies.placement import need_of, why_never
from services.runtime.readmodel.views import Views
from services.runtime.scheduling.launching import ON_CLUSTERS
from services.runtime.snapshots import Place, SnapshotStorage

# How long a storage may take to be written to, a text and the files of its entrypoint to be read, code to be fetched.
STORAGE_SECONDS = 20.0
READ_SECONDS = 20.0
FETCH_SECONDS = 120.0
# Checks at once, in all and of one caller.
CHECKS = 32
CHECKS_PER_CALLER = 4
# How long a service that has just started may take to look at its cluster. Afterwards a runtime waits, and says for what.
LOOK_SECONDS = 5.0


_NOT_SET_UP = {
    config.LAUNCHER_RAY: "the launcher ray needs the address of a cluster: set MILEPOST_RAY_ADDRESS",
    config.LAUNCHER_SLURM: (
        "the launcher slurm needs to know how Slurm's commands are run: set MILEPOST_SLURM_COMMAND to local, or to what "
        "reaches a login node, such as 'ssh login' (docs/slurm.md)"
    ),
}

# What the samplers need. All but torch come with the server.
_NEEDED = {
    config.SEARCH_KIND_TPE: ("optuna",),
    config.SEARCH_KIND_GP: ("optuna", "scipy", "torch"),
    config.SEARCH_KIND_CMAES: ("optuna", "cmaes"),
    config.SEARCH_KIND_QMC: ("optuna", "scipy"),
    config.SEARCH_KIND_NSGA2: ("optuna",),
}


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
        # What is named may hang: nothing else of the service waits for it.
        self._threads = Threads(CHECKS, CHECKS_PER_CALLER, "the check of what the configuration names")

    async def read(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Read what a caller has given, as a function does that may look at the files it names.

        Raises: what the function does, and DeadlineExceeded.
        """
        return await self._threads.run(current_caller().actor, READ_SECONDS, function, *arguments)

    async def check(self, configuration: RuntimeConfiguration) -> None:
        """Refuse what can never run.

        Raises:
            InvalidArgument: the entrypoint or the storage is not there.
            NotFound: the snapshot to start from is not there.
            ResourceExhausted: it needs more than there is.
            FailedPrecondition: its launcher is not set up, a secret is not known, its code is where this installation does
                not connect to, or the snapshot to start from is bad.
        """
        launcher = self._launchers.get(configuration.launcher)
        if launcher is None:
            raise FailedPrecondition(
                _NOT_SET_UP.get(configuration.launcher, "this service has no such launcher"),
                reason="LAUNCHER_UNAVAILABLE",
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await launcher.looked()
        outage = launcher.outage()
        if outage is not None and not outage.passes:
            raise FailedPrecondition(outage.detail, reason=outage.reason)
        check_sampler(configuration)
        capacity = launcher.capacity()
        if capacity is not None:
            lack = why_never(need_of(configuration), capacity)
            if lack:
                raise ResourceExhausted(f"it can never run: {lack}", reason="INFEASIBLE_RESOURCES")
        refused = await launcher.refusal(configuration)
        if refused:
            raise FailedPrecondition(refused, reason="JOB_REFUSED")
        # What is installed on a cluster is not known here; a file that is packed can be looked for.
        in_file = configuration.entrypoint.partition(":")[0].endswith(".py")
        packed = configuration.launcher in ON_CLUSTERS and configuration.HasField("code") and in_file
        if configuration.launcher == config.LAUNCHER_LOCAL or packed:
            folder = configuration.working_directory
            if configuration.HasField("code"):
                fetch = (self._storage.code_folder, configuration.code)
                folder = str(await self._threads.run(current_caller().actor, FETCH_SECONDS, *fetch))
            given = (*configuration.parameters, *configuration.search.space)
            violations = await self.read(file_violations, configuration.entrypoint, folder, given)
            if violations:
                raise InvalidArgument(violations)
        if configuration.launcher != config.LAUNCHER_EXTERNAL:
            self._check_secrets(configuration)
            await self._check_storage(configuration.snapshots.storage)
        if configuration.initialize_from:
            await self._check_snapshot(configuration.initialize_from)
        self._check_warm_start(configuration.search.warm_start)

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
            await self._threads.run(current_caller().actor, STORAGE_SECONDS, self._storage.check_writable, storage)
            return
        except (AddressRefused, StorageUnsupported, StorageUnavailable) as error:
            problem = error.message
        except DeadlineExceeded:
            problem = f"does not answer within {STORAGE_SECONDS:.0f} s"
        except OSError as error:
            problem = f"cannot be written to: {error.strerror}"
        raise InvalidArgument([Violation("snapshots.storage", problem)])

    def _check_warm_start(self, runtime_ids: Iterable[str]) -> None:
        """Refuse to begin with trials of a runtime that is not there or goes on. Raises NotFound, FailedPrecondition."""
        for runtime_id in runtime_ids:
            view = self._views.runtimes.get(runtime_id)
            if view is None or view.state.deleting:
                raise NotFound(f"search.warm_start: there is no runtime {runtime_id}", reason="RUNTIME_NOT_FOUND")
            if view.state.in_progress:
                raise FailedPrecondition(
                    f"search.warm_start: {runtime_id} has not ended; start this search when it has, or leave it out",
                    reason="RUNTIME_NOT_ENDED",
                )

    async def _check_snapshot(self, name: str) -> None:
        found = self._views.snapshot(name)
        if found is None:
            raise NotFound(f"there is no snapshot {name}", reason="SNAPSHOT_NOT_FOUND")
        view, one, snapshot = found
        assert view.state.configuration is not None, "an existing runtime has a configuration"
        place = Place.of(view.runtime_id, one.number, snapshot)
        problem = await self._storage.verify(view.state.configuration, place)
        if problem:
            raise FailedPrecondition(f"initialize_from: {problem}", reason="SNAPSHOT_INVALID")


def check_sampler(configuration: RuntimeConfiguration) -> None:
    """Refuse a search whose sampler cannot run here. Raises FailedPrecondition."""
    lacking = [name for name in _NEEDED.get(configuration.search.kind, ()) if find_spec(name) is None]
    if lacking:
        raise FailedPrecondition(
            f"the sampler of this search needs {', '.join(lacking)} where the runtime service runs: pip install "
            f"{' '.join(lacking)}",
            reason="SAMPLER_UNAVAILABLE",
        )


def file_violations(entrypoint: str, folder: str, given: Iterable[str]) -> list[Violation]:
    """List what is wrong with where the code is, and with what it is given, without running any of it.

    Args:
        entrypoint: `package.module:function` or `file.py:function`.
        folder: where files are found; may be empty.
        given: the names of the parameters, those of a search included.
    """
    if folder and not Path(folder).is_dir():
        return [Violation("working_directory", f"there is no folder {folder}")]
    target, _, function = entrypoint.partition(":")
    if target.endswith(".py") and not folder:
        return [Violation("working_directory", "is required with an entrypoint in a file")]
    found = examine(entrypoint, folder)
    if found.missing:
        return [Violation("entrypoint", found.missing)]
    return wrong_parameters(found.declared, function, given) if found.declared is not None else []


def declared_parameters(configuration: RuntimeConfiguration) -> frozenset[str]:
    """Return the parameters that an entrypoint names, as far as that can be read here without running any of it."""
    if configuration.launcher != config.LAUNCHER_LOCAL or configuration.HasField("code"):
        return frozenset()
    found = examine(configuration.entrypoint, configuration.working_directory)
    names = (*found.declared.required, *found.declared.optional) if found.declared is not None else ()
    return frozenset(names)


def more_violations(plain: Plain) -> list[Violation]:
    """List what is wrong with the files and rules of a configuration that is wrong in other ways too, where it can be read."""
    return [
        *_violations_in_files(plain),
        *of_runs.violations_of(RunRules().read(plain.get("rules") or [], "rules", [])),
    ]


def _violations_in_files(plain: Plain) -> list[Violation]:
    entrypoint, folder = plain.get("entrypoint"), plain.get("working_directory") or ""
    launcher, code = plain.get("launcher") or "local", plain.get("code")
    if not isinstance(entrypoint, str) or ":" not in entrypoint or not isinstance(folder, str):
        return []
    if launcher != "local" or code is not None:
        return []
    search = plain.get("search")
    given = [plain.get("parameters"), search.get("space") if isinstance(search, dict) else None]
    return file_violations(
        entrypoint, folder, (str(name) for named in given if isinstance(named, dict) for name in named)
    )
