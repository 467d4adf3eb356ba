"""The Mesh of a real process: servers and dialers that share its network, identity and secret.

What it is: a bundle. What it is not: any of them.

Tested in tests/e2e/test_dev_cluster.py.
"""

from __future__ import annotations

from kubebraid.base.links import LinkUser

from .endpoints import LinkDialer, LinkServer
from .handshake import Identity
from .network import Network


class SocketMesh:
    """Implements Mesh of base/links.py over TCP."""

    def __init__(self, network: Network, me: Identity, secret: bytes | None) -> None:
        self._network = network
        self._me = me
        self._secret = secret

    def dial(self, address: str, user: LinkUser) -> LinkDialer:
        return LinkDialer(self._network, address, self._me, self._secret, user)

    def listen(self, address: str, user: LinkUser) -> LinkServer:
        return LinkServer(self._network, address, self._me, self._secret, user)
