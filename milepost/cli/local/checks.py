"""Return whether the parts of a stack serve."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from milepost.cli.local.supervisor import Check
from milepost.security.transport import ClientTls, open_aio_channel

CHECK_SECONDS = 2.0


def grpc_serving(address: str, tls: ClientTls | None = None) -> Check:
    """Make a check of a service by the gRPC health protocol, over TLS if the service uses it."""

    async def check() -> bool:
        import grpc.aio
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        channel_tls = tls or ClientTls()
        async with open_aio_channel(address, channel_tls, [("grpc.enable_http_proxy", 0)]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=CHECK_SECONDS)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return check


def http_ok(host: str, port: int, path: str, tls: ClientTls | None = None) -> Check:
    """Make a check of an HTTP server: it answers 200, over TLS if the server uses it."""

    async def check() -> bool:
        return await _answers(lambda: _http_status(host, port, path, tls), b"200")

    return check


async def _http_status(host: str, port: int, path: str, tls: ClientTls | None) -> bytes:
    context = None
    if tls is not None:
        # Nothing is sent that is worth protecting, and the certificate names the host as others know it.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if tls.certificate and tls.key:
            context.load_cert_chain(tls.certificate, tls.key)
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        status_line = await reader.readline()
        return status_line.split(b" ")[1] if b" " in status_line else b""
    finally:
        writer.close()


async def _answers(ask: Callable[[], Awaitable[bytes]], expected: bytes) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await ask() == expected
    except (OSError, TimeoutError):
        return False
