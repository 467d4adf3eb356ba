"""Leases as values: granted, renewed, expired.

What it is: the table of live leases and when each may expire. What it is not: the keys that are
attached (rows of the engine) or the writes that a revoke makes (`apply.py`).

Words: TTL in seconds as granted; *deadline*: the moment, on this process's clock, before which the
lease does not expire; *ending*: its revoke is on its way; *home*: the shard that keeps the lease;
*guest*: another shard that holds keys of it, and knows it for that.

Invariants:
- inv21: never early: a deadline only moves forward; after a restart each lease gets its whole TTL;
- an ending lease is not renewed: whoever was told that it lives does not lose its keys;
- a guest neither expires, renews nor lists a lease: its home does;
- a lease is taken once: `take_expired` leaves it out until `keep` or a new grant;
- one heap entry a lease, however often it is renewed.

Worked example: `grant(7, ttl_s=10, now_ms=1000)`; `take_expired(11_000, 64)` answers [7], and
`renew(7, 11_000)` answers 0 from then on.

Source: etcd server/lease/lessor.go. Tested in tests/unit/shard/test_lease.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from kubebraid.base.revision import LeaseId


class LeaseRow(NamedTuple):
    """A lease as it is stored. `guests`: the other shards that may hold keys of it, at its home;
    `visiting`: this shard is such a guest; `ended`: its revoke has begun, nothing attaches."""

    ttl_s: int
    guests: tuple[str, ...] = ()
    visiting: bool = False
    ended: bool = False


# What becomes of a lease's row (None: there is none); None changes nothing.
LeaseChange: TypeAlias = Callable[[LeaseRow | None], LeaseRow | None]


class LeaseTask(NamedTuple):
    """A change of a lease's row that a shard makes by itself."""

    lease: LeaseId
    change: LeaseChange


@dataclass(slots=True)
class _Lease:
    row: LeaseRow
    deadline_ms: int
    ending: bool = False


def _everything(_lease: LeaseId) -> bool:
    return True


