"""ClickHouse: embedded (chdb) or a server, the same SQL. The only module that knows its client."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect import common
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from milepost.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, Unavailable, Violation
from services.access.authentication import calling_actor
from services.metrics.storage.definitions import Definitions
from services.metrics.storage.owner import Ownership

log = logging.getLogger(__name__)

DATABASE = "milepost"
# Rows of imported runtimes, which are no record of ours: made anew at each start.
IMPORTED_DATABASE = "milepost_imported"
SCHEMA = Path(__file__).parent / "schema"
POINTS = "points"
LOGS = "logs"
SAMPLES = "samples"
# What tables of older versions have: roll-ups whose last value was the first of its step.
RETIRED_PROJECTIONS: tuple[str, ...] = ("buckets_128", "buckets_4096")

# Reads at the same time; further ones wait. Each may use all cores, so more would only compete.
READERS = 4
# Of one caller: a reader is left for the others, however long its reads take.
READS_PER_CALLER = 3
READ_SECONDS = 30
READ_MEMORY_BYTES = 2 << 30
# An insert is one block of one part, so that it is there wholly or not at all.
INSERT_SETTINGS = {
    "async_insert": "0",
    "max_insert_block_size": "4000000",
    "min_insert_block_size_rows": "4000000",
    "min_insert_block_size_bytes": "4294967296",
    "max_insert_threads": "1",
    "input_format_parallel_parsing": "0",
}
# On a cluster an insert is there when most replicas have it, and a read sees every such insert, whichever replica answers.
CLUSTER_INSERT_SETTINGS = {"insert_quorum": "auto", "insert_quorum_parallel": "0", "insert_quorum_timeout": "30000"}
CLUSTER_READ_SETTINGS = {"select_sequential_consistency": "1"}
CONNECT_SECONDS = 5
# Of a server that does not answer. Removing a large runtime may take longer: the server goes on, and is asked again.
ANSWER_SECONDS = 60
READ_SETTINGS = {
    "max_execution_time": str(READ_SECONDS),
    "max_memory_usage": str(READ_MEMORY_BYTES),
    "output_format_arrow_string_as_string": "1",
    "output_format_arrow_compression_method": "none",
    "optimize_use_projections": "1",
    "allow_introspection_functions": "0",
    # From here on the session can neither write nor change a setting.
    "readonly": "1",
}

Parameters = Mapping[str, Any]


class StoreUnavailable(Unavailable):
    """ClickHouse cannot be reached or is not open yet. What was being inserted may be stored."""

    reason = "STORE_UNAVAILABLE"


class StoreFailed(Exception):
    """ClickHouse refused a statement of ours: a bug, or a table that somebody changed."""


class Reader:
    """One session that can only read. For one thread at a time."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = connect()

    def select(self, sql: str, parameters: Parameters | None) -> pa.Table:
        """Run one SELECT."""
        try:
            if self._client is None:
                self._client = self._connect()
            data = self._client.raw_query(sql, parameters=dict(parameters or {}), fmt="ArrowStream")
        except (ClickHouseError, OSError) as error:
            # What a failed query had already put out would come with the answer of the next one (chdb 26.9).
            self.close()
            raise _translated(error) from error
        with pa.ipc.open_stream(data) as reader:
            return reader.read_all()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


