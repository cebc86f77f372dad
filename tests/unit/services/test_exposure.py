"""Where a server may listen, and what it needs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.access.exposure import Tls, check_exposure, is_loopback, tls_of

TLS = Tls(Path("c"), Path("k"))


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.1.2.3:80", "localhost:1", "[::1]:1", "unix:/tmp/x"])
def test_loopback_is_recognized(listen: str) -> None:
    assert is_loopback(listen)
    check_exposure("it", listen, None, False)


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", ":1", "10.0.0.1:1", "example.org:1", "127.0.0.1.nip.io:1"])
def test_everything_else_needs_tls_and_tokens(listen: str) -> None:
    assert not is_loopback(listen)
    with pytest.raises(SystemExit, match=r"TLS .* and at least one token"):
        check_exposure("it", listen, None, False)
    with pytest.raises(SystemExit, match="token create"):
        check_exposure("it", listen, TLS, False)
    with pytest.raises(SystemExit, match="--tls-certificate"):
        check_exposure("it", listen, None, True)
    check_exposure("it", listen, TLS, True)


def test_half_of_the_tls_settings_is_refused() -> None:
    assert tls_of("", "") is None
    for settings in (("c", ""), ("", "k"), ("", "", "ca")):
        with pytest.raises(SystemExit):
            tls_of(*settings)
