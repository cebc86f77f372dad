"""Addresses of one process or of several replicas, and how a service is asked for its health."""

from __future__ import annotations

import asyncio

import pytest

from milepost.errors import Unavailable
from milepost.security.transport import is_loopback_address
from milepost.training.script.attempt.registration import check_answers
from services.health import Target, target_from


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:8471", True),
        ("[::1]:8471", True),
        ("localhost:8471", True),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:2", False),
        ("runtime:8471", False),
        ("10.0.0.1:8471", False),
    ],
)
def test_an_address_of_several_replicas_is_loopback_if_each_is(address: str, expected: bool) -> None:
    """Otherwise a token would leave this machine without TLS."""
    assert is_loopback_address(address) is expected


def test_a_service_is_asked_on_its_own_machine_by_the_name_in_its_certificate() -> None:
    """The environment of compose is all that the health check of the image has."""
    environment = {
        "MILEPOST_RUNTIME_LISTEN": "0.0.0.0:8471",
        "MILEPOST_RUNTIME_ADDRESS": "runtime:8471",
        "MILEPOST_TLS_CERTIFICATE": "/run/secrets/tls.crt",
        "MILEPOST_TLS_KEY": "/run/secrets/tls.key",
        "MILEPOST_TLS_CA": "/run/secrets/ca.crt",
    }
    assert target_from(environment) == Target(
        "127.0.0.1:8471", False, "/run/secrets/ca.crt", "runtime", "/run/secrets/tls.crt", "/run/secrets/tls.key"
    )
    assert target_from({"MILEPOST_GATEWAY_LISTEN": "127.0.0.1:8470"}) == Target("127.0.0.1:8470", True)
    assert target_from({"MILEPOST_HEALTH_ADDRESS": "127.0.0.1:1"}) == Target("127.0.0.1:1")


async def test_a_script_begins_when_one_of_the_replicas_answers() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ipv4:127.0.0.1:9,127.0.0.1:{port}"):
        await check_answers(address)
    server.close()
    for address in (f"ipv4:127.0.0.1:9,127.0.0.1:{port}", "no port", "unix:/nowhere"):
        with pytest.raises(Unavailable, match="nothing answers"):
            await check_answers(address)
