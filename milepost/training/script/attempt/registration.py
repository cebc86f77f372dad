"""How the runtime of a script becomes known to the runtime service, now or by `sync`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from milepost import files
from milepost.api.runtime.v1.runtime_service_pb2 import StartRuntimeRequest
from milepost.api.training.v1.launch_service_pb2 import TakeUpAttemptRequest, TakeUpAttemptResponse
from milepost.api.training.v1.training_pb2 import AttemptLaunch
from milepost.client import Client
from milepost.errors import AlreadyExists, FailedPrecondition, Unavailable
from milepost.installation.endpoints import Endpoints
from milepost.names import trial_name
from milepost.security.transport import replicas_of

M = TypeVar("M", bound=Message)

# Of what a run begins with. A configuration has much less.
MAX_FILE_BYTES = 16 << 20


def register(start_file: Path, endpoints: Endpoints) -> None:
    """Make the runtime known to the runtime service, if it is not.

    Raises:
        Unavailable: no server answers.
        MilepostError: it was refused.
    """
    try:
        request = _read_start(start_file)
    except FileNotFoundError:
        return
    with Client(endpoints) as client, suppress(AlreadyExists):
        client.runtimes.StartRuntime(request)
    # The script and `sync` may register it at the same time.
    start_file.unlink(missing_ok=True)


def _read_start(start_file: Path) -> StartRuntimeRequest:
    """Read what a run begins with. A file that is damaged is set aside, and made again of what its first attempt is told.

    Raises:
        FileNotFoundError: there is none, because the runtime is known already.
        FailedPrecondition: it is damaged, and so is the file of the attempt.
    """
    try:
        return _read_message(start_file, StartRuntimeRequest())
    except FileNotFoundError:
        raise
    except (OSError, json_format.ParseError) as error:
        damage = str(error)
    runtime_id = start_file.parent.name
    attempt_file = start_file.parent / "trial-1" / "attempt-1" / "attempt.json"
    try:
        launch = _read_message(attempt_file, AttemptLaunch())
        if launch.runtime_id != runtime_id:
            raise json_format.ParseError("it is of another run")
    except (OSError, json_format.ParseError) as error:
        raise FailedPrecondition(
            f"{start_file} is damaged ({damage}), and {attempt_file}, of which it could be made again, too: nothing says what "
            f"run {runtime_id} is. Put one of the two back from a backup; what it recorded stays in {start_file.parent}",
            reason="FILE_DAMAGED",
        ) from error
    request = StartRuntimeRequest(
        configuration=launch.configuration, runtime_id=launch.runtime_id, request_id=launch.runtime_id
    )
    files.set_aside(start_file, damage)
    files.write(start_file, json_format.MessageToJson(request, preserving_proto_field_name=True))
    return request


def _read_message(path: Path, message: M) -> M:
    """Read a message from a file of its own, which may be anything by now.

    Raises:
        OSError: it cannot be read, or is no file of its own.
        ParseError: what is in it is no such message.
    """
    try:
        content = files.read_regular(path, MAX_FILE_BYTES).decode()
        return json_format.Parse(content, message, ignore_unknown_fields=True)
    except (UnicodeDecodeError, RecursionError) as error:
        raise json_format.ParseError(str(error)) from error


def take_up(endpoints: Endpoints, runtime_id: str, attempt: int = 0) -> TakeUpAttemptResponse:
    """Ask the runtime service what an attempt is told, and for its credentials. `attempt` 0: the one in progress.

    Raises:
        PermissionDenied: somebody else started the runtime.
        FailedPrecondition: the attempt is over.
        Unavailable: no server answers, or the attempt is not launched yet.
    """
    with Client(endpoints) as client:
        request = TakeUpAttemptRequest(name=trial_name(runtime_id, 1), attempt=attempt)
        return client.launches.TakeUpAttempt(request)  # type: ignore[no-any-return]


async def check_answers(address: str) -> None:
    """Knock, at each replica. The client would go on knocking for long, and a script may end at any moment.

    Raises:
        Unavailable: nobody opens.
    """
    problem: Exception | None = None
    for replica in replicas_of(address):
        host, _, port = replica.rpartition(":")
        try:
            async with asyncio.timeout(5.0):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, ValueError, TimeoutError) as error:
            problem = error
        else:
            writer.close()
            return
    raise Unavailable(f"nothing answers at {address}") from problem
