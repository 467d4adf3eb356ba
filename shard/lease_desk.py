"""The leases of a shard as others ask for them, and the end of those that expire.

What it is: the lease part of OwnerPort and PeerPort, over the table and the guests. What it is not:
the table (`lease.py`), what shards tell each other (`guests.py`), or the writes (`apply.py`).

Invariants:
- inv21: an expired lease is revoked through the same write path as by a client; a revoke that is
  refused is tried again;
- inv18: one that was refused for a tablet that is sealed is tried again as soon as another set of
  tablets is: the next freeze cannot end before the lease, and the time between two may be short.

Worked example: lease 7 expires: its revoke is queued; the queue is full, so it is kept for another
LEASE_RETRY_MS.

Tested in tests/unit/shard/test_owner.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.limits import LEASE_EXPIRIES_PER_TURN, LEASE_RETRY_MS
from kubebraid.base.ports import (
    WRITE_LEASE_REVOKE,
    LeaseInfo,
    PeerPort,
    WriteCall,
    WriteReply,
)
from kubebraid.base.revision import LeaseId, TabletId
from kubebraid.base.seams import Clock
from kubebraid.proto import requests

from .foreign import Visible
from .guests import Guests, Submit
from .ownership import Ownership
from .settle import refusal
from .storage.engine import Engine, EngineError
from .view import attached_keys


class LeaseDesk:
    """What an Owner is for leases."""

    def __init__(
        self,
        engine: Engine,
        owned: Ownership,
        submit: Submit,
        clock: Clock,
        peers: Mapping[str, PeerPort],
    ) -> None:
        """Loads what the engine holds."""
        self._visible = Visible(engine, owned.foreign)
        self._owned = owned
        self._submit = submit
        self._clock = clock
        self._guests = Guests(owned, submit, clock, peers)
        self._barred: dict[LeaseId, frozenset[TabletId]] = {}  # by these tablets, sealed
        owned.load_leases(engine, clock.now_ms())

    def lease_info(
        self, lease: LeaseId, done: Callable[[LeaseInfo | RequestRefused | None], None]
    ) -> None:
        table = self._owned.leases
        if lease not in table:
            done(None if table.ours(lease) else errors.OTHER_MAP)
            return
        try:
            keys = tuple(attached_keys(self._visible, lease))
        except EngineError as error:
            done(refusal(error))
            return
        remaining_s = table.remaining_s(lease, self._clock.now_ms())
        self._guests.info(lease, LeaseInfo(table.ttl_s(lease), remaining_s, keys), done)

    def leases(self, done: Callable[[Sequence[LeaseId] | RequestRefused], None]) -> None:
        done(self._owned.leases.ids())

    def keep_alive(self, lease: LeaseId, done: Callable[[int | RequestRefused], None]) -> None:
        table = self._owned.leases
        done(table.renew(lease, self._clock.now_ms()) if table.ours(lease) else errors.OTHER_MAP)

    def lease_join(
        self, lease: LeaseId, guest: str, done: Callable[[int | RequestRefused], None]
    ) -> None:
        self._guests.lease_join(lease, guest, done)

    def lease_leave(self, lease: LeaseId, done: Callable[[RequestRefused | None], None]) -> None:
        self._guests.lease_leave(lease, done)

    def expire(self, now_ms: int) -> None:
        """Revoke what has expired; ask guests again that did not answer."""
        self._guests.turn(now_ms)
        for lease, sealed in list(self._barred.items()):
            # A thaw may be short: whoever freezes again waits for the end of this lease.
            if sealed != self._owned.sealed:
                del self._barred[lease]
                self._owned.leases.keep(lease, now_ms)
        expired = self._owned.leases.take_expired(now_ms, LEASE_EXPIRIES_PER_TURN)
        calls = [self._revoke(lease) for lease in expired]
        if calls:
            self._submit(calls, self._expired)

    def _revoke(self, lease: LeaseId) -> WriteCall:
        payload = requests.encode_lease_revoke(lease)
        return WriteCall(WRITE_LEASE_REVOKE, payload, (), self._owned.map_version, lease)

    def _expired(self, reply: WriteReply) -> None:
        """Refused for a full queue: try again later. Gone already: nothing to do."""
        lease = reply.tag
        assert isinstance(lease, int)
        if reply.error is errors.OTHER_MAP and self._owned.sealed:
            self._barred[lease] = self._owned.sealed
        elif reply.error is not None:
            self._owned.leases.keep(lease, self._clock.now_ms() + LEASE_RETRY_MS)
