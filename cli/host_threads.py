"""A host as a process: its own loop, and a thread with a loop and an engine for each shard.

What it is: wiring, on TiKV. What it is not: which shards it serves (shard/hosting.py), or how one
works (shard/main.py).

Invariants:
- a shard's thread waits for TiKV alone: others, and the beats, go on meanwhile;
- an engine is opened and closed by its shard's thread, and is no other one's;
- a shard that ends has answered, closed its links and its engine before the host hears of it;
- the rows of tablets are shared by all shards of the cluster, what else a store has is its own;
- the own shard listens where the flags say, each other one at any free port of that interface;
- a store is taken when the coordinators can be reached, and no sooner: until then the one before
  serves.

Worked example: shard-2 is seated here: a thread takes the store `prod/shard-2`, says START_SHARD
with 127.0.0.1:41873, and its loop runs until another host has taken the shard.

Tested in tests/e2e/test_tikv_adoption.py, tests/e2e/test_shards_on_tikv.py.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, Thread

from kubebraid.base.links import Peer
from kubebraid.base.loop import WaitingLoop
from kubebraid.base.seams import Clock, SystemClock
from kubebraid.proto.coordinator_client import CoordinatorClient
from kubebraid.proto.links.addresses import Address, parse
from kubebraid.proto.links.chance import SystemChance
from kubebraid.proto.links.handshake import Identity
from kubebraid.proto.links.mesh import SocketMesh
from kubebraid.proto.links.network import Network
from kubebraid.proto.links.poller import Poller
from kubebraid.shard import keycodec
from kubebraid.shard.hosting import Ended, Hosting
from kubebraid.shard.main import Place, ShardProcess
from kubebraid.shard.mark import store_id
from kubebraid.shard.role import ShardOptions
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_link import Link
from kubebraid.shard.storage.tikv_space import Shared

from .role_config import ShardConfig
from .tikv_flags import shard_store

ROLE = "host"
JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _World:
    """What all shards of a host share."""

    config: ShardConfig
    secret: bytes | None
    clock: Clock
    post: Callable[[Callable[[], None]], None]

    def shared(self) -> Shared:
        name = self.config.tikv_prefix.encode()
        return Shared(name, keycodec.SHARED_KINDS, keycodec.GUARDED_KINDS)

    def options(self, shard: str, incarnation: int, since: int) -> ShardOptions:
        config = self.config
        listen, advertise = config.listen, config.advertise
        if shard != config.member.name:
            listen, advertise = _beside(listen), _beside(advertise)
        return ShardOptions(
            name=shard,
            listen=listen,
            advertise=advertise,
            store="",  # the store says it itself
            coordinators=config.member.coordinators,
            incarnation=incarnation,
            host=config.member.name,
            since=since,
        )


def _beside(address: str) -> str:
    """At any free port of the same interface."""
    return str(Address(parse(address).host, 0))


class ShardThread:
    """Implements Running of shard/hosting.py."""

    def __init__(self, world: _World, shard: str, founds: bool, since: int, ended: Ended) -> None:
        self._world = world
        self._shard = shard
        self._founds = founds
        self._since = since
        self._ended = ended
        self.incarnation = secrets.randbits(63)
        self._lock = Lock()  # between `stop` and a process that is just made
        self._process: ShardProcess | None = None
        self._stopped = False
        self.thread = Thread(target=self._run, name=shard, daemon=True)
        self.thread.start()

    @property
    def committed(self) -> int:
        process = self._process
        return 0 if process is None else process.role.committed

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.loop.stop()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            error = self._served()
        except BaseException as failure:  # noqa: BLE001 - the host decides what it means
            error = failure
        self._world.post(lambda: self._ended(error))

    def _served(self) -> BaseException | None:
        """What it ended of."""
        world, config = self._world, self._world.config
        name = shard_store(config.tikv_prefix, self._shard)
        link = Link.opened(config.pd, tls=config.tls)
        engine = TikvEngine(link, name.encode(), shared=world.shared())
        errors: list[BaseException] = []

        def take() -> str:
            engine.take(create=self._founds)
            return store_id(engine)

        try:
            who = (config.member.cluster, world.secret)
            place = Place(engine, take=take)
            options = world.options(self._shard, self.incarnation, self._since)
            process = ShardProcess(options, who, place, world.clock, errors.append)
            with self._lock:
                self._process = process
                if self._stopped:
                    process.loop.stop()
            process.loop.run()
            self._process = None
            process.close()
        finally:
            engine.close()
        return errors[0] if errors else None  # those behind it are its consequences


class HostProcess:
    """Implements RoleProcess of cli/role.py. `loop` is run by its caller."""

    def __init__(
        self, config: ShardConfig, secret: bytes | None, on_fatal: Callable[[BaseException], None]
    ) -> None:
        clock = SystemClock()
        member = config.member
        self._poller = Poller(clock)
        self._tell = on_fatal
        self.loop = WaitingLoop(clock, self._poller, self._fail)
        self.network = Network(self._poller, self.loop.post)
        incarnation = secrets.randbits(63)
        me = Identity(Peer(ROLE, member.name, incarnation), member.cluster)
        mesh = SocketMesh(self.network, me, secret)
        self._threads: list[ShardThread] = []
        self._world = _World(config, secret, clock, self.loop.post)
        chance = SystemChance().fraction
        who = (member.name, incarnation)
        self.hosting = Hosting(who, self._begin, clock, chance, self._fail)
        client = CoordinatorClient(self.hosting.told)
        client.on_heard = self.hosting.heard
        self.hosting.tell = client
        for address in member.coordinators.values():
            mesh.dial(address, client)
        self.loop.attach([self.hosting, self.network])

    def _begin(self, shard: str, founds: bool, since: int, ended: Ended) -> ShardThread:
        self._threads = [made for made in self._threads if made.thread.is_alive()]
        self._threads.append(ShardThread(self._world, shard, founds, since, ended))
        return self._threads[-1]

    def _fail(self, error: BaseException) -> None:
        self.loop.halt()
        self._tell(error)

    def drain(self, done: Callable[[], None]) -> None:
        """On the loop's thread: others take what is served here."""
        self.hosting.drain(done)

    def close(self) -> None:
        """After the loop has ended."""
        for made in self._threads:
            made.stop()
        end = time.monotonic() + JOIN_S
        for made in self._threads:
            made.thread.join(max(0.0, end - time.monotonic()))
        self.network.close()
        self._poller.close()
