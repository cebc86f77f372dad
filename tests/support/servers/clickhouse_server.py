"""The HTTP interface of ClickHouse over the embedded engine: what the client library sends to a server, answered.

`python -m tests.support.servers.clickhouse_server DIRECTORY [PORT [PASSWORD]]` serves the directory on 127.0.0.1. It
speaks what the interface documents and our client uses: queries in the body, in the address and in forms, bound
parameters, settings of a request, bodies with a length and in chunks, compressed ones, connections that stay open,
errors by header. It has one user, who may have a password, no sessions, and no replicas.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import gzip
import re
import signal
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.servers.processes import Program
from tests.support.servers.servers import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent.parent
START_SECONDS = 60.0

# Parts of the address that are no settings of the engine.
_TRANSPORT = frozenset(
    {
        "query", "database", "default_format", "query_id", "session_id", "compress", "decompress", "buffer_size",
        "wait_end_of_query", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "enable_http_compression", "cancel_http_readonly_queries_on_client_close", "client_protocol_version",
    }
)  # fmt: skip
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_INSERT = re.compile(rb"\s*INSERT\s+INTO\s.*?\bFORMAT\s+(\w+)[ \t]*\n?", re.IGNORECASE | re.DOTALL)
_CODE = re.compile(r"Code: (\d+)\.")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Engine:
    """The embedded engine. A request gets a handle of its own settings; handles are kept, each for one thread at a time."""

    def __init__(self, directory: Path) -> None:
        import chdb

        self._path = str(directory / "data")
        self._temporary = directory / "tmp"
        self._temporary.mkdir(parents=True, exist_ok=True)
        self._connect = chdb.connect
        self._lock = threading.Lock()
        self._free: dict[tuple[tuple[str, str], ...], list[Any]] = {}
        # Keeps the engine open between requests.
        self._base = self._connect(self._path)

    @contextmanager
    def _handle(self, database: str, settings: dict[str, str]) -> Iterator[Any]:
        key = (("database", database), *sorted(settings.items()))
        with self._lock:
            waiting = self._free.setdefault(key, [])
            handle = waiting.pop() if waiting else None
        if handle is None:
            handle = self._connect(self._path)
            handle.query(f"USE `{database}`", "TabSeparated")
            # From `readonly` on nothing can be set.
            for name, value in sorted(settings.items(), key=lambda item: item[0] == "readonly"):
                escaped = value.replace("\\", "\\\\").replace("'", "\\'")
                handle.query(f"SET {_WORD.fullmatch(name)[0]} = '{escaped}'", "TabSeparated")  # type: ignore[index]
        try:
            yield handle
        except BaseException:
            # What a failed query had put out would come with the next answer.
            handle.close()
            raise
        with self._lock:
            waiting.append(handle)

    def query(self, sql: bytes, form: str, database: str, settings: dict[str, str], values: dict[str, str]) -> bytes:
        with self._handle(database, settings) as handle:
            return bytes(handle.query(sql.decode(), form, params=values).bytes())

    def insert(self, sql: bytes, form: str, data: bytes, database: str, settings: dict[str, str]) -> None:
        with tempfile.NamedTemporaryFile(dir=self._temporary, suffix=".block") as file:
            file.write(data)
            file.flush()
            statement = re.sub(rb"\bFORMAT\s+\w+\s*$", b"", sql, flags=re.IGNORECASE).decode()
            with self._handle(database, settings) as handle:
                handle.query(f"{statement} FROM INFILE '{file.name}' FORMAT {form}", "TabSeparated")

    def close(self) -> None:
        for waiting in self._free.values():
            for handle in waiting:
                handle.close()
        self._base.close()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path == "/ping":
            self._answer(200, b"Ok.\n")
        else:
            self._run(b"", read_only=True)

    def do_POST(self) -> None:
        self._run(self._body(), read_only=False)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(chunks)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        encoding = self.headers.get("Content-Encoding", "")
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
        assert not encoding, f"not understood here: {encoding}"
        return body

    def _is_known(self) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        user, _, password = (
            base64.b64decode(given).decode().partition(":") if scheme == "Basic" else ("default", "", "")
        )
        return user == "default" and password == self.server.password

    def _run(self, body: bytes, read_only: bool) -> None:
        if not self._is_known():
            text = b"Code: 516. DB::Exception: default: Authentication failed: password is incorrect."
            self._answer(403, text, {"X-ClickHouse-Exception-Code": "516"})
            return
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if self.headers.get("Content-Type", "").startswith("multipart/form-data"):
            given |= _form(self.headers["Content-Type"], body)
            body = b""
        values = {name.removeprefix("param_"): value for name, value in given.items() if name.startswith("param_")}
        settings = {n: v for n, v in given.items() if n not in _TRANSPORT and not n.startswith("param_")}
        if read_only:
            settings["readonly"] = "2"
        database = given.get("database", "default")
        # The statement may be in the address, in the body, or begin in one and go on in the other.
        text = b"\n".join(part for part in (given.get("query", "").encode(), body) if part)
        insert = _INSERT.match(text)
        engine = self.server.engine
        try:
            if insert is not None:
                form = insert[1].decode()
                engine.insert(text[: insert.end()].rstrip(), form, text[insert.end() :], database, settings)
                self._answer(200, b"")
            else:
                named = _FORMAT.search(text)
                form = named[1].decode() if named else given.get("default_format", "TabSeparated")
                self._answer(200, engine.query(text, form, database, settings, values))
        except Exception as error:  # whatever the engine says goes to the client
            message = str(error)
            code = _CODE.search(message)
            self._answer(500, message.encode(), {"X-ClickHouse-Exception-Code": code[1] if code else "1002"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


def _form(content_type: str, body: bytes) -> dict[str, str]:
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    )
    fields = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        fields[str(name)] = str(part.get_content())
    return fields


class Server(ThreadingHTTPServer):
    """Answers on 127.0.0.1."""

    daemon_threads = True

    def __init__(self, directory: Path, port: int, password: str) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.engine = Engine(directory)
        self.password = password


@dataclass
class ClickHouseServer(Program):
    """The server as a process of its own, which can be killed and started again on the same port."""

    directory: Path
    port: int = 0
    password: str = ""
    _output: Path = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._output = self.directory / "server.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._output.write_bytes(b"")
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.servers.clickhouse_server", str(self.directory), str(self.port),
                self.password], cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        wait_until(self._has_port, "the ClickHouse test server listens", START_SECONDS)

    def _has_port(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self._output.read_text()[-4000:]
        found = re.search(r"^listening on (\d+)$", self._output.read_text(), re.MULTILINE)
        if found:
            self.port = int(found[1])
        return found is not None


@contextmanager
def running_clickhouse(directory: Path, password: str = "") -> Iterator[ClickHouseServer]:
    """A server for the length of a block."""
    server = ClickHouseServer(directory, password=password)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def main() -> None:
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    password = sys.argv[3] if len(sys.argv) > 3 else ""
    with Server(Path(sys.argv[1]), port, password) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        print(f"listening on {server.server_address[1]}", flush=True)
        server.serve_forever()
        server.engine.close()


if __name__ == "__main__":
    main()
