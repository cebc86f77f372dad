"""Stands for the job server of a Ray cluster where a test is about what it answers. The real one is in `ray_cluster`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JobServerOnTest(ThreadingHTTPServer):
    """Answers as `table` says (method and path -> status and body), else like a cluster that runs every job at once."""

    daemon_threads = True

    def __init__(self, table: dict[tuple[str, str], tuple[int, str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.table = table
        self.seen: list[tuple[str, str, str | None]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.cpus = 2.0
        self.used_cpus = 0.0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        if (method, path) in self.table:
            return self.table[method, path]
        job = self.jobs.get(path.split("/")[3]) if path.startswith("/api/jobs/") else None
        if path.startswith("/api/v0/nodes"):
            node = {"state": "ALIVE", "resources_total": {"CPU": self.cpus, "memory": 8e9}}
            return 200, json.dumps({"data": {"result": {"result": [node]}}})
        if path == "/api/cluster_status":
            usage = {"CPU": [self.used_cpus, self.cpus]}
            return 200, json.dumps({"data": {"clusterStatus": {"loadMetricsReport": {"usage": usage}}}})
        if (method, path) == ("POST", "/api/jobs/"):
            submitted = json.loads(body)
            self.jobs[submitted["submission_id"]] = {"status": "RUNNING", **submitted}
            return 200, "{}"
        if job is None:
            return 404, "there is none"
        if path.endswith("/stop"):
            job["status"] = "STOPPED"
        return 200, json.dumps({"logs": ""} if path.endswith("/logs") else job)


class _Answers(BaseHTTPRequestHandler):
    server: JobServerOnTest

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization")))
        status, text = self.server.answer(self.command, self.path, body)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", text)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:
        return


@contextmanager
def answering(table: dict[tuple[str, str], tuple[int, str]] | None = None) -> Iterator[JobServerOnTest]:
    """A job server for the length of a block."""
    server = JobServerOnTest(table or {})
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
