"""What was sent but is not yet known to be stored, in one SQLite file per sender.

A batch enters the spool before it is sent and leaves it when the metric writer has stored it. Numbers are contiguous
per kind. Over the size limit the oldest batches give up what is in them, points before lines unless lines take more
than half of the room: a tombstone with the same number stays.
A file that cannot be written (disk full) is replaced by memory of a bounded size until it can be written again.

A spool has one owner (`owner.py`), who alone changes or removes the file. Whoever else opens it while the owner lives
is lent what is complete at that moment: it may be sent, and the file stays as it is.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from milepost import files
from milepost.api.event.v1.trial_events_pb2 import ALERT_KIND_SPOOL_FILLING, AlertRaised, TelemetryDropped
from milepost.api.telemetry.v1.telemetry_pb2 import LogBatch, Sender, StepBatch, Tombstone
from milepost.eventlog import telemetry_headers
from milepost.training.spooling.owner import Life, Owned, Owner, OwnerLock, look, owner_file
from milepost.training.spooling.salvage import SOUND, beside, damage, mend

STEPS = "steps"
LOGS = "logs"
DEFAULT_LIMIT_BYTES = 512 << 20
# Filled above this share it is said, once, until it is filled below the other one.
FILLING_SHARE, EASED_SHARE = 0.8, 0.5
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


@dataclass(frozen=True, slots=True)
class Filling:
    """A spool that will have to give up something before long: bytes in it, and how many may be."""

    source: str
    used: int
    limit: int

    def fact(self, attempt: int, step: int) -> AlertRaised:
        """State it as an event of an attempt."""
        share = 100 * self.used // self.limit
        message = (
            f"The spool of {self.source} is {share}% full ({self.used >> 20:,} of {self.limit >> 20:,} MiB):"
            " what was sent is not stored"
        )
        return AlertRaised(attempt=attempt, kind=ALERT_KIND_SPOOL_FILLING, step=step, message=message)


class Spool:
    """The spool of one sender, of which this process is the owner. Used by one thread at a time.

    `on_drop` hears of what had to be given up, `on_filling` before that. `lent_by`: who owns it, where that is another
    process (`open_left`).

    Raises:
        Owned: another process is the owner.
    """

    def __init__(
        self,
        path: Path,
        sender: Sender,
        *,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        on_drop: Callable[[Dropped], None] | None = None,
        on_filling: Callable[[Filling], None] | None = None,
        lent_by: Owner | None = None,
    ) -> None:
        self.path = path
        self.sender = sender
        self.failure = ""
        self.lent_by = lent_by
        self._lock: OwnerLock | None = None
        self._limit = limit_bytes
        self._on_drop = on_drop or (lambda dropped: None)
        self._on_filling = on_filling or (lambda filling: None)
        self._is_filling = False
        self._index: dict[str, dict[int, Held]] = {STEPS: {}, LOGS: {}}
        self._last: dict[str, int] = {STEPS: 0, LOGS: 0}
        self._bytes = 0
        self._memory_bytes = 0
        self._retry_file_at = 0.0
        # Events that the file could not take, oldest first. Later ones wait behind them.
        self._events_in_memory: list[SpooledEvent] = []
        self._database: sqlite3.Connection | None = None
        if lent_by is None:
            self._open()
        else:
            self._open_lent()

    def _open_lent(self) -> None:
        try:
            self._database = _connect(_read_only(self.path), uri=True)
            self._read_index(self._database)
        except sqlite3.Error as error:
            self._fail(error)

    def _open(self) -> None:
        """Take the file.

        Raises:
            Owned: another process has it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._lock is None:
                self._lock = OwnerLock(owner_file(self.path))
            database = _connect(self.path)
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
        for kind, last in database.execute(f"SELECT kind, last FROM numbers WHERE {SOUND['numbers']}"):
            self._last[kind] = max(self._last[kind], last)
        columns = "kind, number, length(body), dropped"
        rows = database.execute(f"SELECT {columns} FROM batches WHERE {SOUND['batches']} ORDER BY number")
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

    def continue_after(self, kind: str, number: int) -> None:
        """Give what comes numbers above one that was sent before this file was made."""
        self._last[kind] = max(self._last[kind], number)

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

    def put_last(self, headers: Mapping[str, str] | None = None) -> None:
        """Say of each kind that nothing follows. Of a kind that has nothing, or says so already, nothing is said.

        `headers`: of the last batch of steps, its position; None: it is not known.
        """
        for kind in (STEPS, LOGS):
            if self._last[kind] and not self._says_last(kind):
                self.put(kind, partial(_last_batch, self.sender, kind, headers or {}), 0)

    def _says_last(self, kind: str) -> bool:
        entry = self.get(kind, self._last[kind])
        return entry is not None and telemetry_headers.END in entry.headers

    def put_entry(self, entry: Entry) -> None:
        """Add a batch that has its number already."""
        self._last[entry.kind] = max(self._last[entry.kind], entry.number)
        held = Held(len(entry.body), entry.dropped, entry)
        self._index[entry.kind][entry.number] = held
        self._bytes += held.size
        self._memory_bytes += held.size
        if not self.failure or time.monotonic() >= self._retry_file_at:
            self._write_to_file()
        self._look_at_room()
        self._make_room()

    def _reopen(self) -> bool:
        """Open the file if it is not. Returns whether it is."""
        if self._database is None and self.lent_by is None:
            try:
                self._open()
            except Owned as error:
                self._fail(error)
        return self._database is not None

    def _write_to_file(self) -> None:
        """Move what is in memory into the file."""
        if not self._reopen():
            return
        assert self._database is not None
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

    def _look_at_room(self) -> None:
        """Say it once when little is left."""
        if not self._is_filling and self._bytes > FILLING_SHARE * self._limit:
            self._is_filling = True
            self._on_filling(Filling(self.sender.source, self._bytes, self._limit))
        elif self._is_filling and self._bytes < EASED_SHARE * self._limit:
            self._is_filling = False

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

    def set_aside(self, kind: str, number: int, why: str) -> bool:
        """Give up a batch that can never be sent, and say which and why; what follows it goes on.

        Returns False for one that was given up before.
        """
        held, entry = self._index[kind].get(number), self.get(kind, number)
        if held is None or entry is None or held.dropped:
            return False
        reason = f"batch {number:,} of {kind} was refused: {why}"
        tombstone = _tombstone(self.sender, entry, reason)
        if self.lent_by is not None and held.entry is None:
            # The file is another process's.
            held.entry = entry
            self._memory_bytes += held.size
        self._replace(held, tombstone)
        self._on_drop(Dropped(kind, 1, entry.items, entry.first_step, entry.last_step, reason))
        return True

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
        self._look_at_room()
        if self.lent_by is None:
            self._run("DELETE FROM batches WHERE kind = ? AND number BETWEEN ? AND ?", (kind, first, last))
        return len(numbers)

    # --- events of the attempt, kept by its driver until they are in the log

    def put_event(self, event: SpooledEvent) -> bool:
        """Keep an event. Returns False when the file cannot take it; then it is kept in memory until it can."""
        self._events_in_memory.append(event)
        if not self._reopen():
            return False
        assert self._database is not None
        statement = "INSERT OR IGNORE INTO events (id, type, body, time, cause) VALUES (?, ?, ?, ?, ?)"
        try:
            while self._events_in_memory:
                e = self._events_in_memory[0]
                self._database.execute(statement, (e.id, e.type, e.body, e.time, e.cause))
                del self._events_in_memory[0]
        except sqlite3.Error as error:
            self._fail(error)
            return False
        return True

    def events(self) -> list[SpooledEvent]:
        """List the events that are not known to be in the log, oldest first."""
        columns = "id, type, body, time, cause"
        rows = self._run(f"SELECT {columns} FROM events WHERE {SOUND['events']} ORDER BY position", ())
        found = [SpooledEvent(*row) for row in rows]  # type: ignore[arg-type]
        return [*found, *self._events_in_memory]

    def remove_event(self, event_id: str) -> None:
        self._events_in_memory = [event for event in self._events_in_memory if event.id != event_id]
        if self.lent_by is None:
            self._run("DELETE FROM events WHERE id = ?", (event_id,))

    def close(self) -> None:
        """Close the file, and remove it if nothing is left in it. Then somebody else may own it."""
        if self._database is not None and self.lent_by is None:
            self._write_to_file()
        empty = self.count == 0 and not self.events() and not self.failure
        if self._database is not None:
            try:
                self._database.close()
            except sqlite3.Error as error:
                self._fail(error)
            self._database = None
        if self._lock is None or not self._lock.held:
            return
        if empty:
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None


