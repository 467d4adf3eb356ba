"""A shard behind a link, where a node expects its owner: for tests.world.World(remote=True).

What it is: Owner, OwnerService and OwnerClient joined by a pair of link ends; a node's router talks
to the client. What it is not: a process of its own; owner and router still take turns on one loop.

Words: *weather* decides at each turn how many messages arrive and whether the link breaks.

Worked example: `World(remote=True).node.owner` has the OwnerPort of the client, and everything else
of the owner behind it.
"""

from __future__ import annotations

from random import Random
from typing import Any

from kubebraid.base.ports import SequencerPort
from kubebraid.proto.owner_client import OwnerClient
from kubebraid.proto.owner_service import OwnerService
from kubebraid.shard.owner import Owner
from kubebraid.shard.ownership import Ownership
from kubebraid.shard.seams import ShardSeams
from kubebraid.shard.storage.engine import Engine

from .linkpair import Pair


class Weather:
    """Random delays and breaks, the same for the same seed. `breaks`: how many are to come."""

    def __init__(self, seed: int, breaks: int = 0) -> None:
        self._random = Random(seed)
        self.breaks = breaks

    def count(self) -> int | None:
        """How many messages arrive in this turn."""
        return self._random.choice((0, 0, 1, 1, 2, None))

    def breaks_now(self) -> bool:
        if not self.breaks or self._random.random() > 0.06:
            return False
        self.breaks -= 1
        return True

    def chance(self, likely: float = 0.5) -> bool:
        return self._random.random() < likely


class RemoteOwner:
    """An owner that is reached over a link. Made as Owner is."""

    def __init__(
        self, engine: Engine, owned: Ownership, sequencer: SequencerPort, seams: ShardSeams
    ) -> None:
        self.inner = Owner(engine, owned, sequencer, seams)
        self.client = OwnerClient()
        self.service = OwnerService(self.inner, seams.clock)
        self.pair = Pair(self.client, self.service)
        self.weather: Weather | None = None
        self.pair.open()
        port = ("submit", "points", "read", "read_log", "subscribe", "compact", "hash_versions")
        rest = (
            "dump",
            "defragment",
            "lease_info",
            "leases",
            "keep_alive",
            "status",
            "lease_join",
            "lease_leave",
        )
        for name in port + rest:
            setattr(self, name, getattr(self.client, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def turn(self) -> bool:
        """The router's end, the shard, the router's end."""
        if self.weather is not None:
            return self._stormy(self.weather)
        self.client.turn()
        self.pair.to_far()
        more = self.inner.turn()
        self.service.turn()
        # What arrives is work for the router, whose turn comes before this one.
        arrived = self.pair.to_near()
        self.client.turn()
        return more or arrived or self.pair.busy

    def _stormy(self, weather: Weather) -> bool:
        """Turns in any order, messages late, breaks at every point."""
        more = False
        if self.pair.near is None and weather.chance():
            self.pair.open()
        for step in (0, 1, 2, 3, 4):
            if self.pair.near is not None and weather.breaks_now():
                self.pair.cut(late=int(weather.chance()))
            if step == 0 and weather.chance(0.8):
                self.client.turn()
            elif step == 1:
                self.pair.to_far(weather.count())
            elif step == 2 and weather.chance(0.8):
                more |= self.inner.turn()
            elif step == 3 and weather.chance(0.8):
                self.service.turn()
            elif step == 4:
                more |= self.pair.to_near(weather.count())
        return more or self.unsettled

    @property
    def unsettled(self) -> bool:
        """Whether something is packed, answered or on its way and has not arrived."""
        answers = any(not router.answers.empty() for router in self.service._routers.values())
        return self.pair.near is None or self.pair.busy or answers or not self.client.idle

    def break_link(self) -> None:
        """Nothing is on its way; the link ends and opens again."""
        self.pair.cut()
        self.pair.open()

    def next_deadline_ms(self) -> int | None:
        deadlines = (self.inner.next_deadline_ms(), self.service.next_deadline_ms())
        return min((d for d in deadlines if d is not None), default=None)
