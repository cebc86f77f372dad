"""How clients reach servers: channels with or without TLS, and the token they show."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from milepost.errors import FailedPrecondition

Options = Sequence[tuple[str, Any]]

# Name of the health that a replica has while it answers calls: of a service that has a leader, only the leader does.
CALLS_HEALTH = "milepost.calls"
# An address may stand for several replicas. Calls go to those that answer, in turn; after a change the name is asked for
# again soon.
_REPLICAS: Options = (
    (
        "grpc.service_config",
        json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": CALLS_HEALTH}}),
    ),
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
_NAMES = ("tls_ca", "tls_certificate", "tls_key")


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What a client trusts, and, where servers ask for it, its own certificate with its key. PEM files.

    A connection uses TLS when it leaves this machine, or when `ca` is given. Without `ca`, what the system trusts.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(cls, values: Mapping[str, str]) -> ClientTls:
        """Make it from the settings `tls_ca`, `tls_certificate` and `tls_key` of a process."""
        return cls(*(Path(values[name]).expanduser() if values.get(name) else None for name in _NAMES))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ClientTls:
        return cls.of({name: environment.get(f"MILEPOST_{name.upper()}", "") for name in _NAMES})

    def is_used(self, address: str) -> bool:
        """Return whether a connection to an address uses TLS."""
        return self.ca is not None or not is_loopback_address(address)

    def credentials(self, address: str) -> grpc.ChannelCredentials | None:
        """Read the files. None: this connection does not use TLS.

        Raises:
            FailedPrecondition: one of them cannot be read.
        """
        if not self.is_used(address):
            return None
        ca = _read(self.ca) if self.ca is not None else None
        own = (_read(self.key), _read(self.certificate)) if self.certificate and self.key else (None, None)
        return grpc.ssl_channel_credentials(ca, *own)


def token_from(environment: Mapping[str, str] = os.environ) -> str:
    """Find the token to show: `MILEPOST_TOKEN`, else the content of `MILEPOST_TOKEN_FILE`; empty: none.

    Raises:
        FailedPrecondition: the file cannot be read.
    """
    if environment.get("MILEPOST_TOKEN"):
        return environment["MILEPOST_TOKEN"].strip()
    path = environment.get("MILEPOST_TOKEN_FILE")
    return _read(Path(path).expanduser()).decode().strip() if path else ""


def is_loopback_address(address: str) -> bool:
    """Return whether `host:port`, or each of `ipv4:host:port,host:port`, is on this machine, by its name alone."""
    if address.startswith("unix:"):
        return True
    return all(_is_loopback_host(one.rpartition(":")[0].strip("[]")) for one in replicas_of(address))


def replicas_of(address: str) -> list[str]:
    """Return each `host:port` of an address, which is one or `ipv4:host:port,host:port`."""
    return address.removeprefix("ipv4:").removeprefix("ipv6:").split(",")


def _is_loopback_host(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_replicas(address: str, options: Options) -> list[tuple[str, Any]]:
    """Add what makes calls go to a replica that answers, unless the address is that of one process of this machine."""
    replicas = replicas_of(address)
    if len(replicas) > 1:
        # Their certificates name hosts; by itself the whole list would be looked for in them.
        return [*_REPLICAS, ("grpc.default_authority", replicas[0].rpartition(":")[0]), *options]
    return list(options) if is_loopback_address(address) else [*_REPLICAS, *options]


def open_channel(address: str, tls: ClientTls, options: Options) -> grpc.Channel:
    """Open a channel for synchronous calls. Raises FailedPrecondition: a file of TLS cannot be read."""
    credentials = tls.credentials(address)
    options = _with_replicas(address, options)
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


def open_aio_channel(address: str, tls: ClientTls, options: Options) -> grpc.aio.Channel:
    """Open a channel for asynchronous calls. Raises as `open_channel`."""
    credentials = tls.credentials(address)
    options = _with_replicas(address, options)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options)
    return grpc.aio.secure_channel(address, credentials, options)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FailedPrecondition(f"{path} cannot be read: {error.strerror}", reason="FILE_UNREADABLE") from error
