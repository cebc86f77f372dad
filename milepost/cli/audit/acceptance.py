"""What `milepost audit accept` does: on the host of the services, with the keys of their data directory."""

from __future__ import annotations

import asyncio
import getpass
from contextlib import suppress
from datetime import UTC, datetime

import click

from milepost.cli.exits import Exit
from milepost.cli.local.datadir import DataDirectory, DataDirectoryInUse, DataDirectoryUnusable
from milepost.cli.local.own_broker import own_broker
from milepost.cli.local.stack import has_external_nats
from milepost.cli.output import say
from milepost.eventlog import EventLogError, LogRegressed, LogUnavailable
from milepost.eventlog.nats.connection import Connection, connect
from milepost.eventlog.nats.credentials import ADMIN, InvalidCredentials, find_credentials
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.server import NatsServerNotFound
from milepost.eventlog.proof.acceptance import accept_regression
from milepost.eventlog.proof.anchor import AnchorFile, anchors_path
from milepost.eventlog.proof.examination import examine_all
from milepost.ids import new_event_id
from milepost.installation import endpoints
from milepost.installation.settings import Settings


def accept_log(settings: Settings, reason: str, yes: bool) -> int:
    """Say what is wrong with the log, ask unless told not to, and record the decision. Returns an exit status.

    Where nothing runs, the NATS server of the data directory is started for it.
    """
    try:
        return asyncio.run(_accept_where_it_is(settings, reason, yes))
    except (EventLogError, InvalidCredentials, NatsServerNotFound, DataDirectoryUnusable) as error:
        say(f"error: {error}")
        return Exit.UNAVAILABLE if isinstance(error, LogUnavailable) else Exit.PRECONDITION


async def _accept_where_it_is(settings: Settings, reason: str, yes: bool) -> int:
    has_own = not has_external_nats(settings) and (settings.data_dir / "nats" / "jetstream").is_dir()
    if has_own:
        with suppress(DataDirectoryInUse), DataDirectory(settings.data_dir) as directory:
            async with own_broker(settings, directory.path, "accept") as nats:
                return await _accept(nats, settings, reason, yes)
    url = endpoints.find(str(settings.data_dir)).nats
    credentials = find_credentials(settings.keys_dir, ADMIN)
    async with await connect(url, name="milepost audit accept", timeout_seconds=10, credentials=credentials) as nats:
        return await _accept(nats, settings, reason, yes)


async def _accept(nats: Connection, settings: Settings, reason: str, yes: bool) -> int:
    anchors = AnchorFile(anchors_path(settings.data_dir))
    log = JetStreamLog(nats)
    try:
        findings = await examine_all(log, anchors.read())
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
    await accept_regression(log, anchors, actor=actor, reason=reason, event_id=new_event_id(), time=datetime.now(UTC))
    say("accepted; what is missing stays named by `milepost audit verify`")
    return Exit.OK
