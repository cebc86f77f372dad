"""TLS and mutual TLS: who can listen on the wire, and who gets a connection at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from milepost.client import Client
from milepost.errors import FailedPrecondition, Unauthenticated, Unimplemented
from milepost.installation.endpoints import Endpoints
from milepost.security.tokens import Role, TokenStore
from milepost.security.transport import ClientTls, open_aio_channel, token_from
from tests.integration.security.certificates import Certificates, make_certificates
from tests.integration.security.secured import SecuredServer, all_methods, call, request_of, running_secured

METHOD = next(method for method in all_methods() if method.name == "GetRuntime")
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def tls_settings(certificates: Certificates, **more: str) -> dict[str, Any]:
    return {"runtime_listen": "0.0.0.0:0", **certificates.settings, **more}


@pytest.fixture
async def secured(tmp_path: Path, certificates: Certificates) -> AsyncIterator[SecuredServer]:
    """A server that other machines can reach."""
    TokenStore(tmp_path / "tokens.json").create("first", Role.VIEWER, created_by="local:test")
    async with running_secured(tmp_path, **tls_settings(certificates)) as secured:
        yield secured


async def ask(secured: SecuredServer, tls: ClientTls, token: str = "") -> Code:
    async with open_aio_channel(secured.address, tls, []) as channel:
        return await call(channel, METHOD, request_of(METHOD, "runtimes/rt-a"), token)


async def test_beyond_loopback_it_takes_tls_and_a_token(secured: SecuredServer, certificates: Certificates) -> None:
    token = secured.token(Role.VIEWER)
    tls = ClientTls(certificates.ca)
    assert await ask(secured, tls, token) is Code.UNIMPLEMENTED
    # Also for callers on this machine.
    assert await ask(secured, tls) is Code.UNAUTHENTICATED
    assert await ask(secured, ClientTls(), token) is Code.UNAVAILABLE


async def test_a_server_signed_by_somebody_else_is_not_spoken_to(secured: SecuredServer, tmp_path: Path) -> None:
    other = make_certificates(tmp_path / "other")
    assert await ask(secured, ClientTls(other.ca), "mp_x_y") is Code.UNAVAILABLE
    assert not secured.observations


async def test_with_mutual_tls_callers_without_a_certificate_get_no_connection(
    tmp_path: Path, certificates: Certificates
) -> None:
    TokenStore(tmp_path / "tokens.json").create("first", Role.VIEWER, created_by="local:test")
    settings = tls_settings(certificates, tls_client_ca=str(certificates.ca))
    async with running_secured(tmp_path, **settings) as secured:
        token = secured.token(Role.VIEWER)
        assert await ask(secured, ClientTls(certificates.ca), token) is Code.UNAVAILABLE
        stranger = make_certificates(tmp_path / "other").caller
        tls = ClientTls(certificates.ca, stranger.certificate, stranger.key)
        assert await ask(secured, tls, token) is Code.UNAVAILABLE
        tls = ClientTls(certificates.ca, certificates.caller.certificate, certificates.caller.key)
        assert await ask(secured, tls, token) is Code.UNIMPLEMENTED
        assert await ask(secured, tls) is Code.UNAUTHENTICATED


async def test_the_python_client_takes_token_and_authority_from_its_environment(
    secured: SecuredServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "my.token"
    path.write_text(secured.token(Role.VIEWER) + "\n")

    def get() -> None:
        with Client(Endpoints(runtime=secured.address)) as client:
            client.get_runtime("runtimes/rt-a")

    monkeypatch.setenv("MILEPOST_TLS_CA", str(certificates.ca))
    with pytest.raises(Unauthenticated):
        await asyncio.to_thread(get)
    monkeypatch.setenv("MILEPOST_TOKEN_FILE", str(path))
    with pytest.raises(Unimplemented):
        await asyncio.to_thread(get)


def test_a_token_leaves_this_machine_by_tls_only() -> None:
    assert ClientTls().credentials("127.0.0.1:1") is None
    for address in ("10.0.0.1:1", "example.org:1", "localhost.example.org:1"):
        assert ClientTls().credentials(address) is not None


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(FailedPrecondition, match=r"missing\.pem"):
        ClientTls(missing).credentials("127.0.0.1:1")
    environment: Mapping[str, str] = {"MILEPOST_TOKEN_FILE": str(missing)}
    with pytest.raises(FailedPrecondition, match=r"missing\.pem"):
        token_from(environment)
    assert token_from({"MILEPOST_TOKEN": "a", "MILEPOST_TOKEN_FILE": str(missing)}) == "a"
