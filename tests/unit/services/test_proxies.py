"""Whose word counts for where a request came from."""

from __future__ import annotations

import pytest

from services.gateway.middleware import Proxies

PROXIES = Proxies.of("10.0.0.5, 172.31.0.0/24,fd00::/64")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("10.0.0.5", [], "10.0.0.5"),
        ("10.0.0.5", ["203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.0.0.5", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.5", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.5", ["1.1.1.1", "203.0.113.9 , 172.31.0.7"], "203.0.113.9"),
        ("10.0.0.5", ["172.31.0.7"], "172.31.0.7"),
        ("10.0.0.5", ["203.0.113.9, nonsense"], "10.0.0.5"),
        ("10.0.0.5", ["203.0.113.9, "], "10.0.0.5"),
        ("fd00::7", ["2001:db8::1"], "2001:db8::1"),
        ("", ["203.0.113.9"], ""),
    ],
)
def test_the_client_is_the_last_one_that_is_no_proxy_of_ours(peer: str, forwarded: list[str], client: str) -> None:
    assert PROXIES.client_of(peer, forwarded) == client


def test_without_proxies_nobody_is_believed() -> None:
    assert Proxies.of("") == Proxies()
    assert Proxies().client_of("127.0.0.1", ["203.0.113.9"]) == "127.0.0.1"


@pytest.mark.parametrize("text", ["proxy", "10.0.0.1/8", "10.0.0.5,*"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Proxies.of(text)
