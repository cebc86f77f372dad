"""The streams: their settings, made when missing, verified at every start, never changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from milepost.eventlog import BUCKETS, EVENTS, TELEMETRY, LogMisconfigured, LogUnavailable
from milepost.eventlog.nats import codes
from milepost.eventlog.nats.connection import ApiError, Connection
from milepost.eventlog.nats.messages import parse_nanoseconds

_NANOSECONDS = 1_000_000_000

# How long a service waits at its start for a server that does not answer.
START_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_SECONDS_FOR_THE_OTHER = (0.0, 0.1, 0.3, 1.0)

log = logging.getLogger(__name__)


# Of telemetry that is kept, unless there is less room.
TELEMETRY_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What differs between installations.

    Attributes:
        replicas: copies of each stream; 3 in production.
        events_max_bytes: limit of EVENTS; -1: none but the disk. At the limit appends are refused; nothing is erased.
        telemetry_max_age_seconds: telemetry is kept this long.
        telemetry_max_bytes: and at most this much of it, the oldest goes first.
    """

    replicas: int = 1
    events_max_bytes: int = -1
    telemetry_max_age_seconds: int = 7 * 24 * 3600
    telemetry_max_bytes: int = TELEMETRY_BYTES

    @staticmethod
    def of(replicas: str, store_megabytes: str) -> StreamSettings:
        """Read them from settings. With a store of a known size each stream gets its part of it.

        Then a stream comes to its own limit before the server comes to its, where it does worse: there it acknowledges
        a batch of which it stores only a part (nats-server 2.15.1).
        """
        if not store_megabytes:
            return StreamSettings(replicas=int(replicas))
        store = int(store_megabytes) << 20
        telemetry = min(TELEMETRY_BYTES, store // 2)
        # The buckets are small; what the server holds besides the messages is in this part too.
        others = store // 8
        return StreamSettings(int(replicas), store - telemetry - others, telemetry_max_bytes=telemetry)


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where a stream stands. `created` is its creation time in nanoseconds since 1970: its identity."""

    created: int
    first_sequence: int
    last_sequence: int
    message_count: int
    byte_count: int


def events_configuration(settings: StreamSettings) -> dict[str, Any]:
    """Configure EVENTS: an append-only history that the server itself refuses to shorten."""
    return {
        "name": EVENTS,
        "description": "Milepost: every fact about the control plane. Kept for ever.",
        "subjects": ["events.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs": -1,
        "max_bytes": settings.events_max_bytes,
        "max_age": 0,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_consumers": -1,
        "num_replicas": settings.replicas,
        "duplicate_window": 600 * _NANOSECONDS,
        "deny_delete": True,
        "deny_purge": True,
        "allow_rollup_hdrs": False,
        "allow_msg_ttl": False,
        "allow_direct": True,
        "allow_atomic": True,
        "republish": {"src": "events.>", "dest": "committed.events.>"},
    }


def telemetry_configuration(settings: StreamSettings) -> dict[str, Any]:
    """Configure TELEMETRY: steps and logs on their way to ClickHouse, kept long enough to rebuild it."""
    return {
        "name": TELEMETRY,
        "description": "Milepost: batches of steps and of log lines. Kept by age and bytes.",
        "subjects": ["telemetry.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_msgs": -1,
        "max_bytes": settings.telemetry_max_bytes,
        "max_age": settings.telemetry_max_age_seconds * _NANOSECONDS,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_consumers": -1,
        "num_replicas": settings.replicas,
        # Its messages carry no id, so nothing is ever looked up in this window.
        "duplicate_window": _NANOSECONDS,
        "allow_rollup_hdrs": False,
        "allow_msg_ttl": False,
        "allow_direct": True,
    }


def bucket_configuration(bucket: str, seconds: float, settings: StreamSettings) -> dict[str, Any]:
    """Configure a bucket of `KeyValue`, whose values are gone after some seconds."""
    return {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": int(seconds * _NANOSECONDS),
        "max_msgs_per_subject": 1,
        "max_msg_size": -1,
        "max_consumers": -1,
        "num_replicas": settings.replicas,
        "duplicate_window": int(min(seconds, 120.0) * _NANOSECONDS),
        "deny_delete": True,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


# Settings that an administrator may choose freely; everything else in a configuration must be as we state it.
_FREE = {
    # A limit of its size refuses what does not fit and erases nothing.
    EVENTS: frozenset({"description", "max_bytes"}),
    TELEMETRY: frozenset({"description", "max_bytes", "max_age", "duplicate_window"}),
}
# Settings that we do not state and that must be off or absent: each of them would change or lose history.
_ABSENT = (
    "sealed",
    "no_ack",
    "mirror",
    "sources",
    "subject_transform",
    "discard_new_per_subject",
    "allow_msg_counter",
    "allow_msg_schedules",
    "allow_batched",
    "persist_mode",
    "subject_delete_marker_ttl",
    "first_seq",
)


def configuration_differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Name what is different in a stream from what it must be, one sentence each; empty: nothing."""
    free = _FREE.get(wanted["name"], frozenset())
    differences = [
        f"{key} is {found.get(key)!r}, must be {value!r}"
        for key, value in wanted.items()
        # The server leaves out what is off.
        if key not in free and found.get(key, False if value is False else None) != value
    ]
    differences += [
        f"{key} is {found[key]!r}, must not be set"
        for key in _ABSENT
        if found.get(key)
        and not (key == "persist_mode" and found[key] == "default")
        and not (key == "first_seq" and found[key] == 1)
    ]
    return differences


async def ensure_streams(connection: Connection, settings: StreamSettings | None = None) -> None:
    """Make EVENTS, TELEMETRY and the buckets where they are missing, and verify the settings of all.

    Raises:
        LogMisconfigured: a stream is there with settings that would lose history, or cannot be made.
        LogUnavailable: the server does not answer.
    """
    settings = settings or StreamSettings()
    configurations = [events_configuration(settings), telemetry_configuration(settings)]
    configurations += [bucket_configuration(bucket, seconds, settings) for bucket, seconds in BUCKETS.items()]
    for configuration in configurations:
        await ensure_stream(connection, configuration)


async def wait_for_streams(connection: Connection, settings: StreamSettings, seconds: float = START_SECONDS) -> None:
    """As `ensure_streams`, and wait for a server that does not answer yet: a cluster may just be choosing its leader.

    Raises:
        LogMisconfigured: as `ensure_streams`.
        LogUnavailable: the server did not answer in all that time, in seconds.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        try:
            return await ensure_streams(connection, settings)
        except LogUnavailable as error:
            if loop.time() >= end:
                raise
            log.warning("eventlog.waits", extra={"error": str(error)})
        await asyncio.sleep(_PAUSE_SECONDS)


async def ensure_stream(connection: Connection, configuration: Mapping[str, Any]) -> None:
    """Make a stream if it is missing; verify its settings if it is there. See `ensure_streams`."""
    name = configuration["name"]
    found: Mapping[str, Any] | None = await stream_configuration(connection, name)
    if found is None:
        try:
            found = (await connection.request_api(f"STREAM.CREATE.{name}", configuration))["config"]
        except ApiError as error:
            found = await _after_refused_creation(connection, name, error)
    differences = configuration_differences(configuration, found)
    if differences:
        raise LogMisconfigured(
            f"the stream {name} is not as it must be: {'; '.join(differences)}. "
            f"Milepost changes no stream that exists: restore these settings with `nats stream edit {name}`, "
            "or point it to another NATS server"
        )


async def _after_refused_creation(connection: Connection, name: str, error: ApiError) -> Mapping[str, Any]:
    if error.err_code in (codes.STREAM_NAME_IN_USE, *codes.NO_ROOM_FOR_STREAM):
        # Another service made it between our question and our attempt, or is making it: the server counts the room of
        # both attempts before it sees that they are for one stream.
        for pause in _SECONDS_FOR_THE_OTHER:
            await asyncio.sleep(pause)
            found = await stream_configuration(connection, name)
            if found is not None:
                return found
    if error.err_code in codes.NO_ROOM_FOR_STREAM:
        raise LogMisconfigured(
            f"the server has no room for the stream {name}: free disk space, or lower the limits of its size"
        ) from error
    if error.err_code == codes.CLUSTER_NOT_READY:
        raise LogUnavailable(f"the stream {name} cannot be made yet: {error.description}") from error
    raise LogMisconfigured(f"the stream {name} cannot be made: {error.description} ({error.err_code})") from error


async def stream_configuration(connection: Connection, name: str) -> dict[str, Any] | None:
    """Read the settings of a stream as the server tells them. None: there is no such stream."""
    try:
        return dict((await connection.request_api(f"STREAM.INFO.{name}"))["config"])
    except ApiError as error:
        if error.err_code == codes.STREAM_NOT_FOUND:
            return None
        raise LogUnavailable(f"the stream {name} cannot be read: {error.description}") from error


async def stream_state(connection: Connection, name: str) -> StreamState:
    """Read where a stream stands.

    Raises:
        LogMisconfigured: there is no such stream.
        LogUnavailable: no answer in time.
    """
    try:
        answer = await connection.request_api(f"STREAM.INFO.{name}")
    except ApiError as error:
        if error.err_code == codes.STREAM_NOT_FOUND:
            raise LogMisconfigured(
                f"there is no stream {name}: start the services once, or restore a backup"
            ) from error
        raise LogUnavailable(f"the stream {name} cannot be read: {error.description}") from error
    state = answer["state"]
    return StreamState(
        created=parse_nanoseconds(answer["created"]),
        first_sequence=state["first_seq"],
        last_sequence=state["last_seq"],
        message_count=state["messages"],
        byte_count=state["bytes"],
    )