class LeaseTable:
    """Live leases by id, and a heap of deadlines that may lag behind renewals."""

    def __init__(self, ours: Callable[[LeaseId], bool] = _everything) -> None:
        """`ours`: whether this shard is the home of a lease id."""
        self.ours = ours
        self._leases: dict[LeaseId, _Lease] = {}
        self._heap: list[tuple[int, LeaseId]] = []
        self._queued: set[LeaseId] = set()  # the ids that have their entry in the heap

    def __contains__(self, lease: LeaseId) -> bool:
        """Whether it is known here, at home or as a guest."""
        return lease in self._leases

    def __len__(self) -> int:
        return len(self._leases)

    def attaches(self, lease: LeaseId) -> bool:
        """Whether a key may be attached to it here."""
        found = self._leases.get(lease)
        return found is not None and not found.row.ended

    def is_home(self, lease: LeaseId) -> bool:
        """Whether it lives here."""
        found = self._leases.get(lease)
        return found is not None and not found.row.visiting

    def row(self, lease: LeaseId) -> LeaseRow:
        """As it is stored."""
        return self._leases[lease].row

    def known(self, lease: LeaseId) -> LeaseRow | None:
        """As it is stored; None if it is not known here."""
        found = self._leases.get(lease)
        return None if found is None else found.row

    def ids(self, visits: bool = False) -> list[LeaseId]:
        """Those that live here (or that are visited); that end soonest first, as etcd lists
        them."""
        here = [lease for lease, found in self._leases.items() if found.row.visiting is visits]
        return sorted(here, key=lambda lease: (self._leases[lease].deadline_ms, lease))

    def ttl_s(self, lease: LeaseId) -> int:
        """The granted TTL."""
        return self._leases[lease].row.ttl_s

    def remaining_s(self, lease: LeaseId, now_ms: int) -> int:
        return max(0, (self._leases[lease].deadline_ms - now_ms) // 1000)

    def grant(self, lease: LeaseId, ttl_s: int, now_ms: int) -> None:
        """Begin here."""
        assert lease not in self._leases, lease
        self.put(lease, LeaseRow(ttl_s), now_ms)

    def put(self, lease: LeaseId, row: LeaseRow, now_ms: int) -> None:
        """Begin, or begin again after a restart, with the whole TTL; or know it by a newer row,
        which changes no deadline."""
        assert lease != 0, "0 is no lease"
        assert row.ttl_s > 0, row
        found = self._leases.get(lease)
        if found is not None:
            assert found.row.ttl_s == row.ttl_s, "a TTL is granted once"
            found.row = row
            return
        deadline_ms = now_ms if row.ended else now_ms + row.ttl_s * 1000
        self._leases[lease] = _Lease(row, deadline_ms)
        if not row.visiting:
            self._enqueue(lease)

    def _enqueue(self, lease: LeaseId) -> None:
        """An entry that is there already lies at an older deadline: it is looked at in time."""
        if lease not in self._queued:
            self._queued.add(lease)
            heapq.heappush(self._heap, (self._leases[lease].deadline_ms, lease))

    def renew(self, lease: LeaseId, now_ms: int) -> int:
        """The TTL that starts now; 0 if there is no such lease, or its end is on its way."""
        found = self._leases.get(lease)
        if found is None or found.ending or found.row.visiting or found.row.ended:
            return 0
        found.deadline_ms = max(found.deadline_ms, now_ms + found.row.ttl_s * 1000)
        return found.row.ttl_s

    def keep(self, lease: LeaseId, until_ms: int) -> None:
        """The revoke of an ending lease did not happen: it may be taken again at `until_ms`."""
        found = self._leases.get(lease)
        if found is not None and found.ending:
            found.ending = False
            found.deadline_ms = max(found.deadline_ms, until_ms)
            self._enqueue(lease)

    def remove(self, lease: LeaseId) -> None:
        del self._leases[lease]

    def rehome(self, lease: LeaseId, row: LeaseRow, now_ms: int) -> None:
        """It has come to live here, or lives here no more: its TTL begins anew."""
        self._leases.pop(lease, None)
        self.put(lease, row, now_ms)

    def visit_strangers(self, now_ms: int) -> None:
        """Leases whose home went elsewhere, and has us for a guest: their rows may still say that
        they live here."""
        for lease, found in list(self._leases.items()):
            if not found.row.visiting and not self.ours(lease):
                self.rehome(lease, found.row._replace(visiting=True, guests=()), now_ms)

    def take_expired(self, now_ms: int, limit: int) -> list[LeaseId]:
        """Leases whose deadline has passed, each once; they are ending from now on."""
        expired: list[LeaseId] = []
        while self._heap and len(expired) < limit and self._heap[0][0] <= now_ms:
            _, lease = heapq.heappop(self._heap)
            self._queued.discard(lease)
            found = self._leases.get(lease)
            if found is None or found.ending or found.row.visiting:
                continue  # of a visit the entry is from before, when it lived here
            if found.deadline_ms > now_ms:
                self._enqueue(lease)  # renewed since its entry was made
            else:
                found.ending = True
                expired.append(lease)
        return expired

    def next_deadline_ms(self) -> int | None:
        """When `take_expired` should be called next."""
        while self._heap:
            entry_ms, lease = self._heap[0]
            found = self._leases.get(lease)
            expires = found is not None and not found.ending and not found.row.visiting
            if expires and self._leases[lease].deadline_ms == entry_ms:
                return entry_ms
            heapq.heappop(self._heap)
            self._queued.discard(lease)
            if expires:
                self._enqueue(lease)
        return None


def forget_visits(leases: LeaseTable, rows: dict[LeaseId, LeaseRow]) -> None:
    """Take out of a batch visits of leases that came to live here since they were drafted."""
    for lease in [x for x, row in rows.items() if row.visiting and leases.is_home(x)]:
        del rows[lease]
