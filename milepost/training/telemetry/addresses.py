"""Where the telemetry of an instance goes, and as whom it is sent."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path

from milepost.training.user_code.ending import ask_nats, ask_service

# Between two looks whether it is known which user of the server this is.
KNOWN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the telemetry of an instance goes."""

    nats_url: str
    credentials: Path | None = None
    # Set once it is known whether the server asks for credentials: a file that is not there by then is not needed.
    # None: it is known.
    known: threading.Event | None = None
    # The service that has to answer before that is known.
    service: str = ""

    async def answer(self, seconds: float) -> bool | None:
        """Return whether those answer that telemetry needs; see `ServerWatch`."""
        answer = await ask_nats(self.nats_url, seconds)
        if answer and self.service and self.known is not None and not self.known.is_set():
            return await ask_service(self.service, seconds)
        return answer

    async def user(self) -> Path | None:
        """Wait until it is known which credentials are to be shown. None: the server asks for none."""
        while self.known is not None and not self.known.is_set():
            await asyncio.sleep(KNOWN_SECONDS)
        if self.known is not None and self.credentials is not None and not self.credentials.exists():
            return None
        return self.credentials
