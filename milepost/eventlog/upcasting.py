"""Old versions of events, brought up to what this version of the contract knows, when they are read.

What is stored never changes: hashes, chains and bundles are over the bytes as they were written. Only who asks for the
meaning of an event (`codec.decode`) gets it in its newest version. There is one version of each event so far, so the
registry of `codec` is empty; the first event that gets a second version registers its step here, and its old golden
files stay in the tests for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

# From the stored body of one version to that of the next.
Upcaster = Callable[[bytes], bytes]

_TYPE = re.compile(r"milepost\.[a-z]+\.[a-z_]+\.v(?P<version>[0-9]+)")


class Upcasters:
    """One step for each old version of a type: `...v1` to `...v2`, `...v2` to `...v3`. Readers take all of them."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[str, Upcaster]] = {}

    def register(self, ce_type: str, upcast: Upcaster) -> None:
        """Say how the body of an old version becomes that of the next one.

        Raises:
            ValueError: it is no type with a version, or its step is known already.
        """
        match = _TYPE.fullmatch(ce_type)
        if match is None:
            raise ValueError(f"not a type with a version: {ce_type!r}")
        if ce_type in self._steps:
            raise ValueError(f"there is a step from {ce_type} already")
        following = f"{ce_type[: match.start('version')]}{int(match['version']) + 1}"
        self._steps[ce_type] = (following, upcast)

    def types(self) -> Iterable[str]:
        """The old types that are still read."""
        return self._steps.keys()

    def newest_type(self, ce_type: str) -> str:
        """Name the version that a type is read as."""
        while ce_type in self._steps:
            ce_type = self._steps[ce_type][0]
        return ce_type

    def newest(self, ce_type: str, body: bytes) -> tuple[str, bytes]:
        """Bring an event up, step by step. One that has no step is what it is."""
        while ce_type in self._steps:
            ce_type, upcast = self._steps[ce_type]
            body = upcast(body)
        return ce_type, body
