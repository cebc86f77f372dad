"""Chains on request: how an attempt reads the history of its trial.

An attempt may make no consumer, and of the forms of a direct get the one that reads a range could read everything. So
the runtime service answers on `chains.<runtime>.<trial>`, which the broker's permissions can name. An attempt needs it
for what it missed; the heads, and so its appends, it reads from the broker itself.
"""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime

from milepost.eventlog import EventLogError, trial_chain
from milepost.eventlog.codec import HASHED_HEADERS
from milepost.eventlog.nats.connection import ANY_INBOX, Connection, CoreMessage
from milepost.eventlog.nats.jetstream import JetStreamLog
from milepost.eventlog.nats.messages import StoredMessage
from milepost.eventlog.nats.occasions import Occasions
from milepost.eventlog.nats.wire import STATUS

log = logging.getLogger(__name__)

ALL_CHAINS = "chains.*.*"
# Of several runtime services one answers.
QUEUE = "chains"

_REPLY = re.compile(r"(_INBOX[A-Za-z0-9_-]*)\.[A-Za-z0-9_.-]{1,200}")


class ChainService:
    """Answers requests for the chains of trials, each event as the broker stores it, then a message with a status.

    Chains of several trials are answered at the same time, that of one trial once at a time: of what it has asked for
    meanwhile the last counts, because who asks again waits for the others no more.
    """

    def __init__(self, connection: Connection, event_log: JetStreamLog) -> None:
        self._connection = connection
        self._log = event_log
        self._occasions = Occasions()
        # Where to answer next, by the subject of the request. Empty: it is being answered, and nobody has asked since.
        self._waiting: dict[str, str] = {}

    async def run(self) -> None:
        """Answer for ever."""
        self._waiting.clear()
        async with await self._connection.subscribe(ALL_CHAINS, queue=QUEUE) as requests, asyncio.TaskGroup() as tasks:
            async for request in requests:
                try:
                    self._check(request)
                except ValueError as error:
                    if count := self._occasions.next(request.subject):
                        extra = {"subject": request.subject, "error": str(error), "count": count}
                        log.warning("chain.bad_request", extra=extra)
                    continue
                answering = request.subject in self._waiting
                self._waiting[request.subject] = request.reply
                if not answering:
                    tasks.create_task(self._answer_all(request.subject))

    def _check(self, request: CoreMessage) -> None:
        """Refuse to answer elsewhere: whoever asks could have us publish in a place where we may and it may not.

        Raises:
            ValueError: it does not wait there.
        """
        _, runtime_id, trial = request.subject.split(".")
        int(trial)
        inbox = _REPLY.fullmatch(request.reply)
        own = inbox is not None and inbox[1].startswith(f"{ANY_INBOX}_{runtime_id}_{trial}_")
        anybody = inbox is not None and inbox[1] == self._connection.inbox_prefix == ANY_INBOX
        if not (own or anybody):
            raise ValueError(f"{request.reply!r} is not where an attempt of this trial waits for answers")

    async def _answer_all(self, subject: str) -> None:
        """Answer until nobody has asked since."""
        try:
            while reply := self._waiting[subject]:
                self._waiting[subject] = ""
                await self._answer(subject, reply)
        finally:
            del self._waiting[subject]

    async def _answer(self, subject: str, reply: str) -> None:
        _, runtime_id, trial = subject.split(".")
        sent = 0
        try:
            async for message, _ in self._log.chain_events(trial_chain(runtime_id, int(trial))):
                await self._connection.publish(reply, message.body, _headers(message))
                sent += 1
            await self._connection.publish(reply, b"", {STATUS: "204", "Nats-Count": str(sent)})
        except EventLogError as error:
            # Who asked hears nothing and asks again.
            log.warning("chain.not_sent", extra={"subject": subject, "error": str(error)})


def _headers(message: StoredMessage) -> dict[str, str]:
    """The headers of an event, and where it stands, as a direct get gives them. Others might look like a status."""
    seconds, nanoseconds = divmod(message.time, 1_000_000_000)
    time = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    place = {
        "Nats-Subject": message.subject,
        "Nats-Sequence": str(message.sequence),
        "Nats-Time-Stamp": f"{time}.{nanoseconds:09d}Z",
    }
    return {name: message.headers[name] for name in HASHED_HEADERS if name in message.headers} | place
