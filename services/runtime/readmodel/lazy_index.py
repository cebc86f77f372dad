"""The runtimes of a read model, by id. Those that a checkpoint left at rest stay written until somebody asks for them.

Lists, counts and filters need a few facts of every runtime: those are read from the checkpoint at once. Most runtimes
ended long ago and nobody looks at them, so a restart does not wait for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.runtime.readmodel.views import RuntimeView

AT_REST = ("", "ENDED", "RESTORABLE", "DELETED")


@dataclass(frozen=True, slots=True)
class Summary:
    """What lists know of a runtime.

    Attributes:
        sequence: of its last event.
        created_sequence: of its request. 0: there was none.
        create_time: as RFC 3339 text in UTC with microseconds, which sorts as the times do. Empty: there was none.
        created_by: who requested it.
        purge_time: of one that can be undeleted, when its data goes; as `create_time`. Empty: it is none.
        status, phase: their words. Empty: none.
    """

    runtime_id: str
    sequence: int
    status: str
    phase: str
    deleting: bool
    name: str
    labels: dict[str, str]
    created_sequence: int
    create_time: str
    created_by: str
    purge_time: str

    @property
    def exists(self) -> bool:
        return bool(self.status)

    @property
    def at_rest(self) -> bool:
        """Nothing can follow for this runtime without a command, or before its purge time."""
        return self.phase in AT_REST


@dataclass(frozen=True, slots=True)
class Written:
    """A runtime that is not opened: its summary, and all of it as `open_record` reads it."""

    summary: Summary
    record: bytes


class LazyIndex(Mapping[str, "RuntimeView"]):
    """All runtimes by id, in the order in which they came. Looking one up opens it."""

    def __init__(self) -> None:
        self._entries: dict[str, RuntimeView | Written] = {}
        self._open_record: Callable[[bytes], RuntimeView] | None = None

    def __getitem__(self, runtime_id: str) -> RuntimeView:
        entry = self._entries[runtime_id]
        if isinstance(entry, Written):
            assert self._open_record is not None, "whoever laid it there said how it is opened"
            entry = self._entries[runtime_id] = self._open_record(entry.record)
        return entry

    def __contains__(self, runtime_id: object) -> bool:
        return runtime_id in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, view: RuntimeView) -> None:
        self._entries[view.runtime_id] = view

    def lay(self, written: Written, open_record: Callable[[bytes], RuntimeView]) -> None:
        """Add a runtime as it was written down."""
        self._open_record = open_record
        self._entries[written.summary.runtime_id] = written

    def entries(self) -> Iterator[RuntimeView | Written]:
        """Yield every runtime as it lies there, none of them opened for that."""
        return iter(self._entries.values())

    def opened(self) -> Iterator[RuntimeView]:
        """Yield every runtime that is open."""
        return (entry for entry in self._entries.values() if not isinstance(entry, Written))

    def entry(self, runtime_id: str) -> RuntimeView | Written:
        return self._entries[runtime_id]
