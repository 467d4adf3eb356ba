"""Leases as values: granted, renewed, expired.

What it is: the table of live leases and when each may expire. What it is not: the keys that are
attached (rows of the engine) or the writes that a revoke makes (`apply.py`).

Words: TTL in seconds as granted; *deadline*: the moment, on this process's clock, before which the
lease does not expire.

Invariants:
- inv21: never early: a deadline only moves forward; after a restart each lease gets its whole TTL;
- a lease is expired at most once: `take_expired` leaves it out until it is renewed or removed.

Worked example: `grant(7, ttl_s=10, now_ms=1000)`; `take_expired(11_000, 64)` answers [7].

Source: etcd server/lease/lessor.go. Tested in tests/unit/shard/test_lease.py.
"""

from __future__ import annotations

import heapq

from kubebraid.base.revision import LeaseId


class LeaseTable:
    """Live leases by id, and a heap of deadlines."""

    def __init__(self) -> None:
        self._ttl_s: dict[LeaseId, int] = {}
        self._deadline_ms: dict[LeaseId, int] = {}
        self._heap: list[tuple[int, LeaseId]] = []

    def __contains__(self, lease: LeaseId) -> bool:
        return lease in self._ttl_s

    def __len__(self) -> int:
        return len(self._ttl_s)

    def ids(self) -> list[LeaseId]:
        return sorted(self._ttl_s)

    def ttl_s(self, lease: LeaseId) -> int:
        """The granted TTL."""
        return self._ttl_s[lease]

    def remaining_s(self, lease: LeaseId, now_ms: int) -> int:
        return max(0, (self._deadline_ms[lease] - now_ms) // 1000)

    def grant(self, lease: LeaseId, ttl_s: int, now_ms: int) -> None:
        """Begin, or begin again after a restart, with the whole TTL."""
        assert lease > 0, lease
        assert ttl_s > 0, ttl_s
        assert lease not in self._ttl_s, lease
        self._ttl_s[lease] = ttl_s
        self._schedule(lease, now_ms + ttl_s * 1000)

    def renew(self, lease: LeaseId, now_ms: int) -> int:
        """The TTL that starts now; 0 if there is no such lease."""
        ttl_s = self._ttl_s.get(lease, 0)
        if ttl_s:
            self._schedule(lease, max(self._deadline_ms[lease], now_ms + ttl_s * 1000))
        return ttl_s

    def _schedule(self, lease: LeaseId, deadline_ms: int) -> None:
        self._deadline_ms[lease] = deadline_ms
        heapq.heappush(self._heap, (deadline_ms, lease))

    def remove(self, lease: LeaseId) -> None:
        del self._ttl_s[lease]
        del self._deadline_ms[lease]

    def take_expired(self, now_ms: int, limit: int) -> list[LeaseId]:
        """Leases whose deadline has passed, each once."""
        expired: list[LeaseId] = []
        while self._heap and len(expired) < limit and self._heap[0][0] <= now_ms:
            deadline_ms, lease = heapq.heappop(self._heap)
            # Renewals leave their older entries in the heap: only the present deadline counts.
            if self._deadline_ms.get(lease) == deadline_ms:
                expired.append(lease)
        return expired

    def next_deadline_ms(self) -> int | None:
        """When `take_expired` should be called next."""
        while self._heap and self._deadline_ms.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
