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
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from milepost.eventlog import EVENTS, EventLogError, LogMisconfigured, LogRegressed
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.streams import (
    StreamSettings,
    configuration_differences,
    events_configuration,
    stream_configuration,
)
from milepost.eventlog.proof.anchor import Anchor, AnchorFile
from milepost.eventlog.proof.chain import Finding
from milepost.eventlog.proof.examination import Verification, verify_log


async def verify(
    connection: Connection, anchors: list[Anchor], found: Sequence[Finding] = ()
) -> AsyncIterator[Verification]:
    """Check the settings of the stream, then all that is in it. Yields progress, and the verdict last.

    Args:
        found: what is known to be wrong before.

    Raises:
        LogMisconfigured: there is no stream.
        LogUnavailable: the log stopped answering.
    """
    settings = await _check_settings(connection)
    async for verification in verify_log(JetStreamLog(connection), anchors):
        yield replace(verification, findings=(*found, *settings, *verification.findings))


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
    open_findings = [finding for finding in verification.findings if finding.is_open]
    if not open_findings:
        accepted = sum(finding.accepted for finding in verification.findings)
        odd = sum(finding.tolerated for finding in verification.findings)
        suffix = f"; {accepted} accepted before" if accepted else ""
        suffix += f"; attempts wrote what is no event in {odd} places, which has no effect" if odd else ""
        return f"{checked}: the chain is unbroken, {verification.digest[:12]}{suffix}"
    more = f", and {len(open_findings) - 1} more" if len(open_findings) > 1 else ""
    return f"{checked}: {open_findings[0].message}{more}"


def _anchors_of(path: Path) -> tuple[list[Anchor], list[Finding]]:
    """Read the anchors. Of a file that is damaged none counts, which is a finding; the log is checked against itself."""
    try:
        return AnchorFile(path).read(), []
    except LogRegressed as error:
        return [], [Finding("anchor", 0, "", str(error))]


async def _run(arguments: argparse.Namespace) -> int:
    anchors, found = _anchors_of(arguments.anchors) if arguments.anchors else ([], [])
    verification = None
    async with await connect(arguments.url, name="milepost verify", credentials=arguments.credentials) as connection:
        async for verification in verify(connection, anchors, found):
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
