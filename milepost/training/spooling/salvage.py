"""What can still be read of a spool whose file is damaged."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from milepost import files

_BESIDE = ("-wal", "-shm")
# A spool gives up what is oldest long before; a larger file is none, and is not read.
MAX_FILE_BYTES = 4 << 30
# Of a batch or an event. The broker takes less.
MAX_BODY_BYTES = 16 << 20
# A file can have the system work for ever on one statement. Of the largest spool a check takes a fraction of this.
MAX_SECONDS = 60.0
_COLUMNS = {
    "sender": ("runtime_id", "trial", "attempt", "source"),
    "numbers": ("kind", "last"),
    "batches": ("kind", "number", "headers", "body", "items", "first_step", "last_step", "dropped"),
    "events": ("position", "id", "type", "body", "time", "cause"),
}
_MORE = "it does more than a spool"
_KIND = "kind IN ('steps', 'logs')"
_BODY = f"typeof(body) = 'blob' AND length(body) <= {MAX_BODY_BYTES}"


def _texts(*names: str, most: int) -> str:
    """Short texts of one line: they become headers."""
    lines = (f"instr({name}, char(10)) + instr({name}, char(13)) + instr({name}, char(0)) = 0" for name in names)
    return " AND ".join((*(f"typeof({name}) = 'text' AND length({name}) <= {most}" for name in names), *lines))


def _integers(*names: str, least: int = 0, bits: int = 53) -> str:
    return " AND ".join(
        f"typeof({name}) = 'integer' AND {name} BETWEEN {least} AND {(1 << bits) - 1}" for name in names
    )


# What the rows of a spool are like. SQLite itself takes anything anywhere, and whoever may write the file may write that.
SOUND = {
    "sender": f"{_texts('runtime_id', 'source', most=200)} AND {_integers('trial', 'attempt', bits=31)}",
    "numbers": f"{_KIND} AND {_integers('last')}",
    "batches": f"{_KIND} AND {_integers('number', least=1)} AND {_integers('items', 'first_step', 'last_step', 'dropped')}"
    f" AND typeof(headers) = 'text' AND length(headers) <= 65536 AND {_BODY}",
    "events": f"{_texts('id', 'type', 'time', 'cause', most=300)} AND {_BODY}",
}


def beside(path: Path) -> tuple[Path, ...]:
    """Return the files that SQLite has beside its own."""
    return tuple(path.with_name(path.name + ending) for ending in _BESIDE)


def mend(path: Path, problem: str, schema: str) -> None:
    """Make a spool that is damaged whole again, of the rows that can be read. The caller owns it.

    The damaged file is set aside, with what stands beside it. Where not even its owner can be read, that is all.

    Raises:
        OSError, sqlite3.Error: there is no room for it; nothing was changed.
    """
    mended = path.with_name(f".{path.name}.mended")
    if files.is_irregular(mended):
        files.set_aside(mended, "it is no regular file")
    mended.unlink(missing_ok=True)
    target = sqlite3.connect(mended, isolation_level=None)
    try:
        target.executescript(schema)
        rows = 0
        if problem != _MORE and _is_taken(path):
            rows = sum(_copy(path, target, table) for table in _COLUMNS)
        is_spool = target.execute("SELECT count(*) FROM sender").fetchone()[0] > 0
    finally:
        target.close()
    files.set_aside(path, f"{problem}; {rows} rows of it could be read")
    for one in beside(path):
        if one.exists():
            files.set_aside(one, "it belongs to a file that is damaged")
    if not is_spool:
        mended.unlink()
        return
    files.sync(mended)
    mended.rename(path)
    files.sync(path.parent)


def damage(path: Path) -> str:
    """Say what is wrong with a file. Empty: nothing."""
    if not _is_taken(path):
        return "it is larger than any spool"
    try:
        database = _open(path)
        try:
            found = database.execute("PRAGMA quick_check(1)").fetchone()
            if found is None or found[0] != "ok":
                return str(found[0] if found is not None else "it cannot be checked")
            return _strange(database)
        finally:
            database.close()
    except sqlite3.OperationalError as error:
        # It is locked, or the disk is full: that says nothing about what is in it.
        return "it cannot be read in time" if "interrupted" in str(error) else ""
    except sqlite3.DatabaseError as error:
        return str(error)


def _strange(database: sqlite3.Connection) -> str:
    """Say what a database has that a spool has not. Empty: nothing."""
    schema = database.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    if any(kind in ("view", "trigger") or str(sql).upper().startswith("CREATE VIRTUAL") for kind, _, sql in schema):
        return _MORE
    for table, columns in _COLUMNS.items():
        if not {name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")}.issuperset(columns):
            return "it is no spool"
    strange = sum(
        database.execute(f"SELECT count(*) FROM {table} WHERE ({sound}) IS NOT TRUE").fetchone()[0]
        for table, sound in SOUND.items()
    )
    return f"{strange} rows of it are not those of a spool" if strange else ""


def _is_taken(path: Path) -> bool:
    return path.stat().st_size <= MAX_FILE_BYTES


def _open(path: Path) -> sqlite3.Connection:
    """Open a database that may be anything: no statement of it takes for ever."""
    database = sqlite3.connect(path, isolation_level=None, timeout=5)
    deadline = time.monotonic() + MAX_SECONDS
    database.set_progress_handler(lambda: int(time.monotonic() > deadline), 10_000)
    database.execute("PRAGMA trusted_schema = OFF")
    return database


def _copy(path: Path, target: sqlite3.Connection, table: str) -> int:
    """Copy the rows of a table that can be read: from its beginning, and from its end. Returns how many."""
    before = target.total_changes
    columns = ", ".join(_COLUMNS[table])
    places = ", ".join("?" * len(_COLUMNS[table]))
    for order in ("ASC", "DESC"):
        key = "kind" if table == "numbers" else "rowid"
        try:
            source = _open(path)
            try:
                for row in source.execute(f"SELECT {columns} FROM {table} WHERE {SOUND[table]} ORDER BY {key} {order}"):
                    target.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", row)
            finally:
                source.close()
        except sqlite3.DatabaseError:
            # From here on it cannot be read. The other end may be.
            continue
        break
    return target.total_changes - before
