"""A link to each shard, wherever it is now: for routers, and for shards among themselves.

What it is: one OwnerClient a shard, and the dialer that follows its address from state to state.
What it is not: who listens, or what is asked.

Invariants: a client stays the same over all lives of its shard, also where it was removed and comes
again; nothing is asked but of the process that the newest state names. One that hands a shard over
still answers what it was asked before, until its successor's link is open, and the writes of it
until all are answered or its link is lost.

Worked example: shard-0 comes back at another port: the state names it, a new dialer dials, the old
one ends, and the client, whose calls were refused meanwhile, is opened again.

Tested in tests/unit/proto/test_shard_links.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from kubebraid.base.links import Closable, Link, Mesh
from kubebraid.base.ports import ClusterView, ShardPlace

from .owner_client import OwnerClient


class _Shard:
    """LinkUser of one shard."""

    def __init__(self, on_open: Callable[[], None]) -> None:
        self.client = OwnerClient()
        self.place: ShardPlace | None = None
        self.dialer: Closable | None = None
        self._former: Closable | None = None
        self._on_open = on_open

    def move(self, place: ShardPlace, dial: Callable[[], Closable]) -> None:
        """Another process has it."""
        self._part()
        if self.client.connected:
            self.client.part()
            self._former = self.dialer
        elif self.dialer is not None:
            self.dialer.close()
        self.place = place
        self.dialer = dial()

    def _part(self) -> None:
        """It has answered, or is gone: nobody dials it any more."""
        former, self._former = self._former, None
        if former is not None:
            former.close()

    def opened(self, link: Link) -> None:
        place = self.place
        if place is None or link.peer != ("shard", place.name, place.incarnation):
            link.close()  # whoever it is, the state does not name it
            return
        self.client.opened(link)
        self._part_if_done()
        self._on_open()

    def leave(self) -> None:
        """It was removed from the cluster."""
        self._part()
        dialer, self.place, self.dialer = self.dialer, None, None
        if dialer is not None:
            dialer.close()
        self.client.removed()

    def received(self, link: Link, kind: int, body: bytes) -> None:
        self.client.received(link, kind, body)
        self._part_if_done()

    def closed(self, link: Link) -> None:
        self.client.closed(link)
        self._part_if_done()

    def _part_if_done(self) -> None:
        """The former process is dialled as long as somebody waits for it."""
        if not (self.client.is_parting() or self.client.former.waited_for):
            self._part()


class ShardLinks:
    """All of one process. `clients`: by the shard's name."""

    def __init__(self, mesh: Mesh, on_open: Callable[[], None]) -> None:
        """`on_open`: some shard can be reached again."""
        self.clients: dict[str, OwnerClient] = {}
        self._mesh = mesh
        self._on_open = on_open
        self._shards: dict[str, _Shard] = {}

    def follow(self, names: Iterable[str], view: ClusterView) -> None:
        """Know these shards; reach those that the state says where to find, and no others."""
        for known in self._shards.values():
            if known.place is not None and view.shard(known.place.name) is None:
                known.leave()
        for name in sorted(names):
            shard = self._shards.get(name)
            if shard is None:
                shard = self._shards[name] = _Shard(self._on_open)
                self.clients[name] = shard.client
            place = view.shard(name)
            if place is None:
                continue
            if shard.place is not None and shard.place.process == place.process:
                continue  # only what is known of its store is newer
            shard.move(place, partial(self._mesh.dial, place.address, shard))

    def turn(self) -> bool:
        """Send what was asked in this turn."""
        more = False
        for client in self.clients.values():
            more |= client.turn()
        return more
