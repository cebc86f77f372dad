"""How the run of a script is opened: with what configuration, under which id, and in which folder."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from milepost import configuration as configurations
from milepost import files
from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.runtime.v1.runtime_service_pb2 import StartRuntimeRequest
from milepost.api.training.v1.launch_service_pb2 import BeginAttemptResponse
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.eventlog.nats.credentials import find_authority
from milepost.ids import new_runtime_id
from milepost.installation import endpoints as endpoints_module
from milepost.installation.endpoints import Endpoints
from milepost.security.redaction import Redactor
from milepost.security.tokens import write_private
from milepost.training.process.process_identity import own_identity
from milepost.training.script import configured
from milepost.training.script.attempt.place import Place, keys_dir
from milepost.training.script.external_run import ExternalRun, Script
from milepost.training.script.group import LEADER_VARIABLE
from milepost.training.script.resume import Wanted
from milepost.training.spooling.journal import AttemptKey


def open_run(
    fields: Mapping[str, Any],
    *,
    runtime_id: str = "",
    which: Wanted | None = None,
    total_steps: int | None = None,
    data_dir: str | Path | None = None,
    script: Script | None = None,
) -> ExternalRun:
    """Begin to record a runtime of this process, which may have others.

    Args:
        fields: `name`, `parameters`, `labels` and `snapshots`, of any shape; see `configured.read`.
        runtime_id: that of a new one; empty: a new id.
        which: one that may be there already. None: a new one.
        total_steps: of the whole training; lets a run that is complete go on.
        data_dir: where the record waits until it is stored.
        script: None: the run is not that of the whole process, and ends with `finish` only.

    Raises: as `init`.
    """
    endpoints = endpoints_module.find(data_dir)
    read = configured.read(fields)
    redactor = Redactor(read.configuration.not_secret)
    recorded = configurations.redact(read.configuration, redactor)
    if which is not None and which.name != which.runtime_id and "id" not in recorded.labels:
        recorded.labels["id"] = which.name
    begun = _begin(which, recorded, total_steps, endpoints) if which is not None else None
    launch = AttemptLaunch(
        runtime_id=runtime_id or new_runtime_id(),
        trial=1,
        attempt=1,
        configuration=recorded,
        parameters=read.said.parameters,
        nats_url=endpoints.nats,
    )
    besides = read.besides
    if begun is not None:
        _take_over(launch, begun.launch)
        besides = read.new_to(launch.configuration) if launch.attempt > 1 else besides
    try:
        place = _lay_out(launch, Path(endpoints.data_dir), endpoints, begun)
    except OSError as error:
        place = _lay_out(launch, Path(tempfile.mkdtemp(prefix="milepost-")), endpoints, begun)
        other = place.endpoints.data_dir
        besides.notes["data folder"] = (
            f"the data folder {endpoints.data_dir} cannot be written ({error}); what is not sent waits in {other}, which "
            f"may be gone after a restart of this machine: `milepost sync --data-dir {other}` sends it"
        )
    if script is None or begun is not None or script.group.link is not None or not _is_child_of_multiprocessing():
        # A child may turn out to be a process of a group: torch.multiprocessing starts them, and the group comes later.
        place.decided.set()
    if script is not None:
        os.environ[LEADER_VARIABLE] = str(place.directory)
        if script.group.link is not None:
            script.group.link.announce(launch)
    run = ExternalRun(place, launch, script)
    if redactor.found:
        run.warn("redacted", redactor.said)
    run.begin(besides, which.step if which is not None else None)
    return run


def _begin(
    which: Wanted, configuration: RuntimeConfiguration, total_steps: int | None, endpoints: Endpoints
) -> BeginAttemptResponse | None:
    """See `beginning.begin`, which takes a client of the services to import."""
    from milepost.training.script.beginning import begin

    return begin(which, configuration, total_steps, endpoints)


def _take_over(launch: AttemptLaunch, told: AttemptLaunch) -> None:
    """Learn what the attempt is that this process runs. Parameters that were given now stay as they were given."""
    launch.runtime_id, launch.attempt = told.runtime_id, told.attempt
    launch.configuration.CopyFrom(told.configuration)
    given_now = dict(launch.parameters)
    launch.parameters.update({**told.parameters, **given_now})
    launch.snapshot_id, launch.snapshot_step = told.snapshot_id, told.snapshot_step
    launch.snapshot_uri, launch.manifest_sha256 = told.snapshot_uri, told.manifest_sha256
    launch.steered.extend(told.steered)
    launch.steers.extend(told.steers)


def _lay_out(launch: AttemptLaunch, folder: Path, endpoints: Endpoints, begun: BeginAttemptResponse | None) -> Place:
    """Write down in a data folder what is to be recorded.

    Raises:
        OSError: the folder cannot be made, or not be written.
    """
    trial_folder = folder / "runtimes" / launch.runtime_id / "trial-1"
    directory = trial_folder / f"attempt-{launch.attempt}"
    directory.mkdir(parents=True, exist_ok=True)
    launch.attempt_directory = str(directory)
    launch.snapshot_storage_uri = (trial_folder / "snapshots").as_uri()
    key = AttemptKey(launch.runtime_id, 1, launch.attempt)
    place = Place(key, directory, replace(endpoints, data_dir=str(folder)))
    if begun is not None and begun.nats_credentials:
        write_private(place.credentials, begun.nats_credentials.encode())
        place.known.set()
    elif find_authority(keys_dir(endpoints)) is not None:
        place.find_user()
    if begun is None:
        request = StartRuntimeRequest(
            configuration=launch.configuration,
            runtime_id=launch.runtime_id,
            request_id=launch.runtime_id,
            process=own_identity(),
        )
        files.write(place.start_file, json_format.MessageToJson(request, preserving_proto_field_name=True))
    kept = _without_secrets(launch)
    files.write(directory / "attempt.json", json_format.MessageToJson(kept, preserving_proto_field_name=True))
    return place


def _without_secrets(launch: AttemptLaunch) -> AttemptLaunch:
    """Return what may be written to disk of what the script is told."""
    kept = AttemptLaunch()
    kept.CopyFrom(launch)
    kept.parameters.update(Redactor(launch.configuration.not_secret).scalars(launch.parameters))
    return kept


def _is_child_of_multiprocessing() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None
