"""The Mesh of a real process: servers and dialers that share its network, identity and secret.

What it is: a bundle. What it is not: any of them.

Tested in tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

import socket

from kubebraid.base.links import LinkUser

from .addresses import Address, parse
from .endpoints import LinkDialer, LinkServer, bound
from .handshake import Identity
from .network import Network


class SocketMesh:
    """Implements Mesh of base/links.py over TCP."""

    def __init__(self, network: Network, me: Identity, secret: bytes | None) -> None:
        self._network = network
        self._me = me
        self._secret = secret
        self._reserved: dict[str, socket.socket] = {}

    def reserve(self, address: str) -> str:
        """Take the address, of which the port may be 0, before there is anything to serve: whoever
        connects waits for `listen`, which is told what this answers: the address with its port.
        Raises OSError."""
        wanted = parse(address)
        sock = bound(wanted)
        taken = str(Address(wanted.host, sock.getsockname()[1]))
        self._reserved[taken] = sock
        return taken

    def close(self) -> None:
        """Addresses that nobody listened at are free again."""
        for sock in self._reserved.values():
            sock.close()

    def dial(self, address: str, user: LinkUser) -> LinkDialer:
        return LinkDialer(self._network, address, self._me, self._secret, user)

    def listen(self, address: str, user: LinkUser) -> LinkServer:
        reserved = self._reserved.pop(address, None)
        return LinkServer(self._network, address, self._me, self._secret, user, reserved)
