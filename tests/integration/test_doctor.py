"""What `milepost doctor` sees of the event log, and what it says of a machine on which nothing runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from milepost.cli.exits import Exit
from milepost.cli.local.log_checks import Finding, check_log
from milepost.eventlog.nats.connection import connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import StreamSettings, ensure_streams, events_configuration
from milepost.eventlog.proof.anchor import Anchor, AnchorFile, anchors_path
from milepost.eventlog.proof.log_guard import LogGuard
from milepost.installation.settings import Settings, collect
from tests.support.servers.metrics_service import start_attempt
from tests.support.servers.processes import ROOT
from tests.support.servers.servers import NatsServer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return collect({"data_dir": str(tmp_path / "data")}, {})


def bad(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.text for finding in findings if not finding.ok}


async def test_a_whole_log_is_well_in_every_respect(nats_server: NatsServer, settings: Settings) -> None:
    """Streams, buckets, clock, and the chain up to the last event."""
    async with await connect(nats_server.url) as connection:
        await ensure_streams(connection)
        log = JetStreamLog(connection)
        await start_attempt(log, "rt-1", 1)
        await LogGuard(log, AnchorFile(anchors_path(settings.data_dir))).anchor_growth()
    findings = await check_log(settings, nats_server.url)
    assert not bad(findings)
    assert {f.subject for f in findings} == {
        "nats", "clock", "stream EVENTS", "stream TELEMETRY", "stream KV_requests", "stream KV_leases",
        "stream KV_launches", "chain",
    }  # fmt: skip
    assert "to event 3 (anchor 3)" in next(f.text for f in findings if f.subject == "chain")


async def test_a_stream_that_would_lose_history_and_a_log_that_lost_some_are_named(
    nats_server: NatsServer, settings: Settings
) -> None:
    async with await connect(nats_server.url) as connection:
        configuration = {**events_configuration(StreamSettings()), "max_age": 10**15}
        await connection.request_api("STREAM.CREATE.EVENTS", configuration)
        state = await JetStreamLog(connection).state()
    anchor = Anchor(state.created, 7, "0" * 64, "2026-01-01T00:00:00Z")
    AnchorFile(anchors_path(settings.data_dir)).append(anchor)
    found = bad(await check_log(settings, nats_server.url))
    assert "max_age is 1000000000000000, must be 0" in found["stream EVENTS"]
    assert "7 messages were anchored" in found["chain"]
    assert "start the services once" in found["stream TELEMETRY"]


def test_where_nothing_runs_it_says_so_and_ends_with_a_status(tmp_path: Path) -> None:
    """Every part that does not answer is named, and the command changes nothing."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MILEPOST_NATS_URL": "nats://127.0.0.1:9"}
    environment |= {f"MILEPOST_{n}_ADDRESS": "127.0.0.1:9" for n in ("GATEWAY", "RUNTIME", "TRIALS", "METRICS")}
    command = [sys.executable, "-m", "milepost", "doctor", "-o", "json", "--data-dir", str(tmp_path / "data")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=110, env=environment, cwd=ROOT)
    assert result.returncode == Exit.FAILED, result.stderr
    found = {item["subject"]: item for item in json.loads(result.stdout)}
    for part in ("gateway", "runtime", "trials", "metrics", "nats"):
        assert not found[part]["ok"], found[part]
    assert "nothing listens there" in found["runtime"]["text"]
    assert found["python"]["ok"] and found["nats-server"]["text"].startswith("nats-server: v")
    assert not (tmp_path / "data").exists()
