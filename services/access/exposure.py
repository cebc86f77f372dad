"""Where a server may listen: on loopback as it likes; elsewhere only with TLS and tokens."""

from __future__ import annotations

import contextlib
import ipaddress
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from milepost.security.egress import OPEN, PUBLIC, Egress

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate of a server and its key, in PEM files; with `client_ca`, callers must show one signed by it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def server_credentials(self) -> grpc.ServerCredentials:
        """Read the files.

        Raises:
            SystemExit: one of them cannot be read; the message says which.
        """
        pair = (_read(self.key), _read(self.certificate))
        ca = _read(self.client_ca) if self.client_ca is not None else None
        return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


def tls_of(certificate: str, key: str, client_ca: str = "") -> Tls | None:
    """Make the TLS settings of a server from those of its process. None: it has none.

    Raises:
        SystemExit: one of certificate and key is missing.
    """
    if not certificate and not key:
        if client_ca:
            raise SystemExit("--tls-client-ca needs --tls-certificate and --tls-key")
        return None
    if not (certificate and key):
        raise SystemExit("TLS needs both --tls-certificate and --tls-key")
    return Tls(Path(certificate), Path(key), Path(client_ca) if client_ca else None)


def is_loopback(listen: str) -> bool:
    """Return whether only this machine can reach `host:port` (or a Unix socket)."""
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def asks_for_tokens(settings: Mapping[str, str]) -> bool:
    """Return whether an installation asks callers for tokens: then some may do less than whoever is on this machine."""
    listens = (settings[f"{name}_listen"] for name in ("gateway", "runtime", "trials", "metrics", "rules", "mlflow"))
    return settings["authentication"] == "required" or not all(map(is_loopback, listens))


def egress_of(settings: Mapping[str, str]) -> Egress:
    """Read where the services of an installation may connect for others.

    Without a setting: everywhere, or to public addresses only where callers are asked for tokens.

    Raises:
        SystemExit: the setting names what is no address.
    """
    try:
        return Egress.of(settings["egress"] or (PUBLIC if asks_for_tokens(settings) else OPEN))
    except ValueError as error:
        raise SystemExit(f"egress: {error}") from error


def check_exposure(what: str, listen: str, tls: Tls | None, has_tokens: bool) -> None:
    """Refuse to start a server that strangers could reach.

    Raises:
        SystemExit: others than this machine can reach it, and TLS or tokens are missing; the message says what to do.
    """
    if is_loopback(listen):
        return
    missing = []
    if tls is None:
        missing.append("TLS (--tls-certificate and --tls-key)")
    if not has_tokens:
        missing.append("at least one token (milepost token create NAME --role admin)")
    if missing:
        raise SystemExit(
            f"{what} would listen on {listen}, which other machines can reach. That needs {' and '.join(missing)}. "
            "Or listen on 127.0.0.1"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SystemExit(f"{path} cannot be read: {error.strerror}") from error


def raise_file_limit() -> None:
    """Let this process have as many open files as the system allows it: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