class Store:
    """The tables, one client that writes and several that can only read.

    Every method that talks to ClickHouse raises `StoreUnavailable`, `ResourceExhausted`, `DeadlineExceeded` or
    `StoreFailed`, and nothing of the client library.
    """

    def __init__(
        self,
        writer: Client,
        readers: Sequence[Reader],
        ownership: Ownership | None,
        fencing: str | None = None,
        open_beside: Callable[[str], Store] | None = None,
    ) -> None:
        self._fencing = fencing
        self._writer = writer
        self._readers = tuple(readers)
        self._ownership = ownership
        self._open_beside = open_beside
        self._free: asyncio.Queue[Reader] = asyncio.Queue()
        for reader in readers:
            self._free.put_nowait(reader)
        self._reading: Counter[str] = Counter()
        self._freed = asyncio.Event()
        self._write_thread = ThreadPoolExecutor(1, "store-writer")
        self._read_threads = ThreadPoolExecutor(READERS, "store-reader")

    async def beside(self, database: str) -> Store:
        """Open an empty database of the same engine, with the same tables. It is closed before this one."""
        assert self._open_beside is not None, "this store was not opened by this module"
        return await asyncio.get_running_loop().run_in_executor(None, self._open_beside, database)

    async def insert(self, table: str, rows: pa.Table) -> None:
        """Insert rows as one block: all of them or none."""
        await self._write(partial(_insert, self._writer, table, rows))

    async def read(self, sql: str, parameters: Parameters | None = None) -> pa.Table:
        """Run one SELECT that can change nothing, with bound parameters (`{name:Type}`)."""
        caller = calling_actor()
        while caller and self._reading[caller] >= READS_PER_CALLER:
            await self._freed.wait()
        self._reading[caller] += 1
        try:
            reader = await self._free.get()
        except BaseException:
            self._end_read(caller)
            raise
        future = self._read_threads.submit(reader.select, sql, parameters)
        # The reader is free again when the query has ended, not when its caller has gone.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._end_read, caller, reader))
        return await asyncio.wrap_future(future)

    def _end_read(self, caller: str, reader: Reader | None = None) -> None:
        self._reading[caller] -= 1
        if not self._reading[caller]:
            del self._reading[caller]
        if reader is not None:
            self._free.put_nowait(reader)
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()

    async def command(self, sql: str, parameters: Parameters | None = None) -> None:
        """Run a statement that changes rows, with bound parameters."""
        await self._write(partial(_command, self._writer, sql, parameters))

    async def fence(self) -> None:
        """End the inserts of whoever wrote before: none of theirs is stored after this returns. Embedded: there are none."""
        if self._fencing is not None:
            await self._write(partial(_command, self._writer, self._fencing, None))

    async def offset(self, table: str, stream_id: int) -> int:
        """Read the position up to which a stream is in a table; 0: nothing of it."""
        rows = await self.read(
            f"SELECT max(log_seq) AS position FROM {table} WHERE stream_id = {{stream:UInt64}}", {"stream": stream_id}
        )
        return int(rows["position"][0].as_py() or 0)

    async def newest_stream(self, table: str) -> int:
        """Read the identity of the last stream that is in a table; 0: the table is empty."""
        rows = await self.read(f"SELECT max(stream_id) AS stream FROM {table}")
        return int(rows["stream"][0].as_py() or 0)

    async def check(self) -> None:
        """Return if ClickHouse answers."""
        await self.read("SELECT 1")

    async def close(self) -> None:
        """Let the running insert end, then close. The directory is free for another process afterwards."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._close)

    def _close(self) -> None:
        self._read_threads.shutdown(wait=True, cancel_futures=True)
        self._write_thread.shutdown(wait=True, cancel_futures=True)
        for reader in self._readers:
            reader.close()
        self._writer.close()
        if self._ownership is not None:
            self._ownership.release()

    async def _write(self, call: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._write_thread, call)


async def open_embedded(directory: Path) -> Store:
    """Open the embedded ClickHouse of a directory.

    Raises:
        DirectoryHeld: another process has it; the message says which.
        StoreUnavailable: it does not open.
    """
    return await asyncio.get_running_loop().run_in_executor(None, _open_embedded, directory)


async def open_server(address: str, cluster: str = "", password_file: str = "") -> Store:
    """Connect to a ClickHouse server, `http://user:password@host:8123/database`; without a database: `milepost`.

    Args:
        cluster: the tables are replicated over the servers of that cluster; empty: there is one server.
        password_file: where the password stands that the address does not have; empty: nowhere.

    Raises:
        StoreUnavailable: it does not answer, or refuses the password.
        StoreFailed: the name of the database or of the cluster is none, or there are two passwords or none in the file.
    """
    password = await asyncio.to_thread(_password_in, password_file, address) if password_file else ""
    return await asyncio.get_running_loop().run_in_executor(None, _open_server, address, cluster, password)


def _password_in(file: str, address: str) -> str:
    if urlsplit(address).password:
        raise StoreFailed("clickhouse_url has a password and clickhouse_password_file another one: take one out")
    try:
        password = Path(file).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreFailed(f"the password of ClickHouse cannot be read from {file}: {error}") from error
    if not password:
        raise StoreFailed(f"{file} is empty: it is to have the password of ClickHouse")
    return password


def _open_embedded(directory: Path) -> Store:
    ownership = Ownership(directory)
    temporary = directory / "tmp"
    # Inserts go through temporary files: they belong on the disk of the data, not on /tmp. A kill leaves some.
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None
    client = partial(clickhouse_connect.get_client, interface="chdb", path=str(directory / "data"))
    definitions = Definitions(directory)
    try:
        _mend(client, definitions, directory)
        return _open(client, ownership, definitions=definitions)
    except BaseException:
        ownership.release()
        raise


def _mend(client: Any, definitions: Definitions, directory: Path) -> None:
    """See whether an embedded ClickHouse opens; where it does not, put definitions back that are damaged.

    Raises:
        StoreUnavailable: there is nothing that could be put back.
    """
    try:
        client(database="default").close()
    except (ClickHouseError, OSError) as error:
        if not definitions.restore():
            raise StoreUnavailable(
                f"ClickHouse does not open: {_first_line(error)}. If its files are damaged, restore a backup, or move "
                f"{directory} away: what TELEMETRY still has is stored again"
            ) from error


def _open_server(address: str, cluster: str, password: str) -> Store:
    database = urlsplit(address).path.strip("/") or DATABASE
    for name in (database, cluster or DATABASE):
        if _NAME.fullmatch(name) is None:
            raise StoreFailed(f"not a name that a database or a cluster of ClickHouse can have here: {name!r}")
    client = partial(
        clickhouse_connect.get_client,
        dsn=address,
        # A client with a password names its user in every request; without one the server takes its default user.
        **({"username": urlsplit(address).username or "default", "password": password} if password else {}),
        autogenerate_session_id=False,
        connect_timeout=CONNECT_SECONDS,
        send_receive_timeout=ANSWER_SECONDS,
    )
    return _open(client, None, database, cluster)


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PROJECTION = re.compile(r"^    PROJECTION (\w+)\n    (\(\n.*?\n    \)),?$", re.MULTILINE | re.DOTALL)
_PLAIN_ENGINE = "ENGINE = MergeTree\n"


def schema_statements(database: str = DATABASE, cluster: str = "") -> list[str]:
    """The statements that make the tables. On a cluster the same ones, with a replicated engine, run on each server.

    `{shard}` and `{replica}` are macros of the servers. One shard: a runtime is never spread.
    """
    statements = []
    for path in sorted(SCHEMA.glob("*.sql")):
        for statement in path.read_text().split(";\n"):
            if statement.strip():
                statements.append(_replicated(statement, database, cluster) if cluster else statement)
    return statements


def renewal_statements(statement: str, present: Collection[str], cluster: str = "") -> list[str]:
    """The statements that give a table of an older version the projections of its schema file in place of its own.

    The old ones go last, so that what was cut off is begun again. The rows of before are rolled up in the background;
    until that is done they are read one by one.
    """
    retired = [name for name in RETIRED_PROJECTIONS if name in present]
    if not retired:
        return []
    wanted = dict(_PROJECTION.findall(statement))
    alter = f"ALTER TABLE {_table_of(statement)}" + (f" ON CLUSTER {cluster}" if cluster else "")
    return [
        *(f"{alter} ADD PROJECTION IF NOT EXISTS {name} {content}" for name, content in wanted.items()),
        *(f"{alter} MATERIALIZE PROJECTION {name} SETTINGS mutations_sync = 0" for name in wanted),
        *(f"{alter} DROP PROJECTION IF EXISTS {name} SETTINGS alter_sync = 0" for name in retired),
    ]


def _table_of(statement: str) -> str:
    found = re.search(r"CREATE TABLE IF NOT EXISTS (\w+)\n", statement)
    assert found is not None, "a schema file makes one table"
    return found[1]


def _renew(writer: Client, statement: str, database: str, cluster: str) -> None:
    table = _table_of(statement)
    rows = writer.query(
        "SELECT name FROM system.projections WHERE database = {database:String} AND table = {table:String}",
        parameters={"database": database, "table": table},
    )
    statements = renewal_statements(statement, [row[0] for row in rows.result_rows], cluster)
    if statements:
        log.info("store.renews", extra={"table": table, "database": database})
    for renewal in statements:
        writer.command(renewal)


def _replicated(statement: str, database: str, cluster: str) -> str:
    assert _PLAIN_ENGINE in statement, "a schema file makes one table"
    table = _table_of(statement)
    engine = f"ENGINE = ReplicatedMergeTree('/clickhouse/tables/{{shard}}/{database}/{table}', '{{replica}}')\n"
    created = statement.replace(f"EXISTS {table}\n", f"EXISTS {table} ON CLUSTER {cluster}\n", 1)
    return created.replace(_PLAIN_ENGINE, engine, 1)


def _open(
    client: Any,
    ownership: Ownership | None,
    database: str = DATABASE,
    cluster: str = "",
    definitions: Definitions | None = None,
) -> Store:
    # Settings go to the server as they are: which of them it knows is for it to say.
    common.set_setting("invalid_setting_action", "send")
    insert_settings = INSERT_SETTINGS | (CLUSTER_INSERT_SETTINGS if cluster else {})
    read_settings = (CLUSTER_READ_SETTINGS if cluster else {}) | READ_SETTINGS
    everywhere = f" ON CLUSTER {cluster}" if cluster else ""
    fencing = (
        f"KILL QUERY{everywhere} WHERE query_kind = 'Insert' AND current_database = '{database}' "
        "AND user = currentUser() SYNC"
    )
    try:
        # A database that is not there yet cannot be the one of the session.
        bare = client(database="default")
        if definitions is not None:
            definitions.forget()
        bare.command(f"CREATE DATABASE IF NOT EXISTS {database}{everywhere}")
        bare.close()
        writer = client(database=database, settings=insert_settings)
        for statement, plain in zip(schema_statements(database, cluster), schema_statements(), strict=True):
            writer.command(statement)
            _renew(writer, plain, database, cluster)
        readers = [Reader(partial(client, database=database, settings=read_settings)) for _ in range(READERS)]
        if definitions is not None:
            definitions.keep()
    except (ClickHouseError, OSError) as error:
        raise StoreUnavailable(f"ClickHouse does not open: {_first_line(error)}") from error
    return Store(
        writer,
        readers,
        ownership,
        None if ownership is not None else fencing,
        lambda beside: _open_empty(client, beside, cluster, definitions),
    )


def _open_empty(client: Any, database: str, cluster: str, definitions: Definitions | None) -> Store:
    """Make a database anew."""
    everywhere = f" ON CLUSTER {cluster}" if cluster else ""
    if definitions is not None:
        definitions.forget()
    try:
        bare = client(database="default")
        bare.command(f"DROP DATABASE IF EXISTS {database}{everywhere} SYNC")
        bare.close()
    except (ClickHouseError, OSError) as error:
        raise StoreUnavailable(f"ClickHouse does not open: {_first_line(error)}") from error
    return _open(client, None, database, cluster, definitions)


def _insert(client: Client, table: str, rows: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks(), max_chunksize=max(1, rows.num_rows))
    try:
        client.raw_insert(table, column_names=rows.column_names, insert_block=sink.getvalue(), fmt="ArrowStream")
    except (ClickHouseError, OSError) as error:
        raise _translated(error) from error


def _command(client: Client, sql: str, parameters: Parameters | None) -> None:
    try:
        client.command(sql, parameters=dict(parameters or {}))
    except (ClickHouseError, OSError) as error:
        raise _translated(error) from error


_NO_SPACE = ("NOT_ENOUGH_SPACE", "No space left on device", "CANNOT_WRITE_TO_FILE_DESCRIPTOR")


def _translated(error: Exception) -> Exception:
    """Say an error of the client in our words."""
    text = str(error)
    if "CANNOT_COMPILE_REGEXP" in text or "(CANNOT_COMPILE" in text:
        return InvalidArgument([Violation("filter.regular_expression", "is not a regular expression that RE2 takes")])
    if "TIMEOUT_EXCEEDED" in text:
        return DeadlineExceeded(f"the query took longer than {READ_SECONDS} s; ask for less", reason="QUERY_TOO_SLOW")
    if "MEMORY_LIMIT_EXCEEDED" in text:
        return ResourceExhausted("the query needs too much memory; ask for less", reason="QUERY_TOO_LARGE")
    if any(sign in text for sign in _NO_SPACE):
        return ResourceExhausted("the disk of ClickHouse is full", reason="STORE_FULL")
    if isinstance(error, OperationalError | OSError) or not isinstance(error, DatabaseError):
        return StoreUnavailable(f"ClickHouse does not answer: {_first_line(error)}")
    return StoreFailed(_first_line(error))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
