"""Where one attempt of a script lies on this machine, and which servers it looks for."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from milepost import files
from milepost.eventlog.nats.credentials import find_authority
from milepost.installation.endpoints import Endpoints
from milepost.security.tokens import write_private
from milepost.training.script.attempt.registration import take_up
from milepost.training.spooling.journal import AttemptKey

START_FILE = "start.json"
CREDENTIALS = "nats.creds"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one attempt of a script lies, and which servers it looks for."""

    key: AttemptKey
    directory: Path
    endpoints: Endpoints
    # Set when it is known which user of the NATS server this is.
    known: threading.Event = field(default_factory=threading.Event)
    # Set when it is known that this is a run of its own, and not part of that of another process.
    decided: threading.Event = field(default_factory=threading.Event)

    @property
    def credentials(self) -> Path:
        return self.directory / CREDENTIALS

    def find_user(self) -> Path | None:
        """Return the credentials of the attempt. None: the server asks for none.

        Who may read the keys of the installation makes them; others are handed them by the runtime service, which
        must know the runtime by then. They are kept, for what is sent later.

        Raises: as `take_up`.
        """
        if files.is_irregular(self.credentials):
            files.set_aside(self.credentials, "it is no regular file")
        if not self.known.is_set() and not self.credentials.exists():
            key, authority = self.key, find_authority(keys_dir(self.endpoints))
            if authority is not None:
                content = authority.attempt_credentials(key.runtime_id, key.trial, key.attempt)
            else:
                content = take_up(self.endpoints, key.runtime_id, key.attempt).nats_credentials
            if content:
                write_private(self.credentials, content.encode())
        self.known.set()
        return self.credentials if self.credentials.exists() else None

    @property
    def start_file(self) -> Path:
        return self.directory.parent.parent / START_FILE


def keys_dir(endpoints: Endpoints) -> Path:
    named = os.environ.get("MILEPOST_KEYS_DIR")
    return Path(named) if named else Path(endpoints.data_dir) / "keys"