def anybody(sender: Sender) -> bool:
    """Take the spool of any sender."""
    return True


async def opened_left(path: Path, belongs: Callable[[Sender], bool] = anybody) -> Spool | None:
    """`open_left` in a thread: to look through a large file takes seconds."""
    opening = asyncio.ensure_future(asyncio.to_thread(open_left, path, belongs))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        # Whoever is next must find it without an owner.
        await asyncio.wait({opening})
        if opening.exception() is None and (spool := opening.result()) is not None:
            spool.close()
        raise


def open_left(path: Path, belongs: Callable[[Sender], bool] = anybody) -> Spool | None:
    """Open what somebody has left, or is still writing. None: there is nothing.

    Whoever gets it is its owner, unless its owner lives on this machine: then it is lent, as far as it is complete.
    One that is damaged is set aside, and what can be read of it is opened. What is no file, but a link, a pipe or a folder,
    is set aside too, and not looked into; so is one of somebody else.

    Args:
        belongs: tells whether a spool of this sender may lie here.

    Raises:
        Owned: its owner lives on another machine, or cannot be told to be dead: the file must not even be read.
        OSError, sqlite3.Error: it is damaged, and there is no room for what can be read of it.
    """
    for one in (owner_file(path), path, *beside(path)):
        if files.is_irregular(one):
            files.set_aside(one, "it is no regular file")
    life, owner = look(owner_file(path))
    if life in (Life.ALIVE, Life.UNKNOWN) and (owner is None or not owner.is_here):
        raise Owned(path, owner)
    if life is not Life.ALIVE and path.exists() and (problem := damage(path)):
        lock = OwnerLock(owner_file(path))
        try:
            mend(path, problem, _SCHEMA)
        finally:
            lock.release()
    sender = read_sender(path)
    if sender is None:
        return None
    if not belongs(sender):
        if life is not Life.ALIVE:
            whose = f"runtimes/{sender.runtime_id}/trials/{sender.trial}/attempts/{sender.attempt}"
            files.set_aside(path, f"it says that it is of {whose}, in whose folder it does not lie")
        return None
    try:
        return Spool(path, sender)
    except Owned as error:
        if error.owner is None or not error.owner.is_here:
            raise
        return Spool(path, sender, lent_by=error.owner)


