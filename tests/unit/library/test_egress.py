"""What a configuration names is not connected to because it is named: one list says where services may go."""

from __future__ import annotations

import http.server
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from milepost.api.config.v1.configuration_pb2 import Code, RuntimeConfiguration, SnapshotPolicy
from milepost.errors import Unavailable
from milepost.installation.settings import collect
from milepost.security.egress import OPEN, AddressRefused, Egress
from milepost.storage import StorageUnavailable
from services.access.exposure import egress_of
from services.runtime.snapshots import Place, SnapshotStorage

NAMES = {
    "store.example.org": ["93.184.216.34"],
    "inner.example.org": ["10.20.3.4"],
    "rebound.example.org": ["93.184.216.34", "127.0.0.1"],
    "two.example.org": ["127.0.0.2", "127.0.0.1"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names above are known; addresses are looked up as ever."""
    look_up = socket.getaddrinfo

    def known(host: str, *rest: object, **named: object) -> object:
        if host in NAMES:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in NAMES[host]]
        if host.endswith(".org"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", known)


@pytest.mark.parametrize(
    ("setting", "allowed", "refused"),
    [
        (
            "public",
            ["93.184.216.34", "2606:2800:220:1::1", "store.example.org"],
            [
                *("127.0.0.1", "::1", "0.0.0.0", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd00::1"),
                *("169.254.169.254", "fe80::1", "224.0.0.1", "255.255.255.255", "inner.example.org"),
                # Written otherwise, or wrapped.
                *("2130706433", "0x7f.1", "017700000001", "127.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
                *("2002:7f00:1::", "64:ff9b::7f00:1", "::"),
                # One of its addresses is enough.
                "rebound.example.org",
            ],
        ),
        (OPEN, ["127.0.0.1", "10.0.0.1", "inner.example.org", "93.184.216.34"], ["169.254.169.254", "fe80::1"]),
        ("private", ["127.0.0.1", "10.0.0.1"], ["93.184.216.34", "169.254.169.254"]),
        ("inner.example.org", ["inner.example.org"], ["store.example.org", "10.20.3.4"]),
        ("*.EXAMPLE.org.", ["inner.example.org", "rebound.example.org"], ["10.20.3.4", "93.184.216.34"]),
        ("10.20.0.0/16, 169.254.169.254", ["inner.example.org", "169.254.169.254"], ["10.21.0.1", "127.0.0.1"]),
    ],
)
def test_the_list_says_where_services_may_connect(setting: str, allowed: list[str], refused: list[str]) -> None:
    egress = Egress.of(setting)
    for host in allowed:
        assert egress.check(host)
    for host in refused:
        with pytest.raises(AddressRefused, match="MILEPOST_EGRESS"):
            egress.check(host)


def test_a_host_that_has_no_address_is_unavailable_and_not_refused() -> None:
    with pytest.raises(Unavailable, match="not known here"):
        Egress().check("nowhere.example.org")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/x?endpoint_override=127.0.0.1:9000&scheme=http",
        "s3://bucket/x?endpoint_override=http://[::1]:9000",
        "s3://bucket/x?endpoint_override=store.example.org&endpoint_override=127.0.0.1",
        "s3://bucket/x?endpoint%5Foverride=127.0.0.1",
        "s3://bucket/x?endpoint_override=store.example.org@127.0.0.1",
        "s3://bucket/x?endpoint_override=",
        "s3://bucket/x?region=x@127.0.0.1:80/%23",
        "gs://bucket/x?endpoint_override=169.254.169.254&scheme=http",
        "abfss://container@account.example.org/x?blob_storage_authority=127.0.0.1:10000",
        "hdfs://inner.example.org:8020/x",
    ],
)
def test_every_host_of_an_address_of_storage_is_looked_at(uri: str) -> None:
    NAMES["account.example.org"] = ["93.184.216.34"]
    with pytest.raises(AddressRefused):
        Egress.of("public").check_uri(uri)


def test_storage_of_a_provider_or_of_this_machine_needs_no_look_up() -> None:
    for uri in ("", "/data", "file:///data", "s3://bucket/x?region=eu-central-1", "gs://bucket/x"):
        Egress.of("public").check_uri(uri)
    with pytest.raises(AddressRefused, match="amazonaws"):
        Egress.of("inner.example.org").check_uri("s3://bucket/x")
    Egress.of("*.amazonaws.com").check_uri("s3://bucket/x")


@pytest.mark.parametrize("text", ["http://a", "a/b", "a b", "*", "*.", "10.0.0.1/8", "-a"])
def test_a_setting_that_names_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not `public`"):
        Egress.of(text)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, OPEN),
        ({"authentication": "required"}, "public"),
        ({"gateway_listen": "0.0.0.0:8470"}, "public"),
        ({"runtime_listen": "10.0.0.1:8471"}, "public"),
        ({"authentication": "required", "egress": "public,minio"}, "public,minio"),
        ({"egress": "public"}, "public"),
    ],
)
def test_where_tokens_are_asked_for_inner_addresses_are_not_connected_to(flags: dict[str, str], expected: str) -> None:
    assert egress_of(collect(flags, {})) == Egress.of(expected)


@pytest.fixture
def server() -> Iterator[tuple[int, list[str]]]:
    """A server on every address of this machine that sends on what is posted to /away, and keeps the paths."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(307 if self.path == "/away" else 204)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield listening.server_address[1], asked
    listening.shutdown()
    thread.join()
    listening.server_close()


def post(port: int, path: str, host: str = "127.0.0.1") -> urllib.request.Request:
    return urllib.request.Request(f"http://{host}:{port}{path}", data=b"{}", method="POST")


def test_a_redirect_is_not_followed_and_a_refused_address_is_not_asked(server: tuple[int, list[str]]) -> None:
    port, asked = server
    with Egress().open(post(port, "/here"), 5.0) as answer:
        assert answer.status == 204
    with pytest.raises(urllib.request.HTTPError, match="307"):  # type: ignore[attr-defined]
        Egress().open(post(port, "/away"), 5.0)
    with pytest.raises(AddressRefused):
        Egress.of("public").open(post(port, "/refused"), 5.0)
    assert asked == ["/here", "/away"]


def test_what_was_checked_is_what_is_connected_to(server: tuple[int, list[str]]) -> None:
    """A name is looked up once; where its first address does not answer, the next one does."""
    port, asked = server
    with Egress.of("*.example.org").open(post(port, "/named", "two.example.org"), 5.0) as answer:
        assert answer.status == 204
    assert asked == ["/named"]


def test_storage_and_code_that_a_configuration_names_go_through_the_list(
    tmp_path: Path, server: tuple[int, list[str]]
) -> None:
    port, asked = server
    storage = SnapshotStorage(tmp_path, Egress.of("public"))
    uri = f"s3://bucket/x?scheme=http&endpoint_override=127.0.0.1:{port}"
    with pytest.raises(AddressRefused):
        storage.check_writable(uri)
    with pytest.raises(AddressRefused):
        storage.code_folder(Code(uri=uri.replace("x?", "x.tar.gz?"), digest="sha256:" + "0" * 64))
    # Of a run that was accepted before the list was shorter: nothing is known about its snapshots, so none is given up.
    run = RuntimeConfiguration(snapshots=SnapshotPolicy(storage=uri))
    with pytest.raises(StorageUnavailable, match="MILEPOST_EGRESS"):
        storage.folder(run, Place("rt-1", 1, "step-000000000001-a1", uri, "00"))
    assert asked == []
