"""Whether an address can be listened on, asked before anything is touched.

What it is: a bind that is undone at once. What it is not: a reservation; whoever listens later may
still be refused, and says so in the same way.

Worked example: port 2379 of a running etcd raises AddressInUse, with the address in its sentence.

Tested in tests/unit/cli/test_role_folders.py.
"""

from __future__ import annotations

import socket

from kubebraid.proto.links.addresses import check_open, parse, resolve
from kubebraid.proto.server import AddressInUse


def check_free(address: str) -> None:
    """Of host:port, or of the path of a Unix socket. Raises AddressInUse, AddressRefused, OSError
    where a name does not resolve."""
    if "/" in address:
        # Here, not above: only a router has such an address, and gRPC is a part of it.
        from kubebraid.proto.front_unix import SocketFile

        SocketFile(address).check()
        return
    endpoint = resolve(parse(address))[0]
    bind_briefly(endpoint.family, endpoint.where, address)


def bind_briefly(family: int, where: tuple[object, ...], told: str) -> None:
    """`told`: the address as whoever gave it wrote it, for the sentence. Raises AddressInUse."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise AddressInUse(f"cannot listen on {told}: {error.strerror}") from error


def check_link_address(address: str, secret: bytes | None) -> None:
    """Of the other processes of a cluster: a name may turn out to be beyond loopback. Raises as
    `check_free`."""
    if secret is None:
        check_open(parse(address), resolve(parse(address)))
    check_free(address)
