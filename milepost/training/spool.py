"""What was sent but is not yet known to be stored, in one SQLite file per sender.

A batch enters the spool before it is sent and leaves it when the metric writer has stored it. Numbers are contiguous
per kind. Over the size limit the oldest batches give up what is in them, points before lines unless lines take more
than half of the room: a tombstone with the same number stays.
A file that cannot be written (disk full) is replaced by memory of a bounded size until it can be written again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from milepost.api.event.v1.trial_events_pb2 import TelemetryDropped
from milepost.api.telemetry.v1.telemetry_pb2 import LogBatch, Sender, StepBatch, Tombstone

STEPS = "steps"
LOGS = "logs"
DEFAULT_LIMIT_BYTES = 512 << 20
# Held in memory while the file cannot be written.
MEMORY_LIMIT_BYTES = 64 << 20

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sender (runtime_id TEXT, trial INTEGER, attempt INTEGER, source TEXT);
CREATE TABLE IF NOT EXISTS numbers (kind TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
  kind TEXT NOT NULL, number INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL,
  items INTEGER NOT NULL, first_step INTEGER NOT NULL, last_step INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, number));
CREATE TABLE IF NOT EXISTS events (
  position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, type TEXT NOT NULL, body BLOB NOT NULL, time TEXT NOT NULL,
  cause TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch that is not known to be stored."""

    kind: str
    number: int
    headers: dict[str, str]
    body: bytes
    # Points or lines.
    items: int
    first_step: int = 0
    last_step: int = 0
    dropped: bool = False


@dataclass(slots=True)
class Held:
    """What the index remembers of a batch. `entry` is set only while the file could not take it."""

    size: int
    dropped: bool = False
    entry: Entry | None = None
    # Clock of `time.monotonic`. 0: not acknowledged by the broker.
    acknowledged: float = 0.0
    # Seconds it may stay acknowledged but not stored before it is sent again.
    patience: float = 10.0


@dataclass(frozen=True, slots=True)
class SpooledEvent:
    """An event of the attempt that is not known to be in the log."""

    id: str
    type: str
    body: bytes
    time: str
    cause: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """Batches that gave up their points or lines."""

    kind: str
    batches: int
    items: int
    first_step: int
    last_step: int
    reason: str

    def fact(self, attempt: int, rank: int = 0) -> TelemetryDropped:
        """State it as an event of an attempt."""
        return TelemetryDropped(
            attempt=attempt,
            rank=rank,
            kind=self.kind,
            batch_count=self.batches,
            item_count=self.items,
            first_step=self.first_step,
            last_step=self.last_step,
            reason=self.reason,
        )


