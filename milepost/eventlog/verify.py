"""Check a whole log in a process of its own: `python -m milepost.eventlog.verify nats://127.0.0.1:8474 --anchors FILE`.

It reads only. Progress and the verdict go to stdout, a JSON object a line; the last has `finished`. Exit status: 0 the
log is whole, 1 it is not, 2 it cannot be read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from milepost.eventlog import EVENTS, EventLogError, LogMisconfigured
from milepost.eventlog.anchor import Anchor, AnchorFile, Verification, verify_log
from milepost.eventlog.chain import Finding
from milepost.eventlog.connection import Connection, connect
from milepost.eventlog.jetstream import JetStreamLog
from milepost.eventlog.streams import (
    StreamSettings,
    configuration_differences,
    events_configuration,
    stream_configuration,
)


async def verify(connection: Connection, anchors: list[Anchor]) -> AsyncIterator[Verification]:
    """Check the settings of the stream, then all that is in it. Yields progress, and the verdict last.

    Raises:
        LogMisconfigured: there is no stream.
        LogUnavailable: the log stopped answering.
    """
    settings = await _check_settings(connection)
    async for verification in verify_log(JetStreamLog(connection), anchors):
        yield replace(verification, findings=(*settings, *verification.findings))


async def _check_settings(connection: Connection) -> list[Finding]:
    found = await stream_configuration(connection, EVENTS)
    if found is None:
        raise LogMisconfigured(f"there is no stream {EVENTS}")
    # How many copies there are, and how large it may grow, is the administrator's choice.
    settings = StreamSettings(replicas=found["num_replicas"], events_max_bytes=found["max_bytes"])
    differences = configuration_differences(events_configuration(settings), found)
    return [Finding("stream_configuration", 0, "", difference) for difference in differences]


def as_json(verification: Verification) -> dict[str, Any]:
    """A verification as it is printed: its fields, whether the log is valid, and one sentence."""
    return asdict(verification) | {"valid": verification.valid, "message": sentence(verification)}


def sentence(verification: Verification) -> str:
    """Say it in one sentence, for people."""
    checked = f"{verification.checked:,} of {verification.last_sequence:,} events"
    if not verification.finished:
        return f"{checked} checked"
    open_findings = [finding for finding in verification.findings if not finding.accepted]
    if not open_findings:
        accepted = len(verification.findings)
        suffix = f"; {accepted} accepted before" if accepted else ""
        return f"{checked}: the chain is unbroken, {verification.digest[:12]}{suffix}"
    more = f", and {len(open_findings) - 1} more" if len(open_findings) > 1 else ""
    return f"{checked}: {open_findings[0].message}{more}"


async def _run(arguments: argparse.Namespace) -> int:
    anchors = AnchorFile(arguments.anchors).read() if arguments.anchors else []
    verification = None
    async with await connect(arguments.url, name="milepost verify", credentials=arguments.credentials) as connection:
        async for verification in verify(connection, anchors):
            sys.stdout.write(json.dumps(as_json(verification)) + "\n")
            sys.stdout.flush()
    return 0 if verification is not None and verification.valid else 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check that the event log is whole.")
    parser.add_argument("url", nargs="?", default=os.environ.get("MILEPOST_NATS_URL"), help="address of NATS")
    parser.add_argument("--anchors", type=Path, help="file with the anchors to compare with")
    parser.add_argument("--credentials", type=Path, help="file with the credentials of a user of NATS")
    try:
        return asyncio.run(_run(parser.parse_args(arguments)))
    except EventLogError as error:
        sys.stderr.write(f"the log cannot be verified: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
