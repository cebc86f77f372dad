"""How the run of a script begins that may be there already: gone on with, begun under its name, or refused."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.runtime.v1.runtime_service_pb2 import StartRuntimeRequest
from milepost.api.training.v1.launch_service_pb2 import BeginAttemptResponse
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.client import Client
from milepost.errors import AlreadyExists, FailedPrecondition, NotFound, Unavailable
from milepost.eventlog import LogUnavailable
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.installation.endpoints import Endpoints
from milepost.names import AttemptKey
from milepost.training.process.process_identity import own_identity
from milepost.training.script.attempt.place import Place
from milepost.training.script.attempt.registration import check_answers, register
from milepost.training.script.resume import Mode, Wanted, begin_attempt
from milepost.training.spooling.journal import drain

log = logging.getLogger("milepost")

# How long what a dead attempt has left may take to be appended.
TAKE_IN_SECONDS = 20.0


def begin(
    which: Wanted, configuration: RuntimeConfiguration, total_steps: int | None, endpoints: Endpoints
) -> BeginAttemptResponse | None:
    """Have the attempt of a run launched for this process.

    Returns None where no server answers and the run need not be there: who trains must not wait for that.

    Raises: as `milepost.init`.
    """
    try:
        _in_own_loop(lambda: check_answers(endpoints.runtime))
    except Unavailable as error:
        if which.mode is Mode.MUST:
            raise
        log.warning("%s: whether there is a run %s is not known, so this one gets an id of its own", error, which.name)
        return None
    if which.mode is not Mode.NEVER:
        trial_folder = Path(endpoints.data_dir) / "runtimes" / which.runtime_id / "trial-1"
        try:
            return begin_attempt(endpoints, which, trial_folder, total_steps, lambda path: _take_in(path, endpoints))
        except NotFound as error:
            if which.mode is Mode.MUST or error.reason == "RUNTIME_DELETED":
                raise
    return _start(which, configuration, endpoints)


def _start(which: Wanted, configuration: RuntimeConfiguration, endpoints: Endpoints) -> BeginAttemptResponse:
    request = StartRuntimeRequest(
        configuration=configuration,
        runtime_id=which.runtime_id,
        # Of this process alone: another one that wants the same run finds it taken.
        request_id=str(uuid.uuid4()),
        process=own_identity(),
    )
    with Client(endpoints) as client:
        try:
            client.runtimes.StartRuntime(request)
        except AlreadyExists as error:
            raise FailedPrecondition(
                f'there is a run {which.name} already: go on with it by resume="allow", or choose another id',
                reason="RUN_EXISTS",
            ) from error
    launch = AttemptLaunch(runtime_id=which.runtime_id, attempt=1, configuration=configuration)
    launch.parameters.update(configuration.parameters)
    return BeginAttemptResponse(launch=launch)


def _take_in(directory: Path, endpoints: Endpoints) -> None:
    """Append the events that a dead attempt has left, before it is given up."""
    try:
        _in_own_loop(lambda: _append_left(directory, endpoints))
    except LogUnavailable as error:
        raise Unavailable(str(error)) from error


async def _append_left(directory: Path, endpoints: Endpoints) -> None:
    launch = json_format.Parse((directory / "attempt.json").read_text(), AttemptLaunch(), ignore_unknown_fields=True)
    place = Place(AttemptKey(launch.runtime_id, 1, launch.attempt), directory, endpoints)
    await asyncio.to_thread(register, place.start_file, endpoints)
    try:
        credentials = await asyncio.to_thread(place.find_user)
    except FailedPrecondition as error:
        # It was given up before: what it left has no place.
        log.info("%s: %s", place.key.source, error)
        return
    async with await connect(
        endpoints.nats, name="milepost resume", timeout_seconds=10, credentials=credentials
    ) as connection:
        left = await drain(JetStreamLog(connection, direct=credentials is not None), directory, TAKE_IN_SECONDS)
    if left:
        raise Unavailable(f"{left} events of {place.key.source} could not be appended; try again")


def _in_own_loop(work: Callable[[], Any]) -> Any:
    """Run something asynchronous, also from a notebook, whose thread has a loop already."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(work())).result()
