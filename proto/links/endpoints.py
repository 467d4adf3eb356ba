"""Where links come from: a server that accepts them, a dialer that makes one again and again.

What it is: the two owners of `SocketLink`. What it is not: a register of peers; two links of one
peer may exist for a moment, and the user hears of both.

Invariants:
- without a secret a server listens, and a dialer dials, on loopback only;
- who has proved nothing costs a server at most LINK_STRANGERS_MAX sockets, the oldest goes first,
  for an honest handshake is over in milliseconds, and one line of log in LINK_LOG_MS;
- a dialer has at most one link; when it ends the next try follows after a delay that grows, and
  falls back only when a link has lived for LINK_BACKOFF_MOST_MS;
- the loop never waits for a name to be resolved.

Worked example: `LinkServer(network, "127.0.0.1:0", me, secret, user).address` is what a
`LinkDialer(network, address, me, secret, user)` of another process takes; both users hear `opened`.

Tested in tests/unit/proto/links/test_endpoints.py, test_two_processes.py.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from errno import EINPROGRESS
from typing import Final

from kubebraid.base.backoff import Backoff
from kubebraid.base.limits import (
    LINK_BACKOFF_FIRST_MS,
    LINK_BACKOFF_MOST_MS,
    LINK_LOG_MS,
    LINK_STRANGERS_MAX,
)
from kubebraid.base.links import LinkUser

from .addresses import Address, Endpoint, check_open, is_literal, parse, resolve
from .connection import Connection
from .handshake import DIALER, LISTENER, Identity, encode
from .network import Network
from .poller import READ
from .reasons import Reason
from .sockets import SocketLink

LISTEN_QUEUE: Final = 128
ACCEPTS_PER_TURN: Final = 16
ACCEPT_RETRY_MS: Final = 100  # after accept has failed: no descriptors are left, mostly
_LOG: Final = logging.getLogger("kubebraid.links")


class LinkServer:
    """Listens. Raises AddressRefused, IdentityRefused, or OSError: the address cannot be had."""

    def __init__(
        self,
        network: Network,
        address: str,
        me: Identity,
        secret: bytes | None,
        user: LinkUser,
        reserved: socket.socket | None = None,
    ) -> None:
        """`reserved`: it listens there already, see `bound`."""
        encode(me)  # what cannot be told is refused now, not when the first peer comes
        wanted = parse(address)
        endpoints = resolve(wanted)
        if secret is None:
            check_open(wanted, endpoints)
        self._network, self._user = network, user
        self._me, self._secret = me, secret
        self._strangers: dict[SocketLink, None] = {}
        self._logged_ms = network.now_ms - LINK_LOG_MS
        self._unlogged = 0
        self._resume_ms: int | None = None  # accepting rests until then
        self._sock: socket.socket | None = reserved or _listen(endpoints[0])
        self.address = str(Address(*self._sock.getsockname()[:2]))
        network.poller.watch(self._sock, READ, self._accept)
        network.add(self)

    def _accept(self, _mask: int) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._sock is None or self._resume_ms is not None:
                return
            try:
                sock, _where = self._sock.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # it went before we came
            except OSError as error:
                self._rest(self._sock, error)
                return
            sock.setblocking(False)
            connection = Connection(LISTENER, self._me, self._secret, self._network.chance.nonce())
            if len(self._strangers) >= LINK_STRANGERS_MAX:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                oldest.fail(Reason.CROWDED)
            link = SocketLink(self._network, sock, connection, self._user, self)
            self._strangers[link] = None

    def _rest(self, sock: socket.socket, error: OSError) -> None:
        """The connection stays in the queue, so the poller would report it again at once."""
        _LOG.error("cannot accept a link", extra={"error": str(error), "address": self.address})
        self._network.poller.unwatch(sock)
        self._resume_ms = self._network.now_ms + ACCEPT_RETRY_MS
        self._network.hurry(self._resume_ms)

    def tick(self, now_ms: int) -> int | None:
        if self._resume_ms is not None and now_ms >= self._resume_ms and self._sock is not None:
            self._resume_ms = None
            self._network.poller.watch(self._sock, READ, self._accept)
        return self._resume_ms

    def opened(self, link: SocketLink) -> None:
        self._strangers.pop(link, None)
        _LOG.info("link opened", extra=_about(link, self.address))

    def ended(self, link: SocketLink, reason: Reason, detail: str) -> None:
        self._strangers.pop(link, None)
        if link.is_opened:
            _log_end(link, self.address, reason, detail)
            return
        now_ms = self._network.now_ms
        if now_ms - self._logged_ms < LINK_LOG_MS:
            self._unlogged += 1
            return
        extra = {"reason": reason.sentence(detail), "address": self.address}
        _LOG.warning("link refused", extra=extra | {"unlogged": self._unlogged})
        self._logged_ms, self._unlogged = now_ms, 0

    def close(self) -> None:
        """No more links; those that are opened stay."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        if self._resume_ms is None:
            self._network.poller.unwatch(sock)
        sock.close()
        self._network.remove(self)
        for link in list(self._strangers):
            link.close()


