"""Ask a service whether it is healthy: `python -m services.health [--answers] [host:port]`. Exit status 0: it is.

A replica that stands by, and is well, is healthy; with `--answers` only one that answers calls is. Without an address it
asks the service that `MILEPOST_HEALTH_ADDRESS` names, or the first `MILEPOST_*_LISTEN` that is set. It uses TLS where
that service does, by `MILEPOST_TLS_CERTIFICATE`, and knows it by the host in its `MILEPOST_*_ADDRESS`.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 2.0
SERVICES = ("gateway", "runtime", "trials", "metrics", "rules", "mlflow")
# See services/server.py; not imported, because this starts every few seconds.
STANDBY_HEALTH = "milepost.standby"
ANSWERS = "--answers"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a service listens on this machine. With `ca` it speaks TLS, under the name `host`."""

    address: str
    http: bool = False
    ca: str = ""
    host: str = ""
    # What it may ask of its callers.
    certificate: str = ""
    key: str = ""


def target_from(environment: Mapping[str, str]) -> Target:
    """Find the service that runs in this environment."""
    named = environment.get("MILEPOST_HEALTH_ADDRESS", "")
    if named:
        return Target(named)
    for service in SERVICES:
        listen = environment.get(f"MILEPOST_{service.upper()}_LISTEN", "")
        if not listen:
            continue
        address, http = f"127.0.0.1:{listen.rpartition(':')[2]}", service == "gateway"
        certificate, key = environment.get("MILEPOST_TLS_CERTIFICATE", ""), environment.get("MILEPOST_TLS_KEY", "")
        if not certificate:
            return Target(address, http)
        known_as = environment.get(f"MILEPOST_{service.upper()}_ADDRESS", "").removeprefix("ipv4:")
        # Without an authority the certificate vouches for itself: this is the machine it is on.
        ca = environment.get("MILEPOST_TLS_CA", "") or certificate
        return Target(address, http, ca, known_as.partition(",")[0].rpartition(":")[0], certificate, key)
    return Target("127.0.0.1:8470", True)


def serving(target: Target, standby: bool = False) -> bool:
    """Return whether a service says that it and what it depends on are well.

    With `standby` that also counts for one that waits for the end of the replica that leads.
    """
    if target.http:
        return _answers_http(target)
    with _channel(target) as channel:
        return _is_serving(channel, "") or (standby and _is_serving(channel, STANDBY_HEALTH))


def _answers_http(target: Target) -> bool:
    context = None
    if target.ca:
        context = ssl.create_default_context(cafile=target.ca)
        # It is reached as 127.0.0.1, whatever it is called by others.
        context.check_hostname = False
        context.load_cert_chain(target.certificate, target.key)
    url = f"{'https' if target.ca else 'http'}://{target.address}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _channel(target: Target) -> grpc.Channel:
    if not target.ca:
        return grpc.insecure_channel(target.address)
    ca, key, certificate = (Path(name).read_bytes() for name in (target.ca, target.key, target.certificate))
    options = [("grpc.ssl_target_name_override", target.host)] if target.host else []
    return grpc.secure_channel(target.address, grpc.ssl_channel_credentials(ca, key, certificate), options)


def _is_serving(channel: grpc.Channel, name: str) -> bool:
    request = health_pb2.HealthCheckRequest(service=name)
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_SECONDS)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != ANSWERS]
    target = Target(arguments[0]) if arguments else target_from(os.environ)
    return 0 if serving(target, standby=ANSWERS not in sys.argv) else 1


if __name__ == "__main__":
    sys.exit(main())
