"""Where services connect because something that they were told names it: one list for storage, code and witnesses.

A configuration names the storage of its snapshots and of its code; without a list, whoever may start a run could have the
runtime service speak to addresses that only it can reach. The setting `egress` holds what is allowed, joined by commas:

    public                    every address of the internet
    private                   this machine, and networks that are not of the internet
    store.example.org         a host, whatever its address is
    *.example.org             every host of a domain
    10.20.0.0/16              a network

Empty: `public,private` where whoever is on this machine may do everything anyway, and `public` where tokens are asked for.
Link-local addresses, behind which clouds keep credentials of machines, are only allowed by name or network.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from milepost.errors import FailedPrecondition
from milepost.storage import StorageUnavailable, local_path

PUBLIC, PRIVATE = "public", "private"
OPEN = f"{PUBLIC},{PRIVATE}"
# Without an address of one's own these go to their providers.
_PROVIDERS = frozenset({"s3", "gs", "gcs"})
# Options of `pyarrow.fs` that name a host.
_NAMING = frozenset({"endpoint_override", "blob_storage_authority", "dfs_storage_authority"})
# It becomes part of the name of a host.
_REGION = re.compile(r"[a-zA-Z0-9-]{0,40}")
_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,250}[A-Za-z0-9_])?\.?")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressRefused(FailedPrecondition):
    """The services of this installation do not connect there. The message says which setting decides."""

    reason = "ADDRESS_REFUSED"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What is allowed is the address that was named, and no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Egress:
    """The addresses that services may connect to."""

    kinds: frozenset[str] = frozenset({PUBLIC, PRIVATE})
    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, text: str) -> Egress:
        """Read the setting.

        Raises:
            ValueError: something in it is neither of what the setting takes.
        """
        kinds, names, networks = set(), set(), []
        for entry in filter(None, (part.strip() for part in text.split(","))):
            try:
                networks.append(ipaddress.ip_network(entry.strip("[]")))
                continue
            except ValueError:
                pass
            if entry in (PUBLIC, PRIVATE):
                kinds.add(entry)
            elif _NAME.fullmatch(entry):
                names.add(_plain(entry))
            else:
                raise ValueError(f"{entry!r} is not `public`, `private`, a host, *.domain or a network")
        return cls(frozenset(kinds), frozenset(names), tuple(networks))

    def allowing(self, host: str) -> Egress:
        """Return a list that has one more host: one that the operator has named in another setting."""
        return Egress(self.kinds, self.names | {_plain(host)}, self.networks)

    def check(self, host: str) -> list[Address]:
        """Look a host up and return its addresses, all of which are allowed. Blocks.

        Raises:
            AddressRefused: one of them is not.
            StorageUnavailable: the host has no address at the moment.
        """
        by_name = self._has_name(_plain(host))
        found = _addresses(host)
        for address in found:
            if not by_name and not self._has(address):
                raise _refused(host, f" ({address})" if str(address) != host else "")
        return found

    def check_uri(self, uri: str) -> None:
        """Check every host that the URI of a folder names; one of this machine names none. Blocks. Raises as `check`."""
        if local_path(uri) is not None:
            return
        parsed = urlsplit(uri)
        options = parse_qsl(parsed.query, keep_blank_values=True)
        for name, value in options:
            if name == "region" and not _REGION.fullmatch(value):
                raise _refused(value, " is no region")
        named = [value for name, value in options if name in _NAMING]
        if parsed.scheme not in _PROVIDERS:
            named.append(parsed.netloc)
        elif not named and PUBLIC not in self.kinds and not self._has_name(_provider(parsed.scheme)):
            raise _refused(_provider(parsed.scheme))
        for value in named:
            self.check(_host_of(value))

    def open(self, request: urllib.request.Request, seconds: float) -> Any:
        """Send a request of HTTP to an address that is allowed, and follow no redirect. Blocks.

        Where this machine has a proxy for the address, the proxy looks the host up once more and connects.

        Raises:
            AddressRefused: it is not allowed.
            OSError, http.client.HTTPException, ValueError: no answer of success.
        """
        parsed = urlsplit(request.full_url)
        host = parsed.hostname or ""
        proxied = parsed.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)
        if proxied:
            self.check(host)
            return urllib.request.build_opener(_NoRedirects).open(request, timeout=seconds)
        handlers = (urllib.request.ProxyHandler({}), _Http(self), _Https(self), _NoRedirects)
        return urllib.request.build_opener(*handlers).open(request, timeout=seconds)

    def connect(self, address: tuple[str, int], *options: Any) -> socket.socket:
        """Connect as `socket.create_connection` does, to an address that was looked up once, and checked."""
        *others, last = self.check(address[0])
        for one in others:
            try:
                return socket.create_connection((str(one), address[1]), *options)
            except OSError:
                continue
        return socket.create_connection((str(last), address[1]), *options)

    def _has_name(self, host: str) -> bool:
        labels = host.split(".")
        return host in self.names or any("*." + ".".join(labels[at:]) in self.names for at in range(1, len(labels)))

    def _has(self, address: Address) -> bool:
        if any(address in network for network in self.networks if network.version == address.version):
            return True
        if address.is_link_local or address.is_multicast:
            return False
        return (PUBLIC if address.is_global else PRIVATE) in self.kinds


class _Http(urllib.request.HTTPHandler):
    def __init__(self, egress: Egress) -> None:
        super().__init__()
        self._egress = egress

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(_connection, http.client.HTTPConnection, self._egress), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, egress: Egress) -> None:
        super().__init__()
        self._egress = egress

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(_connection, http.client.HTTPSConnection, self._egress), req)


def _connection(kind: Any, egress: Egress, host: str, **options: Any) -> Any:
    connection = kind(host, **options)
    connection._create_connection = egress.connect
    return connection


def _addresses(host: str) -> list[Address]:
    """Look up the addresses of a host, each as what it stands for."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise StorageUnavailable(f"the host {host!r} is not known here: {error}") from error
    return list(dict.fromkeys(_meant(str(entry[4][0]).partition("%")[0]) for entry in found))


def _meant(text: str) -> Address:
    """Read an address. One of IPv6 that only wraps one of IPv4 is that."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address.sixtofour or _translated(address) or address
    return address


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """RFC 6052: what a translator between IPv6 and IPv4 makes of an address with the well-known prefix."""
    well_known = address in ipaddress.IPv6Network("64:ff9b::/96")
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if well_known else None


def _host_of(authority: str) -> str:
    """Take the host out of `host`, `host:port`, `user@host` or a URL."""
    host = urlsplit(authority if "://" in authority else f"//{authority}").hostname
    if not host:
        raise _refused(authority)
    return host


def _provider(scheme: str) -> str:
    return "s3.amazonaws.com" if scheme == "s3" else "storage.googleapis.com"


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _refused(host: str, why: str = "") -> AddressRefused:
    return AddressRefused(
        f"this installation does not connect to {host[:200]!r}{why}: its operator allows addresses by the setting egress "
        "(MILEPOST_EGRESS)"
    )