def bound(address: Address) -> socket.socket:
    """A socket that listens; nobody is accepted yet. Raises OSError."""
    return _listen(resolve(address)[0])


def _listen(endpoint: Endpoint) -> socket.socket:
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(endpoint.where)
        sock.listen(LISTEN_QUEUE)
    except OSError:
        sock.close()
        raise
    return sock


class LinkDialer:
    """Keeps one link to `address`, until `close`. Raises AddressRefused, IdentityRefused."""

    def __init__(
        self, network: Network, address: str, me: Identity, secret: bytes | None, user: LinkUser
    ) -> None:
        encode(me)
        self._address = parse(address)
        self._endpoints: list[Endpoint] = []  # that of a name are asked for again when tried
        if is_literal(self._address):
            self._endpoints = resolve(self._address)
            if secret is None:
                check_open(self._address, self._endpoints)
        self._network, self._user = network, user
        self._me, self._secret = me, secret
        chance = network.chance.fraction
        self._backoff = Backoff(LINK_BACKOFF_FIRST_MS, LINK_BACKOFF_MOST_MS, chance)
        self._closed = False
        self._link: SocketLink | None = None
        self._opened_ms = 0
        self._due_ms: int | None = network.now_ms  # of the next try; None while one is under way
        self._told = ""  # the last reason in the log: a peer that stays away is told once
        network.add(self)

    def tick(self, now_ms: int) -> int | None:
        if self._due_ms is not None and now_ms >= self._due_ms and not self._closed:
            self._due_ms = None
            if self._endpoints:
                self._dial(self._endpoints.pop(0))
            elif is_literal(self._address):
                self._dial(resolve(self._address)[0])
            else:
                threading.Thread(target=self._resolve, name="resolve", daemon=True).start()
        return self._due_ms

    def _resolve(self) -> None:
        """In a thread of its own."""
        endpoints, error = list[Endpoint](), ""
        try:
            endpoints = resolve(self._address)
            if self._secret is None:
                check_open(self._address, endpoints)
        except Exception as failure:  # noqa: BLE001 - whatever it was, the loop must hear of it
            endpoints, error = [], str(failure)
        self._network.post(lambda: self._resolved(endpoints, error))

    def _resolved(self, endpoints: list[Endpoint], error: str) -> None:
        if self._closed:
            return
        if not endpoints:
            self._again(error or "the name has no address")
            return
        self._endpoints = endpoints[1:]
        self._dial(endpoints[0])

    def _dial(self, endpoint: Endpoint) -> None:
        try:
            sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
        except OSError as error:  # no descriptors are left, or there is no IPv6 here
            self._again(str(error))
            return
        sock.setblocking(False)
        code = sock.connect_ex(endpoint.where)
        if code not in (0, EINPROGRESS):
            sock.close()
            self._again(os.strerror(code))
            return
        connection = Connection(DIALER, self._me, self._secret, self._network.chance.nonce())
        self._link = SocketLink(self._network, sock, connection, self._user, self)

    def opened(self, link: SocketLink) -> None:
        self._opened_ms = self._network.now_ms
        self._told = ""
        _LOG.info("link opened", extra=_about(link, str(self._address)))

    def ended(self, link: SocketLink, reason: Reason, detail: str) -> None:
        self._link = None
        if link.is_opened:
            _log_end(link, str(self._address), reason, detail)
            if self._network.now_ms - self._opened_ms >= LINK_BACKOFF_MOST_MS:
                self._backoff.reset()
        self._again("" if link.is_opened else reason.sentence(detail))

    def _again(self, why: str) -> None:
        if self._closed:
            return
        if why and why != self._told:
            extra = {"reason": why, "address": str(self._address)}
            _LOG.warning("no link; it is tried again", extra=extra)
            self._told = why
        self._due_ms = self._network.now_ms + self._backoff.next_ms()
        self._network.hurry(self._due_ms)

    def close(self) -> None:
        """Ends the link, and dials no more."""
        self._closed = True
        self._network.remove(self)
        if self._link is not None:
            self._link.close()


def _about(link: SocketLink, address: str) -> dict[str, str | int]:
    role, name, incarnation = link.peer
    return {"peer": f"{role} {name}", "incarnation": incarnation, "address": address}


def _log_end(link: SocketLink, address: str, reason: Reason, detail: str) -> None:
    extra = _about(link, address) | {"reason": reason.sentence(detail)}
    _LOG.info("link ended", extra=extra)
