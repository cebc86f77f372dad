"""Ask a service whether it is healthy: `python -m services.health [host:port]`. Exit status 0: it is.

Without an address it asks the service that `MILEPOST_HEALTH_ADDRESS` names, or the first `MILEPOST_*_LISTEN` that is set.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 2.0
SERVICES = ("gateway", "runtime", "trials", "metrics")


def address_from(environment: dict[str, str]) -> tuple[str, bool]:
    """Return (host:port, whether it speaks HTTP) of the service that runs in this environment."""
    named = environment.get("MILEPOST_HEALTH_ADDRESS", "")
    if named:
        return named, False
    for service in SERVICES:
        listen = environment.get(f"MILEPOST_{service.upper()}_LISTEN", "")
        if listen:
            return f"127.0.0.1:{listen.rpartition(':')[2]}", service == "gateway"
    return "127.0.0.1:8470", True


def serving(address: str, http: bool) -> bool:
    """Tell whether the service at an address says that it and what it depends on are well."""
    if http:
        try:
            with urllib.request.urlopen(f"http://{address}/readyz", timeout=TIMEOUT_SECONDS) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def main() -> int:
    if len(sys.argv) > 1:
        return 0 if serving(sys.argv[1], False) else 1
    address, http = address_from(dict(os.environ))
    return 0 if serving(address, http) else 1


if __name__ == "__main__":
    sys.exit(main())
