"""What `milepost doctor` asks of the event log: the server, its clock, its streams, and the end of the history."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from milepost.eventlog import BUCKETS, EventLogError, LogRegressed
from milepost.eventlog.nats.connection import ApiError, Connection, connect
from milepost.eventlog.nats.credentials import ADMIN, InvalidCredentials, find_credentials
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import (
    StreamSettings,
    bucket_configuration,
    configuration_differences,
    events_configuration,
    telemetry_configuration,
)
from milepost.eventlog.proof.anchor import AnchorFile, anchors_path
from milepost.eventlog.proof.examination import examine_tail
from milepost.installation.settings import Settings

# Times of events are clocks of writers: people who read them expect them to agree.
CLOCK_SECONDS = 1.0
# Of its byte limit. There EVENTS refuses commands, and TELEMETRY drops its oldest messages, stored or not.
FULL_SHARE = 0.9
CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    text: str


async def check_log(settings: Settings, url: str) -> list[Finding]:
    """Look at everything that can be seen through a connection to NATS."""
    try:
        credentials = find_credentials(settings.keys_dir, ADMIN)
        async with await connect(
            url, name="milepost doctor", timeout_seconds=CONNECT_SECONDS, credentials=credentials
        ) as nats:
            return [finding async for finding in _findings(settings, nats)]
    except (EventLogError, InvalidCredentials) as error:
        return [Finding("nats", False, str(error))]


async def _findings(settings: Settings, nats: Connection) -> AsyncIterator[Finding]:
    yield Finding("nats", True, f"{nats.address} answers, nats-server {nats.client.connected_server_version}")
    wanted = StreamSettings.of(settings["replicas"], settings["store_megabytes"])
    configurations = [events_configuration(wanted), telemetry_configuration(wanted)]
    configurations += [bucket_configuration(name, seconds, wanted) for name, seconds in BUCKETS.items()]
    clock_is_known = False
    for configuration in configurations:
        name = configuration["name"]
        before = time.time()
        try:
            info = await nats.request_api(f"STREAM.INFO.{name}")
        except ApiError as error:
            yield Finding(f"stream {name}", False, f"{error.description}: start the services once, or restore a backup")
            continue
        if not clock_is_known and "ts" in info:
            clock_is_known = True
            yield _clock(info["ts"], before, time.time())
        yield _stream(name, configuration, info)
        for finding in _replicas(name, info):
            yield finding
    yield await _tail(settings, nats)


def _clock(server_time: str, before: float, after: float) -> Finding:
    """Compare the clock of the server with ours: its answer was made between two moments of ours."""
    theirs = datetime.fromisoformat(server_time[:26].rstrip("Z") + "+00:00").timestamp()
    difference = max(before - theirs, theirs - after, 0.0)
    return Finding("clock", difference <= CLOCK_SECONDS, f"differs from that of NATS by {difference:.3f} s")


def _stream(name: str, configuration: Mapping[str, Any], info: Mapping[str, Any]) -> Finding:
    differences = configuration_differences(configuration, info["config"])
    if differences:
        return Finding(f"stream {name}", False, "; ".join(differences))
    state, limit = info["state"], info["config"].get("max_bytes", -1)
    text = f"as it must be; {state['messages']:,} messages, {state['bytes'] / 1e6:,.1f} MB"
    if limit > 0:
        text += f" of {limit / 1e6:,.0f} MB"
        return Finding(f"stream {name}", state["bytes"] < FULL_SHARE * limit, text)
    return Finding(f"stream {name}", True, text)


def _replicas(name: str, info: Mapping[str, Any]) -> list[Finding]:
    """In a cluster: who leads, and who is behind."""
    cluster = info.get("cluster") or {}
    replicas = cluster.get("replicas") or []
    if not replicas:
        return []
    behind = [f"{peer['name']} ({peer.get('lag', 0)} behind)" for peer in replicas if not peer.get("current")]
    text = f"{cluster.get('leader') or 'nobody'} leads, " + (
        f"not current: {', '.join(behind)}" if behind else "all current"
    )
    return [Finding(f"replicas {name}", bool(cluster.get("leader")) and not behind, text)]


async def _tail(settings: Settings, nats: Connection) -> Finding:
    anchors = AnchorFile(anchors_path(settings.data_dir))
    try:
        known = anchors.read()
        log = JetStreamLog(nats)
        findings = await examine_tail(log, known)
        last = (await log.state()).last_sequence
    except LogRegressed as error:
        return Finding("chain", False, str(error))
    if findings:
        return Finding("chain", False, f"{findings[0].message}; milepost audit verify shows all")
    since = f"anchor {known[-1].sequence}" if known else "no anchor yet"
    return Finding("chain", True, f"unbroken from the last anchors to event {last} ({since})")
