"""Leases of copied keys: their homes know the shard that the keys come to before they come.

What it is: the joins of one copy, and whether none is missing. What it is not: the join itself
(`shard/guests.py`), or the rows that are written when the tablets are taken (`final.py`).

Invariants:
- inv21: a copy is complete only if each lease of a key in it lives here, or is visited, or was
  joined and has not ended since: whoever ends it later asks this shard to delete its keys;
- a lease that its home does not know any more keeps the copy incomplete while a copied key names
  it: the source deletes that key first.

Worked example: copied keys name the leases 7 and 8: 7 lives here, 8 on shard-0, which notes this
shard as its guest.

Tested in tests/unit/shard/test_reshard_joins.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import COPY_JOINS_MAX
from kubebraid.base.revision import LeaseId

from ..ownership import Ownership
from ..storage.engine import Engine
from ..view import attached_keys


class JoinPort(Protocol):
    """A lease's home."""

    def lease_join(
        self, lease: LeaseId, guest: str, done: Callable[[int | RequestRefused], None]
    ) -> None: ...


class Joins:
    """Of one copy."""

    def __init__(self, owned: Ownership, port: Callable[[str], JoinPort | None]) -> None:
        self._owned = owned
        self._port = port
        self._asked: set[LeaseId] = set()
        self.joined: dict[LeaseId, int] = {}  # with its TTL in seconds

    def turn(self, leases: Iterable[LeaseId]) -> None:
        """Ask the homes of some of those that are not known here."""
        for lease in leases:
            if len(self._asked) >= COPY_JOINS_MAX:
                return
            if lease not in self._asked and not self._known(lease):
                self._ask(lease)

    def _known(self, lease: LeaseId) -> bool:
        return lease in self.joined or self._owned.leases.attaches(lease)

    def ttl_s(self, lease: LeaseId) -> int:
        """Of one that lives elsewhere and is visited; 0 of any other."""
        row = self._owned.leases.known(lease)
        return row.ttl_s if row is not None and row.visiting else 0

    def _ask(self, lease: LeaseId) -> None:
        home = self._owned.lease_home(lease)
        port = self._port(home)
        # A home that does not know it has ended it. It is nobody's guest: asked by itself, it would
        # note that of a lease that is granted anew meanwhile, and wait for itself in the end.
        if port is not None and home != self._owned.shard:
            self._asked.add(lease)
            port.lease_join(lease, self._owned.shard, partial(self._answered, lease))

    def _answered(self, lease: LeaseId, ttl_s: int | RequestRefused) -> None:
        if lease in self._asked:
            self._asked.discard(lease)
            if not isinstance(ttl_s, RequestRefused):
                self.joined[lease] = ttl_s

    def forget(self, lease: LeaseId) -> None:
        """It has ended; an answer that is on its way says nothing."""
        self._asked.discard(lease)
        self.joined.pop(lease, None)

    def complete(
        self, leases: set[LeaseId], engine: Engine, is_copied: Callable[[bytes], bool]
    ) -> bool:
        """Whether none of these is missing; those that no copied key names any more are dropped.
        Keys that other migrations have left here do not count. Raises EngineError."""
        missing = [lease for lease in leases if not self._known(lease)]
        if missing:
            engine.catch_up()  # of shared rows, what the source has attached and detached
        for lease in missing:
            if not any(map(is_copied, attached_keys(engine, lease))):
                leases.discard(lease)
        self.turn(leases)
        return all(map(self._known, leases))
