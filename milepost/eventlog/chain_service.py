"""Chains on request: how an attempt reads the history of its trial.

An attempt may make no consumer, and of the forms of a direct get the one that reads a range could read everything. So
the runtime service answers on `chains.<runtime>.<trial>`, which the broker's permissions can name. An attempt needs it
for what it missed; the heads, and so its appends, it reads from the broker itself.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from milepost.eventlog import EventLogError, trial_chain
from milepost.eventlog.connection import Connection, CoreMessage
from milepost.eventlog.jetstream import JetStreamLog
from milepost.eventlog.messages import StoredMessage

log = logging.getLogger(__name__)

ALL_CHAINS = "chains.*.*"
# Of several runtime services one answers.
QUEUE = "chains"


class ChainService:
    """Answers requests for the chains of trials, each event as the broker stores it, then a message with a status."""

    def __init__(self, connection: Connection, event_log: JetStreamLog) -> None:
        self._connection = connection
        self._log = event_log

    async def run(self) -> None:
        """Answer for ever."""
        async with await self._connection.subscribe(ALL_CHAINS, queue=QUEUE) as requests:
            async for request in requests:
                try:
                    await self._answer(request)
                except EventLogError as error:
                    # Who asked hears nothing and asks again.
                    log.warning("chain.not_sent", extra={"subject": request.subject, "error": str(error)})
                except ValueError as error:
                    log.warning("chain.bad_request", extra={"subject": request.subject, "error": str(error)})

    async def _answer(self, request: CoreMessage) -> None:
        _, runtime_id, trial = request.subject.split(".")
        inbox = request.reply.split(".")[0]
        # Otherwise whoever asks could have us publish in a place where we may and it may not.
        if inbox != "_INBOX" and not inbox.startswith(f"_INBOX_{runtime_id}_{trial}_"):
            raise ValueError(f"{request.reply!r} is not where an attempt of this trial waits for answers")
        messages = await self._log.chain_messages(trial_chain(runtime_id, int(trial)))
        for message in messages:
            await self._connection.publish(request.reply, message.body, _headers(message))
        await self._connection.publish(request.reply, b"", {"Status": "204", "Nats-Count": str(len(messages))})


def _headers(message: StoredMessage) -> dict[str, str]:
    """The headers as a direct get gives them: those stored, and where the message stands."""
    seconds, nanoseconds = divmod(message.time, 1_000_000_000)
    time = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    place = {
        "Nats-Subject": message.subject,
        "Nats-Sequence": str(message.sequence),
        "Nats-Time-Stamp": f"{time}.{nanoseconds:09d}Z",
    }
    return {name: value for name, value in message.headers.items() if not name.startswith("Nats-")} | place
