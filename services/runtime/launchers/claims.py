"""Who has a launch: each is handed out once, so a job that is submitted or started twice trains once."""

from __future__ import annotations

from milepost.eventlog import LAUNCHES_BUCKET, KeyValue
from milepost.names import AttemptKey

# Holds a launch that nobody may have any more.
WITHDRAWN = "withdrawn"


class Claims:
    """The launches that were handed out or withdrawn."""

    def __init__(self, key_value: KeyValue) -> None:
        self._key_value = key_value

    async def take(self, key: AttemptKey, claim_id: str) -> bool:
        """Take a launch. False: somebody else has it. Whoever has it may take it again.

        Raises:
            EventLogError: it cannot be known now.
        """
        name = _name(key)
        if await self._key_value.create(LAUNCHES_BUCKET, name, claim_id.encode()) is not None:
            return True
        return await self.holder(key) == claim_id

    async def withdraw(self, key: AttemptKey) -> bool:
        """See to it that nobody gets a launch any more. False: somebody has it. Raises as `take`."""
        return await self.take(key, WITHDRAWN)

    async def holder(self, key: AttemptKey) -> str:
        """Return the claim id of who has a launch, or `WITHDRAWN`. Empty: nobody has it. Raises as `take`."""
        found = await self._key_value.get(LAUNCHES_BUCKET, _name(key))
        return found[0].decode() if found is not None else ""

    async def forget(self, key: AttemptKey) -> None:
        """Forget who had the launch of an attempt that never comes again. Raises as `take`."""
        await self._key_value.delete(LAUNCHES_BUCKET, _name(key))


def _name(key: AttemptKey) -> str:
    # As plain as a subject may be, for `nats kv`.
    return f"{key.runtime_id}_{key.trial}_{key.attempt}"