def _read_only(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"


def _connect(name: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(name, isolation_level=None, check_same_thread=False, timeout=5, uri=uri)


def read_sender(path: Path) -> Sender | None:
    """Tell whose spool a file is; None when it is none."""
    try:
        database = _connect(_read_only(path), uri=True)
        try:
            columns = "runtime_id, trial, attempt, source"
            row = database.execute(f"SELECT {columns} FROM sender WHERE {SOUND['sender']}").fetchone()
        finally:
            database.close()
    except sqlite3.Error:
        return None
    return Sender(runtime_id=row[0], trial=row[1], attempt=row[2], source=row[3]) if row else None


def _tombstone(sender: Sender, entry: Entry, reason: str) -> Entry:
    tombstone = Tombstone(
        point_count=entry.items, first_step=entry.first_step, last_step=entry.last_step, reason=reason
    )
    body = _message(entry.kind)(sender=sender, number=entry.number, tombstone=tombstone).SerializeToString()
    headers = {**entry.headers, (telemetry_headers.POINTS if entry.kind == STEPS else telemetry_headers.LINES): "0"}
    return Entry(entry.kind, entry.number, headers, body, entry.items, entry.first_step, entry.last_step, True)


def _last_batch(sender: Sender, kind: str, headers: Mapping[str, str], number: int) -> tuple[dict[str, str], bytes]:
    own = {telemetry_headers.NUMBER: str(number), telemetry_headers.SOURCE: sender.source, telemetry_headers.END: "1"}
    empty = {telemetry_headers.POINTS: "0", **headers} if kind == STEPS else {telemetry_headers.LINES: "0"}
    return {**empty, **own}, _message(kind)(sender=sender, number=number, last=True).SerializeToString()


def _message(kind: str) -> type[StepBatch] | type[LogBatch]:
    return StepBatch if kind == STEPS else LogBatch


def _join(headers: dict[str, str]) -> str:
    return "\n".join(f"{name}:{value}" for name, value in headers.items())


def _split(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.split("\n") if ":" in line)


def kinds() -> Iterable[str]:
    """The kinds in the order in which they are sent: logs matter more."""
    return (LOGS, STEPS)