class Spool:
    """The spool of one sender. Used by one thread at a time.

    `on_drop` hears of what had to be given up.
    """

    def __init__(
        self,
        path: Path,
        sender: Sender,
        *,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        on_drop: Callable[[Dropped], None] | None = None,
    ) -> None:
        self.path = path
        self.sender = sender
        self.failure = ""
        self._limit = limit_bytes
        self._on_drop = on_drop or (lambda dropped: None)
        self._index: dict[str, dict[int, Held]] = {STEPS: {}, LOGS: {}}
        self._last: dict[str, int] = {STEPS: 0, LOGS: 0}
        self._bytes = 0
        self._memory_bytes = 0
        self._retry_file_at = 0.0
        self._database: sqlite3.Connection | None = None
        self._open()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)
            database.execute("PRAGMA journal_mode=WAL")
            # A crash of the process loses nothing; a power cut loses what the broker does not have either.
            database.execute("PRAGMA synchronous=NORMAL")
            database.executescript(_SCHEMA)
            if database.execute("SELECT count(*) FROM sender").fetchone()[0] == 0:
                s = self.sender
                database.execute("INSERT INTO sender VALUES (?, ?, ?, ?)", (s.runtime_id, s.trial, s.attempt, s.source))
            self._database = database
            self._read_index(database)
            self.failure = ""
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def _read_index(self, database: sqlite3.Connection) -> None:
        for kind, last in database.execute("SELECT kind, last FROM numbers"):
            self._last[kind] = max(self._last[kind], last)
        rows = database.execute("SELECT kind, number, length(body), dropped FROM batches ORDER BY number")
        for kind, number, size, dropped in rows:
            if number not in self._index[kind]:
                self._index[kind][number] = Held(size, bool(dropped))
                self._bytes += size

    def _fail(self, error: Exception) -> None:
        self.failure = str(error)
        self._retry_file_at = time.monotonic() + 5.0

    def last_number(self, kind: str) -> int:
        """Return the number of the newest batch of this kind; 0 when there was none."""
        return self._last[kind]

    def put(
        self,
        kind: str,
        build: Callable[[int], tuple[dict[str, str], bytes]],
        items: int,
        first_step: int = 0,
        last_step: int = 0,
    ) -> Entry:
        """Add a batch. `build` is told its number and gives headers and body."""
        number = self._last[kind] + 1
        headers, body = build(number)
        entry = Entry(kind, number, headers, body, items, first_step, last_step)
        self.put_entry(entry)
        return entry

    def put_entry(self, entry: Entry) -> None:
        """Add a batch that has its number already."""
        self._last[entry.kind] = max(self._last[entry.kind], entry.number)
        held = Held(len(entry.body), entry.dropped, entry)
        self._index[entry.kind][entry.number] = held
        self._bytes += held.size
        self._memory_bytes += held.size
        if not self.failure or time.monotonic() >= self._retry_file_at:
            self._write_to_file()
        self._make_room()

    def _write_to_file(self) -> None:
        """Move what is in memory into the file."""
        if self._database is None:
            self._open()
        if self._database is None:
            return
        waiting = [held for kind in (LOGS, STEPS) for held in self._index[kind].values() if held.entry is not None]
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            for held in waiting:
                e = held.entry
                assert e is not None
                database.execute(
                    "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (e.kind, e.number, _join(e.headers), e.body, e.items, e.first_step, e.last_step, e.dropped),
                )
                database.execute(
                    "INSERT INTO numbers VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET last = max(last, excluded.last)",
                    (e.kind, e.number),
                )
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)
            self._roll_back()
            return
        for held in waiting:
            held.entry = None
            self._memory_bytes -= held.size
        self.failure = ""

    def _roll_back(self) -> None:
        if self._database is not None and self._database.in_transaction:
            try:
                self._database.execute("ROLLBACK")
            except sqlite3.Error:
                self._database.close()
                self._database = None

    def _make_room(self) -> None:
        """Give up what is oldest until the rest fits: points before lines, unless lines take more than half of it."""
        if self._bytes <= self._limit and self._memory_bytes <= MEMORY_LIMIT_BYTES:
            return
        of_lines = sum(held.size for held in self._index[LOGS].values())
        for kind in (LOGS, STEPS) if 2 * of_lines > self._bytes else (STEPS, LOGS):
            if self._bytes > self._limit:
                self._bury(kind, lambda: self._bytes > self._limit, lambda held: True, "the spool on disk is full")
            if self._memory_bytes > MEMORY_LIMIT_BYTES:
                reason = f"the spool cannot be written: {self.failure}"
                self._bury(
                    kind, lambda: self._memory_bytes > MEMORY_LIMIT_BYTES, lambda held: held.entry is not None, reason
                )

    def _bury(self, kind: str, needed: Callable[[], bool], eligible: Callable[[Held], bool], reason: str) -> None:
        items = batches = first = last = 0
        # The newest one is being sent; it stays.
        for number in list(self._index[kind])[:-1]:
            held = self._index[kind][number]
            if not needed():
                break
            if held.dropped or held.acknowledged or not eligible(held):
                continue
            entry = self.get(kind, number)
            if entry is None:
                continue
            self._replace(held, _tombstone(self.sender, entry, reason))
            batches += 1
            items += entry.items
            first = entry.first_step if first == 0 else min(first, entry.first_step)
            last = max(last, entry.last_step)
        if batches:
            self._on_drop(Dropped(kind, batches, items, first, last, reason))

    def _replace(self, held: Held, entry: Entry) -> None:
        gained = held.size - len(entry.body)
        self._bytes -= gained
        in_memory = held.entry is not None
        held.size, held.dropped = len(entry.body), True
        if in_memory:
            self._memory_bytes -= gained
            held.entry = entry
            return
        self._run(
            "UPDATE batches SET headers = ?, body = ?, dropped = 1 WHERE kind = ? AND number = ?",
            (_join(entry.headers), entry.body, entry.kind, entry.number),
        )

    def _run(self, statement: str, parameters: tuple[object, ...]) -> list[tuple[object, ...]]:
        if self._database is None:
            return []
        try:
            return self._database.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            self._fail(error)
            return []

    def get(self, kind: str, number: int) -> Entry | None:
        """Read a batch; None when it has left the spool."""
        held = self._index[kind].get(number)
        if held is None:
            return None
        if held.entry is not None:
            return held.entry
        columns = "headers, body, items, first_step, last_step, dropped"
        rows = self._run(f"SELECT {columns} FROM batches WHERE kind = ? AND number = ?", (kind, number))
        if not rows:
            return None
        headers, body, items, first, last, dropped = rows[0]
        return Entry(kind, number, _split(str(headers)), bytes(body), int(items), int(first), int(last), bool(dropped))  # type: ignore[call-overload,arg-type]

    def held(self, kind: str) -> dict[int, Held]:
        """Return the batches of a kind that are not known to be stored, by number, oldest first."""
        return self._index[kind]

    @property
    def count(self) -> int:
        return sum(len(index) for index in self._index.values())

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def remove(self, kind: str, first: int, last: int) -> int:
        """Forget batches first..last, which are stored. Returns how many there were."""
        index = self._index[kind]
        if last - first > len(index):
            numbers = [number for number in index if first <= number <= last]
        else:
            numbers = [number for number in range(first, last + 1) if number in index]
        if not numbers:
            return 0
        for number in numbers:
            held = index.pop(number)
            self._bytes -= held.size
            if held.entry is not None:
                self._memory_bytes -= held.size
        self._run("DELETE FROM batches WHERE kind = ? AND number BETWEEN ? AND ?", (kind, first, last))
        return len(numbers)

    # --- events of the attempt, kept by its driver until they are in the log

    def put_event(self, event: SpooledEvent) -> bool:
        """Keep an event. Returns False when the file cannot take it."""
        if self._database is None:
            self._open()
        if self._database is None:
            return False
        statement = "INSERT OR IGNORE INTO events (id, type, body, time, cause) VALUES (?, ?, ?, ?, ?)"
        try:
            self._database.execute(statement, (event.id, event.type, event.body, event.time, event.cause))
        except sqlite3.Error as error:
            self._fail(error)
            return False
        return True

    def events(self) -> list[SpooledEvent]:
        """List the events that are not known to be in the log, oldest first."""
        rows = self._run("SELECT id, type, body, time, cause FROM events ORDER BY position", ())
        return [SpooledEvent(*row) for row in rows]  # type: ignore[arg-type]

    def remove_event(self, event_id: str) -> None:
        self._run("DELETE FROM events WHERE id = ?", (event_id,))

    def close(self) -> None:
        """Close the file, and remove it if nothing is left in it."""
        if self._database is None:
            return
        self._write_to_file()
        empty = self.count == 0 and not self.events() and not self.failure
        try:
            self._database.close()
        except sqlite3.Error as error:
            self._fail(error)
        self._database = None
        if empty:
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def read_sender(path: Path) -> Sender | None:
    """Tell whose spool a file is; None when it is none."""
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            row = database.execute("SELECT runtime_id, trial, attempt, source FROM sender").fetchone()
        finally:
            database.close()
    except sqlite3.Error:
        return None
    return Sender(runtime_id=row[0], trial=row[1], attempt=row[2], source=row[3]) if row else None


def _tombstone(sender: Sender, entry: Entry, reason: str) -> Entry:
    tombstone = Tombstone(
        point_count=entry.items, first_step=entry.first_step, last_step=entry.last_step, reason=reason
    )
    kind = StepBatch if entry.kind == STEPS else LogBatch
    body = kind(sender=sender, number=entry.number, tombstone=tombstone).SerializeToString()
    headers = {**entry.headers, ("mp-points" if entry.kind == STEPS else "mp-lines"): "0"}
    return Entry(entry.kind, entry.number, headers, body, entry.items, entry.first_step, entry.last_step, True)


def _join(headers: dict[str, str]) -> str:
    return "\n".join(f"{name}:{value}" for name, value in headers.items())


def _split(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.split("\n") if line)


def kinds() -> Iterable[str]:
    """The kinds in the order in which they are sent: logs matter more."""
    return (LOGS, STEPS)
