"""Leases as values: granted, renewed, expired.

What it is: the table of live leases and when each may expire. What it is not: the keys that are
attached (rows of the engine) or the writes that a revoke makes (`apply.py`).

Words: TTL in seconds as granted; *deadline*: the moment, on this process's clock, before which the
lease does not expire; *ending*: its revoke is on its way.

Invariants:
- inv21: never early: a deadline only moves forward; after a restart each lease gets its whole TTL;
- an ending lease is not renewed: whoever was told that it lives does not lose its keys;
- a lease is taken once: `take_expired` leaves it out until `keep` or a new grant;
- one heap entry a lease, however often it is renewed.

Worked example: `grant(7, ttl_s=10, now_ms=1000)`; `take_expired(11_000, 64)` answers [7], and
`renew(7, 11_000)` answers 0 from then on.

Source: etcd server/lease/lessor.go. Tested in tests/unit/shard/test_lease.py.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from kubebraid.base.revision import LeaseId


@dataclass(slots=True)
class _Lease:
    ttl_s: int
    deadline_ms: int
    ending: bool = False


class LeaseTable:
    """Live leases by id, and a heap of deadlines that may lag behind renewals."""

    def __init__(self) -> None:
        self._leases: dict[LeaseId, _Lease] = {}
        self._heap: list[tuple[int, LeaseId]] = []
        self._queued: set[LeaseId] = set()  # the ids that have their entry in the heap

    def __contains__(self, lease: LeaseId) -> bool:
        return lease in self._leases

    def __len__(self) -> int:
        return len(self._leases)

    def ids(self) -> list[LeaseId]:
        """Those that end soonest first, as etcd lists them."""
        return sorted(self._leases, key=lambda lease: (self._leases[lease].deadline_ms, lease))

    def ttl_s(self, lease: LeaseId) -> int:
        """The granted TTL."""
        return self._leases[lease].ttl_s

    def remaining_s(self, lease: LeaseId, now_ms: int) -> int:
        return max(0, (self._leases[lease].deadline_ms - now_ms) // 1000)

    def grant(self, lease: LeaseId, ttl_s: int, now_ms: int) -> None:
        """Begin, or begin again after a restart, with the whole TTL."""
        assert lease != 0, "0 is no lease"
        assert ttl_s > 0, ttl_s
        assert lease not in self._leases, lease
        self._leases[lease] = _Lease(ttl_s, now_ms + ttl_s * 1000)
        self._enqueue(lease)

    def _enqueue(self, lease: LeaseId) -> None:
        """An entry that is there already lies at an older deadline: it is looked at in time."""
        if lease not in self._queued:
            self._queued.add(lease)
            heapq.heappush(self._heap, (self._leases[lease].deadline_ms, lease))

    def renew(self, lease: LeaseId, now_ms: int) -> int:
        """The TTL that starts now; 0 if there is no such lease, or its end is on its way."""
        found = self._leases.get(lease)
        if found is None or found.ending:
            return 0
        found.deadline_ms = max(found.deadline_ms, now_ms + found.ttl_s * 1000)
        return found.ttl_s

    def keep(self, lease: LeaseId, until_ms: int) -> None:
        """The revoke of an ending lease did not happen: it may be taken again at `until_ms`."""
        found = self._leases.get(lease)
        if found is not None and found.ending:
            found.ending = False
            found.deadline_ms = max(found.deadline_ms, until_ms)
            self._enqueue(lease)

    def remove(self, lease: LeaseId) -> None:
        del self._leases[lease]

    def take_expired(self, now_ms: int, limit: int) -> list[LeaseId]:
        """Leases whose deadline has passed, each once; they are ending from now on."""
        expired: list[LeaseId] = []
        while self._heap and len(expired) < limit and self._heap[0][0] <= now_ms:
            _, lease = heapq.heappop(self._heap)
            self._queued.discard(lease)
            found = self._leases.get(lease)
            if found is None or found.ending:
                continue
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
            if found is not None and not found.ending and found.deadline_ms == entry_ms:
                return entry_ms
            heapq.heappop(self._heap)
            self._queued.discard(lease)
            if found is not None and not found.ending:
                self._enqueue(lease)
        return None
