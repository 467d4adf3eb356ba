"""What the tests of links share: two sides in memory, and two sides over real sockets of 127.0.0.1.

What it is: identities, a clock that stands until it is moved, a user that writes down what it
hears. What it is not: a test.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from itertools import count

from kubebraid.base.links import Link, Peer
from kubebraid.base.loop import WaitingLoop
from kubebraid.proto.links.connection import Connection, Event
from kubebraid.proto.links.endpoints import LinkDialer, LinkServer
from kubebraid.proto.links.handshake import DIALER, LISTENER, Identity
from kubebraid.proto.links.network import Network
from kubebraid.proto.links.poller import Poller

SECRET = bytes(range(32))
OTHER_SECRET = bytes(range(1, 33))
ROUTER = Identity(Peer("router", "router-7", 11), "braid-1")
SHARD = Identity(Peer("shard", "shard-1", 22), "braid-1")
DIALER_NONCE = b"d" * 32
LISTENER_NONCE = b"l" * 32
TURNS_MAX = 2_000  # of up to 10 ms: only what hangs needs so many


def dialer(secret: bytes | None = SECRET, me: Identity = ROUTER) -> Connection:
    return Connection(DIALER, me, secret, DIALER_NONCE)


def listener(secret: bytes | None = SECRET, me: Identity = SHARD) -> Connection:
    return Connection(LISTENER, me, secret, LISTENER_NONCE)


def output(side: Connection) -> bytes:
    return b"".join(side.take_output())


def shake(left: Connection, right: Connection) -> tuple[list[Event], list[Event], list[bytes]]:
    """Carries the bytes of a handshake: events of both, and what was carried, in order."""
    heard_left: list[Event] = []
    heard_right: list[Event] = []
    carried: list[bytes] = []
    for _ in range(4):
        for side, other, heard in ((left, right, heard_right), (right, left, heard_left)):
            if data := output(side):
                carried.append(data)
                heard.extend(other.feed(data))
    return heard_left, heard_right, carried


def opened_pair(
    secret: bytes | None = SECRET,
) -> tuple[Connection, Connection]:
    """A dialer and a listener after their handshake."""
    left, right = dialer(secret), listener(secret)
    shake(left, right)
    assert left.peer == SHARD.peer
    assert right.peer == ROUTER.peer
    return left, right


class FakeClock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


class FakeChance:
    """Nonces that count; delays are always the whole of their bound."""

    def __init__(self, first: int = 0) -> None:
        self._numbers = count(first)

    def nonce(self) -> bytes:
        return next(self._numbers).to_bytes(32, "big")

    def fraction(self) -> float:
        return 0.0


class User:
    """Writes down what it hears; `log` has the words, `links` those that live."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.links: list[Link] = []
        self.got: list[tuple[int, bytes]] = []
        self.on_opened: Callable[[Link], None] = lambda _link: None
        self.on_received: Callable[[Link, int, bytes], None] = lambda _link, _kind, _body: None

    def opened(self, link: Link) -> None:
        self.log.append(f"opened {link.peer.name}")
        self.links.append(link)
        self.on_opened(link)

    def received(self, link: Link, kind: int, body: bytes) -> None:
        self.got.append((kind, body))
        self.on_received(link, kind, body)

    def closed(self, link: Link) -> None:
        self.log.append(f"closed {link.peer.name}")
        self.links.remove(link)


class Process:
    """The loop of one process, stepped by the test."""

    def __init__(self, clock: FakeClock, me: Identity, secret: bytes | None = SECRET) -> None:
        self.me, self.secret = me, secret
        self.user = User()
        self.poller = Poller(clock)
        self.loop = WaitingLoop(clock, self.poller)
        self.network = Network(self.poller, self.loop.post, FakeChance(me.peer.incarnation << 32))
        self.loop.attach((self.network,))

    def listen(self, address: str = "127.0.0.1:0") -> LinkServer:
        return LinkServer(self.network, address, self.me, self.secret, self.user)

    def dial(self, address: str) -> LinkDialer:
        return LinkDialer(self.network, address, self.me, self.secret, self.user)

    def close(self) -> None:
        self.network.close()
        self.poller.close()


class World:
    """Some processes on one clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.processes: list[Process] = []
        self.sockets: list[socket.socket] = []

    def process(self, me: Identity, secret: bytes | None = SECRET) -> Process:
        made = Process(self.clock, me, secret)
        self.processes.append(made)
        return made

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            for process in self.processes:
                process.loop.turn(1)

    def until(self, condition: Callable[[], object]) -> None:
        """Steps all processes until it holds; the clock stands still."""
        for _ in range(TURNS_MAX):
            if condition():
                return
            self.turn()
        raise AssertionError("it never came true")

    def advance(self, ms: int, step_ms: int = 100) -> None:
        """Lets time pass in steps, with enough turns for what each one causes."""
        for _ in range(ms // step_ms):
            self.clock.ms += step_ms
            self.turn(3)

    def close(self) -> None:
        for process in self.processes:
            process.close()
        for sock in self.sockets:
            sock.close()


class Raw:
    """The other end of a link as a stranger or a spoiler has it: a socket, and maybe a connection
    that knows the secret, whose bytes the test may change."""

    def __init__(self, world: World, address: str, connection: Connection | None = None) -> None:
        host, _, port = address.rpartition(":")
        self.world = world
        self.sock = socket.create_connection((host, int(port)))
        self.sock.setblocking(False)
        world.sockets.append(self.sock)
        self.connection = connection or dialer()

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def open(self) -> None:
        """Goes through the handshake."""
        for _ in range(TURNS_MAX):
            self.say(output(self.connection))
            if self.connection.peer is not None:
                return
            self.world.turn()
            self.connection.feed(self.hear() or b"")
        raise AssertionError("no handshake")

    def hear(self) -> bytes | None:
        """What has come; None: the other side has ended the connection."""
        try:
            return self.sock.recv(1 << 20) or None
        except BlockingIOError:
            return b""
        except ConnectionError:
            return None

    def is_cut(self) -> bool:
        return self.hear() is None
