"""What attempts left on this machine is sent when their trial has come to rest."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from milepost.api.telemetry.v1.telemetry_pb2 import Sender
from milepost.eventlog.nats.connection import Connection
from milepost.eventlog.telemetry import Telemetry, parse_telemetry_subject
from milepost.eventlog.telemetry_headers import END
from milepost.ids import new_runtime_id
from milepost.names import AttemptKey
from milepost.training.spooling.spool import Spool
from services.runtime.scheduling import recovery
from tests.support.servers.servers import NatsServer


def leave(data_dir: Path, key: AttemptKey) -> None:
    """Leave a batch as an attempt does that was killed."""
    sender = Sender(runtime_id=key.runtime_id, trial=key.trial, attempt=key.attempt, source="rank-0")
    folder = key.directory(data_dir)
    folder.mkdir(parents=True)
    spool = Spool(folder / "spool-rank-0.sqlite", sender)
    spool.put("steps", lambda number: ({"mp-number": str(number)}, b"batch"), 1)
    spool.close()


async def test_what_many_attempts_left_is_sent_with_the_last_one(
    connection: Connection, shared_nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was killed before it had sent what those before it left: the last word of every one is said."""
    # Nobody says here that anything is stored.
    monkeypatch.setattr(recovery, "SEND_SECONDS", 1.0)
    runtime_id = new_runtime_id()
    attempts = (1, 2, 3, 14)
    for attempt in attempts:
        leave(tmp_path, AttemptKey(runtime_id, 1, attempt))
    (tmp_path / "runtimes" / runtime_id / "trial-1" / "attempt-15").mkdir()
    taking = recovery.Recovery(tmp_path, shared_nats.url, lambda key: None)
    seen: dict[int, list[str]] = {}
    taking.send_telemetry(AttemptKey(runtime_id, 1, 15))
    async with asyncio.timeout(30), Telemetry(connection).consume(subjects=[f"telemetry.{runtime_id}.>"]) as messages:
        async for message in messages:
            number = parse_telemetry_subject(message.subject)[2]
            seen.setdefault(number, []).append(message.headers.get(END, ""))
            if len(seen) == len(attempts) and all(len(ends) == 2 for ends in seen.values()):
                break
    assert all(ends[0] == "" and ends[1] for ends in seen.values()), seen
    assert set(seen) == set(attempts)
    await taking.close()
