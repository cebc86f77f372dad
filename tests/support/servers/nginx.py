"""The proxy of deploy/ as it is delivered, run by the nginx of this machine before services of a test."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.integration.security.certificates import Certificates
from tests.support.servers.ports import free_ports
from tests.support.servers.processes import Program
from tests.support.servers.servers import wait_until
from tests.support.servers.topology import DEPLOY

BINARY = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
# Since this version HTTP/2 is a directive of its own.
HTTP2_DIRECTIVE = (1, 25, 1)


def version() -> tuple[int, ...]:
    """The version of the nginx of this machine."""
    assert BINARY is not None
    told = subprocess.run([BINARY, "-v"], capture_output=True, text=True, check=True).stderr
    return tuple(map(int, re.findall(r"\d+", told.partition("nginx/")[2])[:3]))


def configuration(folder: Path, port: int, upstreams: Mapping[str, str], certificates: Certificates) -> str:
    """The delivered file with other addresses, and folders that a test may write to."""
    text = (DEPLOY / "proxy" / "nginx.conf").read_text()
    for name, address in upstreams.items():
        text, count = re.subn(rf"server {name}:\d+;", f"server {address};", text)
        assert count == 1, name
    places = {
        "listen 8443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/milepost/tls/tls.crt": str(certificates.server.certificate),
        "/etc/milepost/tls/tls.key": str(certificates.server.key),
        "/etc/milepost/tls/ca.crt": str(certificates.ca),
        "worker_processes auto;": "worker_processes 1;",
    }
    if version() < HTTP2_DIRECTIVE:
        places |= {"http2 on;": "", "listen 8443 ssl;": f"listen 127.0.0.1:{port} ssl http2;"}
    for there, here in places.items():
        assert there in text, there
        text = text.replace(there, here)
    temporary = "".join(
        f"  {kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return text.replace("http {\n", f"http {{\n  access_log off;\n{temporary}", 1)


class Nginx(Program):
    """nginx in the foreground."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._log = folder / "nginx.log"

    def start(self) -> None:
        assert BINARY is not None
        globally = f"daemon off; pid {self._folder / 'nginx.pid'}; error_log stderr;"
        command = [BINARY, "-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), "-g", globally]
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        wait_until(self._answers, "nginx listens")

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self._log.read_text()[-4_000:]
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False


@contextmanager
def running_nginx(folder: Path, upstreams: Mapping[str, str], certificates: Certificates) -> Iterator[int]:
    """The proxy before these host:port, for the length of a block. Yields its port on 127.0.0.1."""
    folder.mkdir()
    (port,) = free_ports(1)
    (folder / "nginx.conf").write_text(configuration(folder, port, upstreams, certificates))
    server = Nginx(folder, port)
    server.start()
    try:
        yield port
    finally:
        server.stop()
