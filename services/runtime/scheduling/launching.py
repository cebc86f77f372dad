"""What an attempt is told when it is launched, made from the facts of its trial: the same again whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from milepost import code_archive
from milepost.api.config.v1 import configuration_pb2 as config
from milepost.api.training.v1.training_pb2 import AttemptLaunch, SteeredValue
from milepost.domain import steering, trial
from milepost.errors import DeadlineExceeded
from milepost.names import AttemptKey
from milepost.security.egress import AddressRefused
from milepost.snapshots import SnapshotInvalid
from milepost.storage import StorageUnsupported
from services.runtime.launchers import LaunchFailed
from services.runtime.readmodel.view import RuntimeView, TrialView, given_parameters
from services.runtime.readmodel.views import Views
from services.runtime.snapshots import Place, SnapshotStorage, restorable

# How long the code of an attempt may take to be fetched.
FETCH_SECONDS = 300.0
# There the nodes decide on folders, unpack code, and hand out GPUs.
ON_CLUSTERS = frozenset({config.LAUNCHER_RAY, config.LAUNCHER_SLURM})


@dataclass(frozen=True, slots=True)
class LaunchEnvironment:
    """What an attempt is told about where it runs."""

    data_dir: Path
    nats_url: str
    host: str
    secrets: Callable[[str], str | None] = lambda name: None
    # Where the nodes of a cluster reach NATS, by launcher. Empty, or not there: at `nats_url`.
    cluster_nats_urls: Mapping[config.Launcher, str] = field(default_factory=dict)


class Launches:
    """Makes the launches of attempts."""

    def __init__(self, views: Views, storage: SnapshotStorage, surroundings: LaunchEnvironment) -> None:
        self._views = views
        self._storage = storage
        self._around = surroundings

    async def launch(self, view: RuntimeView, one: TrialView) -> AttemptLaunch:
        """Return what the current attempt of a trial is told.

        On a cluster the node decides on the folders; there the code is unpacked too.

        Raises:
            LaunchFailed: the attempt is over, its code is not to be had, or what it starts from is gone.
        """
        active, configuration = one.state.active, view.state.configuration
        if active is None or configuration is None:
            raise LaunchFailed("the attempt is over")
        key = AttemptKey(view.runtime_id, one.number, active.attempt)
        known = (*one.state.snapshots, *restorable(one.state)[-1:])
        snapshot = next((s for s in known if s.snapshot_id == active.launch.snapshot_id), None)
        on_cluster = configuration.launcher in ON_CLUSTERS
        launch = AttemptLaunch(
            runtime_id=view.runtime_id,
            trial=one.number,
            attempt=active.attempt,
            configuration=configuration,
            # A continuation may have changed how long to train; what the search and roll backs chose stays.
            parameters=given_parameters(configuration, one),
            snapshot_id=active.launch.snapshot_id,
            snapshot_step=active.launch.snapshot_step,
            snapshot_uri=active.launch.snapshot_uri,
            skip_batches=active.launch.skip_batches,
            inexact=_inexact(one),
            steered=[
                SteeredValue(step=change.step, name=change.name, value=change.value)
                for change in one.state.steering.changes
            ],
            steers=[steering.instruction(request) for request in one.state.steering.waiting],
            manifest_sha256=snapshot.manifest_sha256 if snapshot is not None else "",
            nats_url=self._around.cluster_nats_urls.get(configuration.launcher) or self._around.nats_url,
            snapshot_storage_uri=self._storage.uri(configuration, view.runtime_id, one.number),
            launch_event_id=one.last["AttemptLaunched"].event_id,
            origin_step=trial.origin_step(one.state),
            rung_steps=one.state.rung_steps,
            traceparent=one.last["AttemptLaunched"].traceparent,
        )
        if configuration.initialize_from:
            await self._initialize_from(configuration.initialize_from, launch)
        if on_cluster:
            launch.code_directory = "" if configuration.HasField("code") else configuration.working_directory
        else:
            launch.attempt_directory = str(key.directory(self._around.data_dir))
            launch.gpus.extend(active.launch.gpus)
            launch.code_directory = await self._code_directory(configuration, view.runtime_id)
        return launch

    def environment(self, launch: AttemptLaunch) -> dict[str, str]:
        """Return the environment of the training code, with the values of secrets.

        Raises:
            LaunchFailed: a secret is not known here.
        """
        environment = {}
        for name, entry in launch.configuration.environment.items():
            if entry.WhichOneof("kind") == "secret":
                secret = self._around.secrets(entry.secret)
                if secret is None:
                    raise LaunchFailed(f"the secret {entry.secret} of {name} is not known here", deterministic=True)
                environment[name] = secret
            else:
                environment[name] = entry.value
        if launch.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, launch.gpus))
        elif launch.configuration.launcher == config.LAUNCHER_LOCAL:
            # It asked for none, so it sees none: those of the others are not its own.
            environment.setdefault("CUDA_VISIBLE_DEVICES", "")
        return environment

    async def _code_directory(self, configuration: config.RuntimeConfiguration, runtime_id: str) -> str:
        if not configuration.HasField("code"):
            return configuration.working_directory
        try:
            folder = await self._storage.threads.run(
                runtime_id, FETCH_SECONDS, self._storage.code_folder, configuration.code
            )
        except DeadlineExceeded as error:
            raise LaunchFailed(f"the code: {error.message}") from error
        except (code_archive.CodeInvalid, AddressRefused) as error:
            raise LaunchFailed(error.message, deterministic=True) from error
        except OSError as error:
            raise LaunchFailed(f"the code could not be unpacked: {error.strerror}") from error
        return str(folder)

    async def _initialize_from(self, name: str, launch: AttemptLaunch) -> None:
        """Say where the weights are to start from, and which manifest was committed there."""
        found = self._views.snapshot(name)
        if found is None:
            raise LaunchFailed(f"{name} is no snapshot", deterministic=True)
        view, one, snapshot = found
        assert view.state.configuration is not None, "an existing runtime has a configuration"
        try:
            place = Place.of(view.runtime_id, one.number, snapshot)
            folder = await self._storage.threads.run(
                launch.runtime_id, FETCH_SECONDS, self._storage.folder, view.state.configuration, place
            )
        except DeadlineExceeded as error:
            raise LaunchFailed(f"initialize_from: {error.message}") from error
        except (SnapshotInvalid, StorageUnsupported) as error:
            raise LaunchFailed(f"initialize_from: {error.message}", deterministic=True) from error
        launch.initialize_from_uri = folder.uri
        launch.initialize_from_manifest_sha256 = snapshot.manifest_sha256


def _inexact(one: TrialView) -> str:
    """Return why an attempt goes on otherwise than the one before it; empty: it does not."""
    active, abandoned = one.state.active, one.state.abandoned
    if active is None or abandoned is None or active.launch.snapshot_step != abandoned.step:
        return ""
    passed = f"{active.launch.skip_batches:,} batches are passed over" if active.launch.skip_batches else ""
    changed = f"{', '.join(sorted(one.patched))} changed" if one.patched else ""
    return f"rolled back{': ' if passed or changed else ''}{' and '.join(filter(None, (changed, passed)))}"
