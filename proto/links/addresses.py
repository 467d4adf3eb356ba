"""Addresses of links: HOST:PORT, in the text of a flag and as the system wants them.

What it is: reading, and the one rule about them: without a secret links stay on this machine. What
it is not: a connection.

Invariants: `resolve` of a literal address asks nobody; a host is loopback only if every one of its
addresses is.

Worked example: `parse("[::1]:7000")` is ("::1", 7000); `parse("7000")` is refused.

Tested in tests/unit/proto/links/test_addresses.py.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

from kubebraid.base.errors import KubeBraidError


class AddressRefused(KubeBraidError):
    """The address cannot be used."""

    definite = True
    hint = "give HOST:PORT, and a --cluster-secret-file unless the host is loopback"


class Address(NamedTuple):
    """A name or a literal address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Endpoint(NamedTuple):
    """One address as the system wants it."""

    family: int
    where: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(str(self.where[0]).partition("%")[0]).is_loopback


def parse(text: str) -> Address:
    """Raises AddressRefused."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressRefused(f"{text!r}: an IPv6 address is written in brackets")
    if not colon or not host or not (port.isascii() and port.isdigit() and int(port) < 2**16):
        raise AddressRefused(f"{text!r} is not HOST:PORT")
    return Address(host, int(port))


def is_literal(address: Address) -> bool:
    """May it be resolved without asking anybody?"""
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return False
    return True


def resolve(address: Address) -> list[Endpoint]:
    """Where it is, best first; of a name it may block. Raises OSError."""
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    return [Endpoint(family, where) for family, _type, _protocol, _name, where in found]


def check_open(address: Address, endpoints: list[Endpoint]) -> None:
    """Of a link without a secret. Raises AddressRefused."""
    if not endpoints or not all(endpoint.is_loopback for endpoint in endpoints):
        raise AddressRefused(f"{address}: without a cluster secret links stay on loopback")
