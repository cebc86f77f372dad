"""The runtimes of a read model, by id. Those that a checkpoint left at rest stay written until somebody asks for them.

Lists, counts and filters need a few facts of every runtime: those are read from the checkpoint at once. Most runtimes
ended long ago and nobody looks at them, so a restart does not wait for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from services.runtime.readmodel.view import RuntimeView, Written


class LazyIndex(Mapping[str, RuntimeView]):
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
