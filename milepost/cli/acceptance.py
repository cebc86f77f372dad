"""What `milepost audit accept` does: on the host of the services, with the keys of their data directory."""

from __future__ import annotations

import asyncio
import getpass
from datetime import UTC, datetime

import click

from milepost import endpoints
from milepost.cli.exits import Exit
from milepost.cli.output import say
from milepost.eventlog import EventLogError, LogRegressed, LogUnavailable
from milepost.eventlog.anchor import AnchorFile, accept_regression, anchors_path, examine_tail
from milepost.eventlog.connection import connect
from milepost.eventlog.credentials import ADMIN, InvalidCredentials, find_credentials
from milepost.eventlog.jetstream import JetStreamLog
from milepost.ids import new_event_id
from milepost.settings import Settings


def accept_log(settings: Settings, reason: str, yes: bool) -> int:
    """Say what is wrong with the log, ask unless told not to, and record the decision. Returns an exit status."""
    try:
        return asyncio.run(_accept(settings, reason, yes))
    except (EventLogError, InvalidCredentials) as error:
        say(f"error: {error}")
        return Exit.UNAVAILABLE if isinstance(error, LogUnavailable) else Exit.PRECONDITION


async def _accept(settings: Settings, reason: str, yes: bool) -> int:
    anchors = AnchorFile(anchors_path(settings.data_dir))
    url = endpoints.find(str(settings.data_dir)).nats
    credentials = find_credentials(settings.keys_dir, ADMIN)
    async with await connect(url, name="milepost audit accept", timeout_seconds=10, credentials=credentials) as nats:
        log = JetStreamLog(nats)
        try:
            findings = await examine_tail(log, anchors.read())
            problems = [finding.message for finding in findings]
        except LogRegressed as error:
            problems = [str(error)]
        if not problems:
            say("the log is as it was anchored: there is nothing to accept")
            return Exit.OK
        for problem in problems:
            say(problem)
        if not yes and not click.confirm("Go on with the log as it is?", err=True):
            return Exit.FAILED
        actor = f"local:{getpass.getuser()}"
        await accept_regression(
            log, anchors, actor=actor, reason=reason, event_id=new_event_id(), time=datetime.now(UTC)
        )
        say("accepted; what is missing stays named by `milepost audit verify`")
        return Exit.OK
